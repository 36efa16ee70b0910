//! The stages of divide and conquer: tables in, tables out.
//!
//! Read [`stage`] first (what a stage is, and the list of them), then [`context`] (what a running stage may see), then
//! `tables` (the Arrow schemas), then any one stage: its siblings look alike.
//!
//! This crate deliberately knows neither the cache nor manifests: who runs a stage hands it files and takes files.

pub mod augment;
pub mod choose;
pub mod cluster;
pub mod command;
pub mod context;
pub mod decode;
pub mod device;
pub mod embed;
pub mod error;
pub mod evaluate;
pub mod init;
pub mod kind;
pub mod loader;
pub mod merge;
pub mod pytorch;
pub mod stage;
pub mod tables;
#[cfg(test)]
mod testing;
pub mod train;
pub mod views;

pub use context::Context;
pub use error::StageError;
pub use kind::Kind;
pub use stage::{STAGES, Stage};
