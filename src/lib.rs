//! `dnc-run`: a manifest of stages becomes a plan of nodes, of which only those run whose inputs changed.
//!
//! Data flows one way: [`manifest`] → [`plan`] → [`schedule`] → [`execute`] → [`report`]. [`session`] is the engine as a library,
//! [`sweep`] searches settings by many runs, [`pages`] are HTML reports, [`search`] finds images, [`export`] writes for other
//! tools, `serve` answers over HTTP, [`commands`] are the command line on top of it. What a stage does is known to `dnc-stages`
//! alone, where bytes are kept to `dnc-cache` alone.

pub mod commands;
pub mod error_chain;
pub mod execute;
pub mod export;
pub mod fingerprint;
pub mod graph;
pub mod machine;
pub mod manifest;
pub mod pages;
pub mod plan;
pub mod project;
pub mod project_file;
pub mod report;
pub mod schedule;
pub mod search;
#[cfg(feature = "serve")]
pub mod serve;
pub mod session;
pub mod shell;
pub mod sweep;
mod sync;
