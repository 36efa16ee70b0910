//! Drawings of a plan, one file a language.

pub mod dot;
pub mod mermaid;
pub mod svg;

use crate::plan::Plan;
use crate::schedule::NodeIndex;

/// The edges of a plan: who makes, who reads, and through which port.
fn edges(plan: &Plan) -> impl Iterator<Item = (NodeIndex, NodeIndex, &str)> {
    plan.nodes.iter().enumerate().flat_map(|(below, node)| {
        let wires = node.inputs.iter();
        wires.flat_map(move |wire| wire.feeds.iter().map(move |feed| (feed.node, below, wire.port.as_str())))
    })
}
