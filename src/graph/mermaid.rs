//! Mermaid's language, which GitHub and many editors draw inside Markdown.

use std::fmt::Write;

use super::edges;
use crate::plan::Plan;

/// The plan in mermaid. Nodes of one round lie in one subgraph.
pub fn draw(plan: &Plan) -> String {
    let mut text = String::from("flowchart LR\n");
    for (index, node) in plan.nodes.iter().enumerate().filter(|(_, node)| node.round.is_none()) {
        writeln!(text, "  n{index}[\"{}\"]", node.name).expect("a string takes all that is written");
    }
    for round in 0..plan.manifest.rounds() {
        let learners = plan.manifest.learners[round as usize];
        writeln!(text, "  subgraph round{round}[\"round {round}, K = {learners}\"]")
            .expect("a string takes all that is written");
        for (index, node) in plan.nodes.iter().enumerate().filter(|(_, node)| node.round == Some(round)) {
            writeln!(text, "    n{index}[\"{}\"]", node.name).expect("a string takes all that is written");
        }
        text.push_str("  end\n");
    }
    for (above, below, port) in edges(plan) {
        writeln!(text, "  n{above} -->|{port}| n{below}").expect("a string takes all that is written");
    }
    text
}
