//! What happens during a run, as a listener hears it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::outcome::{Outcome, Outcomes};

/// Receives the events of a run. Called from several threads.
pub trait Listener: Send + Sync {
    /// Handles one event. It must neither fail nor take long.
    fn event(&self, event: &Event);
}

/// Something that happened during a run. It is also the message that a node in a process of its own sends to the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Hashing the files outside the store takes a while.
    SourceProgress {
        /// The stage that reads them.
        stage: String,
        /// The parameter that names them.
        param: String,
        /// Bytes hashed so far.
        done: u64,
        /// Bytes to hash in all.
        total: u64,
    },
    /// Copying files from or to the remote takes a while.
    RemoteProgress {
        /// Whether they are sent, rather than fetched.
        sends: bool,
        /// Bytes copied so far.
        done: u64,
        /// Bytes to copy, as far as known.
        total: u64,
    },
    /// The run starts.
    RunStarted {
        /// `<name>/<n>`.
        run: String,
        /// Number of nodes among the targets and upstream of them.
        nodes: usize,
    },
    /// A node starts.
    NodeStarted {
        /// Name of the node.
        node: String,
        /// Why it runs.
        why: String,
    },
    /// Another process is computing the node; this run waits for the result.
    NodeWaits {
        /// Name of the node.
        node: String,
        /// The process that computes it.
        holder: String,
    },
    /// A running node made progress.
    NodeProgress {
        /// Name of the node.
        node: String,
        /// Units done.
        done: u64,
        /// Units in all; 0 if unknown.
        total: u64,
        /// The unit: `images`, `steps` …
        unit: String,
    },
    /// A running node wrote a line to its log.
    NodeLog {
        /// Name of the node.
        node: String,
        /// The line.
        line: String,
    },
    /// A node finished.
    NodeFinished {
        /// Name of the node.
        node: String,
        /// How it ended.
        outcome: Outcome,
        /// Run time in seconds; zero for a hit.
        #[serde(with = "seconds")]
        took: Duration,
        /// Why it failed, if it did.
        error: Option<String>,
        /// Number of nodes finished so far.
        finished: usize,
        /// Number of nodes in all.
        nodes: usize,
    },
    /// What a node found suspicious about its data or parameters. A hit is warned about like a node that runs.
    Warning {
        /// The node.
        node: String,
        /// What it found.
        message: String,
    },
    /// Something that the user should know but that does not stop the run: a damaged blob, a node that is not reproducible.
    Notice {
        /// The node concerned, if any.
        node: Option<String>,
        /// What happened.
        message: String,
    },
    /// The run ended.
    RunFinished {
        /// Number of nodes per outcome.
        outcomes: Outcomes,
        /// Wall-clock time in seconds.
        #[serde(with = "seconds")]
        took: Duration,
    },
}

/// Durations as a number of seconds.
pub(super) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::execute) fn serialize<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(took.as_secs_f64())
    }

    pub(in crate::execute) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
