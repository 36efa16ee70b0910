//! The plan: a manifest's stages unrolled over rounds and learners into nodes, each knowing which outputs of which nodes
//! feed its ports. It knows neither keys nor the store.
//!
//! Reading order: [`node`] (one node and its wires), [`unroll`] (from stages to nodes), [`dag`] (the whole plan),
//! [`selection`] (nodes named on the command line).

mod dag;
mod node;
mod selection;
mod unroll;

pub use dag::Plan;
pub use node::{Feed, Needs, Node, NodeIndex, Wire};
pub use selection::Selection;
