//! What happens during a run, as it is told to whoever listens.

use std::time::Duration;

use serde::Serialize;

use crate::execute::Outcome;

/// Something that happened. Events are told in the order in which they happened, from one thread at a time.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Files outside the store are hashed before the run begins, and it takes a while.
    SourceProgress {
        /// The stage that reads them.
        stage: String,
        /// Its parameter that names them.
        param: String,
        /// Bytes that were read.
        done: u64,
        /// Bytes that are to be read.
        total: u64,
    },
    /// The run begins.
    RunStarted {
        /// `<name>/<n>`.
        run: String,
        /// How many nodes were asked for, with all above them.
        nodes: usize,
    },
    /// A node begins to run.
    NodeStarted {
        /// Its name.
        node: String,
        /// Why it runs.
        why: String,
    },
    /// Another process is computing the node; this one waits for it.
    NodeWaits {
        /// Its name.
        node: String,
        /// Who computes it.
        holder: String,
    },
    /// A running node got on.
    NodeProgress {
        /// Its name.
        node: String,
        /// How much is done.
        done: u64,
        /// Of how much; 0 where that is not known.
        total: u64,
        /// Of what: `images`, `steps` …
        unit: String,
    },
    /// A node came to its end.
    NodeFinished {
        /// Its name.
        node: String,
        /// How.
        outcome: Outcome,
        /// How long it ran; zero for a hit.
        #[serde(serialize_with = "seconds")]
        took: Duration,
        /// Why it failed, if it did.
        error: Option<String>,
        /// Nodes at their end so far.
        finished: usize,
        /// Nodes asked for.
        nodes: usize,
    },
    /// Something that the user should know and that stops nothing: a rotten blob set aside, a node that is not reproducible.
    Notice {
        /// The node that it is about, if any.
        node: Option<String>,
        /// What happened.
        message: String,
    },
    /// The run is over.
    RunFinished {
        /// How many nodes ended in each outcome.
        outcomes: Outcomes,
        /// How long all took.
        #[serde(serialize_with = "seconds")]
        took: Duration,
    },
}

/// How many nodes ended in each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// Nodes whose record was found.
    pub hit: usize,
    /// Nodes that ran.
    pub ran: usize,
    /// Nodes that failed.
    pub failed: usize,
    /// Nodes that could not run because of a failure above them.
    pub skipped: usize,
    /// Nodes that were not reached before the run was stopped.
    pub cancelled: usize,
}

impl Outcomes {
    /// Counts one more.
    pub fn add(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Hit => &mut self.hit,
            Outcome::Ran => &mut self.ran,
            Outcome::Failed => &mut self.failed,
            Outcome::Skipped => &mut self.skipped,
            Outcome::Cancelled => &mut self.cancelled,
        } += 1;
    }

    /// How many nodes came to their end, well or badly.
    pub fn total(&self) -> usize {
        self.hit + self.ran + self.failed + self.skipped + self.cancelled
    }
}

/// Who listens to a run.
pub trait Sink: Send {
    /// Takes an event; must not fail and must not take long.
    fn tell(&mut self, event: &Event);
}

fn seconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64())
}
