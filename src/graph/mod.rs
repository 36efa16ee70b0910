//! Drawings of a plan: one file per format, over the [`edges`] of the plan.

pub mod dot;
mod drawing;
mod edges;
pub mod mermaid;
pub mod svg;
