//! What is known of a node when a run ends.

use std::time::Instant;

use dnc_cache::{Key, Outputs};

use super::outcome::Outcome;
use super::reason::Reason;
use super::task::Task;
use super::usage::Usage;
use crate::error_chain::error_chain;

/// What is known of a node when a run ends.
#[derive(Clone, Debug)]
pub struct NodeResult {
    /// How it ended.
    pub outcome: Outcome,
    /// Its key, once its inputs were known.
    pub key: Option<Key>,
    /// Its outputs by name, once known.
    pub outputs: Outputs,
    /// Why it ran, if it did.
    pub reason: Option<Reason>,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// When it was last handed to the executor.
    pub began: Option<Instant>,
    /// What it used while it ran.
    pub usage: Usage,
    /// What it found suspicious about its data or parameters.
    pub warnings: Vec<String>,
    /// The task, from look-up until the node runs.
    pub(super) task: Option<Box<Task>>,
}

impl Default for NodeResult {
    fn default() -> Self {
        Self {
            outcome: Outcome::Cancelled,
            key: None,
            outputs: Outputs::new(),
            reason: None,
            error: None,
            began: None,
            usage: Usage::default(),
            warnings: Vec::new(),
            task: None,
        }
    }
}

/// Why a node has failed that ran, but whose record could not be written.
pub(super) fn not_recorded(source: &dyn std::error::Error) -> String {
    format!("It ran, but could not be recorded: {}", error_chain(source))
}
