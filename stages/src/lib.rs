//! The stages of divide-and-conquer metric learning: each reads tables and writes tables.
//!
//! Read [`api`] first (what a stage is and what it may see), then [`tables`] (what flows between stages), then any one stage:
//! its siblings look alike. [`registry`] lists them.
//!
//! This crate deliberately knows neither the cache nor manifests: the engine passes files in and takes files out.

pub mod api;
pub mod augment;
pub mod choose;
pub mod cluster;
pub mod command;
pub mod decode;
pub mod embed;
pub mod embedder;
pub mod evaluate;
pub mod index;
pub mod init;
pub mod loader;
pub mod merge;
pub mod onnx;
pub mod precision;
pub mod pretrained;
pub mod pytorch;
pub mod registry;
#[cfg(test)]
mod testing;
pub mod train;

pub use api::{ArtifactKind, Context, Stage, StageError};
pub use dnc_tables as tables;
pub use registry::STAGES;
