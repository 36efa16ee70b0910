//! The command line: one file per command, each with a struct of arguments and a `run` method. Commands parse and print; what
//! they do is in [`session`](crate::session) and below.
//!
//! To add a command: write its file, and add a line to [`cli`]'s list and to its dispatch.

#[macro_use]
mod output;

pub mod cache;
pub mod cli;
pub mod completions;
mod detach;
pub mod diff;
pub mod doctor;
pub mod execution_args;
pub mod explain;
pub mod export;
pub mod failure;
pub mod get;
pub mod graph;
pub mod import_weights;
pub mod init;
pub mod logs;
pub mod man;
pub mod manifest_args;
mod named_runs;
mod names;
pub mod plan;
pub mod planned_args;
pub mod report;
pub mod resource_args;
pub mod run;
pub mod runs;
pub mod schema;
pub mod search;
#[cfg(feature = "serve")]
pub mod serve;
pub mod show;
pub mod stages;
pub mod sweep;
pub mod task;
mod units;
pub mod watch;
pub mod weights;

pub use cli::{Cli, dispatch, parse};
