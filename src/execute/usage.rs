//! What a node used while it ran. None of it is deterministic, so it is written to `run.json` and never hashed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::seconds;

/// What a node used while it ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Run time in seconds.
    #[serde(with = "seconds")]
    pub took: Duration,
    /// The most threads that it could use.
    pub threads: usize,
    /// The GPU that it had.
    pub gpu: Option<usize>,
    /// Peak resident memory in bytes of its process while it ran; see [`super::memory`].
    pub peak_memory: Option<u64>,
    /// What the stage measured, such as images per second.
    pub measured: BTreeMap<String, f64>,
}
