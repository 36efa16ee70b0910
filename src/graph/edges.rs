//! The edges of a plan.

use crate::plan::{NodeIndex, Plan};

/// An artifact that one node writes and another reads.
pub(super) struct Edge<'p> {
    /// The node that writes it.
    pub(super) from: NodeIndex,
    /// The node that reads it.
    pub(super) to: NodeIndex,
    /// The input port of the reader.
    pub(super) port: &'p str,
}

/// All edges of `plan`, ordered by reader.
pub(super) fn edges(plan: &Plan) -> impl Iterator<Item = Edge<'_>> {
    plan.nodes.iter().enumerate().flat_map(|(to, node)| {
        let wires = node.inputs.iter();
        wires.flat_map(move |wire| wire.feeds.iter().map(move |feed| Edge { from: feed.node, to, port: &wire.port }))
    })
}
