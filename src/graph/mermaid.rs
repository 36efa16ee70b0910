//! The Mermaid language, which GitHub and many editors render inside Markdown.

use std::fmt::Write;

use super::edges::{Edge, edges};
use crate::plan::Plan;

const WRITTEN: &str = "writing to a string cannot fail";

/// Draws the plan in Mermaid. The nodes of one round form a subgraph.
pub fn draw(plan: &Plan) -> String {
    let mut text = String::from("flowchart LR\n");
    for (index, node) in plan.nodes.iter().enumerate().filter(|(_, node)| node.round.is_none()) {
        writeln!(text, "  n{index}[\"{}\"]", node.name).expect(WRITTEN);
    }
    for round in 0..plan.manifest.rounds() {
        let learners = plan.manifest.learners[round as usize];
        writeln!(text, "  subgraph round{round}[\"round {round}, K = {learners}\"]").expect(WRITTEN);
        for (index, node) in plan.nodes.iter().enumerate().filter(|(_, node)| node.round == Some(round)) {
            writeln!(text, "    n{index}[\"{}\"]", node.name).expect(WRITTEN);
        }
        text.push_str("  end\n");
    }
    for Edge { from, to, port } in edges(plan) {
        writeln!(text, "  n{from} -->|{port}| n{to}").expect(WRITTEN);
    }
    text
}
