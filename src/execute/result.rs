//! What is known of a node when a run ends.

use std::collections::BTreeMap;
use std::time::Duration;

use dnc_cache::{Key, Outputs};

use super::outcome::Outcome;
use super::reason::Reason;
use super::task::Task;
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
    /// Run time.
    pub took: Duration,
    /// Measurements that are not deterministic, such as images per second.
    pub measured: BTreeMap<String, f64>,
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
            took: Duration::ZERO,
            measured: BTreeMap::new(),
            warnings: Vec::new(),
            task: None,
        }
    }
}

/// Why a node has failed that ran, but whose record could not be written.
pub(super) fn not_recorded(source: &dyn std::error::Error) -> String {
    format!("It ran, but could not be recorded: {}", error_chain(source))
}
