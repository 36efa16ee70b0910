//! How a node ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A record with its outputs was found.
    Hit,
    /// It ran and succeeded.
    Ran,
    /// It ran and failed.
    Failed,
    /// It could not run because a node upstream failed.
    Skipped,
    /// The run was stopped before the node finished.
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

/// Number of nodes per outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Nodes whose record was found.
    pub hit: usize,
    /// Nodes that ran.
    pub ran: usize,
    /// Nodes that failed.
    pub failed: usize,
    /// Nodes that could not run because a node upstream failed.
    pub skipped: usize,
    /// Nodes that had not finished when the run was stopped.
    pub cancelled: usize,
}

impl Outcomes {
    /// Counts one more node.
    pub fn add(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Hit => &mut self.hit,
            Outcome::Ran => &mut self.ran,
            Outcome::Failed => &mut self.failed,
            Outcome::Skipped => &mut self.skipped,
            Outcome::Cancelled => &mut self.cancelled,
        } += 1;
    }
}

impl FromIterator<Outcome> for Outcomes {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        let mut counts = Self::default();
        outcomes.into_iter().for_each(|outcome| counts.add(outcome));
        counts
    }
}
