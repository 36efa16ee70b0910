//! Why a node runs.

use std::fmt;

use serde::Serialize;

use super::task::Task;
use crate::fingerprint::{Change, Fingerprint};

/// Why a node runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// No earlier run of this manifest contains the node.
    New,
    /// Its fingerprint differs from that of the most similar earlier run.
    Changed {
        /// The differences.
        changes: Vec<Change>,
    },
    /// Its fingerprint is that of the most similar earlier run, but the store has no record of it.
    NoRecord,
    /// It has a record, but bytes that are needed are missing or damaged.
    Lost,
    /// It was selected with `--from`.
    Forced,
}

impl Reason {
    /// Why a task without a record runs, given the fingerprint of the node in the most similar earlier run that contains it.
    pub fn of(task: &Task, previous: Option<Fingerprint>) -> Self {
        let Some(previous) = previous else { return Reason::New };
        let changes = task.fingerprint.changes_since(&previous);
        if changes.is_empty() { Reason::NoRecord } else { Reason::Changed { changes } }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::New => formatter.write_str("new"),
            Reason::Changed { changes } => {
                for (position, change) in changes.iter().enumerate() {
                    let separator = if position == 0 { "" } else { "; " };
                    write!(formatter, "{separator}{change}")?;
                }
                Ok(())
            }
            Reason::NoRecord => formatter.write_str("not in the store"),
            Reason::Lost => formatter.write_str("its outputs are missing from the store or damaged"),
            Reason::Forced => formatter.write_str("requested with --from"),
        }
    }
}
