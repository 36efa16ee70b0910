//! Graphviz's DOT language.

use std::fmt::Write;

use super::edges::{Edge, edges};
use crate::plan::Plan;

const WRITTEN: &str = "writing to a string cannot fail";

/// Draws the plan in DOT. The nodes of one round form a cluster.
pub fn draw(plan: &Plan) -> String {
    let mut text = String::from("digraph plan {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n");
    let once = plan.nodes.iter().enumerate().filter(|(_, node)| node.round.is_none());
    for (index, node) in once {
        writeln!(text, "  n{index} [label=\"{}\"];", node.name).expect(WRITTEN);
    }
    for round in 0..plan.manifest.rounds() {
        let learners = plan.manifest.learners[round as usize];
        writeln!(text, "  subgraph cluster_{round} {{\n    label=\"round {round}, K = {learners}\";").expect(WRITTEN);
        for (index, node) in plan.nodes.iter().enumerate().filter(|(_, node)| node.round == Some(round)) {
            writeln!(text, "    n{index} [label=\"{}\"];", node.name).expect(WRITTEN);
        }
        text.push_str("  }\n");
    }
    for Edge { from, to, port } in edges(plan) {
        writeln!(text, "  n{from} -> n{to} [label=\"{port}\"];").expect(WRITTEN);
    }
    text.push_str("}\n");
    text
}
