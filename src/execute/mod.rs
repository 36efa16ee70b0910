//! Running a plan: what the [`schedule`](crate::schedule) says is ready is looked up, secured or run, within what the
//! machine has.
//!
//! Read [`task`] (a node whose inputs are known), then [`driver`] (the loop), then [`local`] (one task on this machine),
//! [`workers`] (the threads that run tasks), [`budget`] (who gets which threads, memory and GPU), `held` (what another
//! process computes), [`reason`] (why a node runs) and `retention` (what is dropped).

pub mod budget;
pub mod driver;
pub mod forecast;
mod held;
pub mod local;
pub mod reason;
mod retention;
mod share;
pub mod stop;
pub mod task;
pub mod workers;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use dnc_cache::{Artifact, Key};
use serde::{Deserialize, Serialize};

pub use driver::execute;
use reason::Reason;
use task::Task;

/// How a node came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A record named its outputs.
    Hit,
    /// It ran.
    Ran,
    /// It ran and failed.
    Failed,
    /// It could not run because something above it failed.
    Skipped,
    /// The run was stopped before or while it ran.
    Cancelled,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Outcome::Hit => "hit",
            Outcome::Ran => "ran",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
            Outcome::Cancelled => "cancelled",
        })
    }
}

/// What is known of a node at the end of a run.
#[derive(Clone, Debug)]
pub struct NodeResult {
    /// How it ended.
    pub outcome: Outcome,
    /// Its key, where its inputs became known.
    pub key: Option<Key>,
    /// Its outputs by name, where they are known.
    pub outputs: BTreeMap<String, Artifact>,
    /// Why it ran, if it did.
    pub reason: Option<Reason>,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// How long it ran.
    pub took: Duration,
    /// What it measured that is not deterministic: images per second.
    pub measured: BTreeMap<String, f64>,
    /// From when it was looked at until it runs.
    task: Option<Box<Task>>,
}

impl Default for NodeResult {
    fn default() -> Self {
        Self {
            outcome: Outcome::Cancelled,
            key: None,
            outputs: BTreeMap::new(),
            reason: None,
            error: None,
            took: Duration::ZERO,
            measured: BTreeMap::new(),
            task: None,
        }
    }
}

/// An error and all its sources in one line.
pub fn whole_message(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        // Some libraries repeat their source in their own message.
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = error.source();
    }
    message
}
