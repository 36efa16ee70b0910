//! Why a node runs.

use std::fmt;

use serde::Serialize;

use super::task::Task;
use crate::fingerprint::{Change, Fingerprint};

/// Why a node runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// No run of this manifest knows the node.
    New,
    /// Its ingredients are not those of its last run.
    Changed {
        /// In what they differ.
        changes: Vec<Change>,
    },
    /// Its ingredients are those of its last run, but no record of it is left.
    NoRecord,
    /// It has a record, but bytes that the record names are gone or rotten and are needed.
    Lost,
    /// `--from` asks for it.
    Forced,
}

impl Reason {
    /// Why a task without a record runs, given what the last run that knew its node made it of.
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
            Reason::NoRecord => formatter.write_str("its record is gone"),
            Reason::Lost => formatter.write_str("its bytes are gone from the store or damaged"),
            Reason::Forced => formatter.write_str("asked for by --from"),
        }
    }
}
