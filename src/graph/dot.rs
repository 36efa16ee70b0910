//! Graphviz's language.

use std::fmt::Write;

use super::edges;
use crate::plan::Plan;

/// The plan in dot. Nodes of one round lie in one cluster.
pub fn draw(plan: &Plan) -> String {
    let mut text = String::from("digraph plan {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n");
    let once = plan.nodes.iter().enumerate().filter(|(_, node)| node.round.is_none());
    for (index, node) in once {
        writeln!(text, "  n{index} [label=\"{}\"];", node.name).expect("a string takes all that is written");
    }
    for round in 0..plan.manifest.rounds() {
        let learners = plan.manifest.learners[round as usize];
        writeln!(text, "  subgraph cluster_{round} {{\n    label=\"round {round}, K = {learners}\";")
            .expect("a string takes all that is written");
        for (index, node) in plan.nodes.iter().enumerate().filter(|(_, node)| node.round == Some(round)) {
            writeln!(text, "    n{index} [label=\"{}\"];", node.name).expect("a string takes all that is written");
        }
        text.push_str("  }\n");
    }
    for (above, below, port) in edges(plan) {
        writeln!(text, "  n{above} -> n{below} [label=\"{port}\"];").expect("a string takes all that is written");
    }
    text.push_str("}\n");
    text
}
