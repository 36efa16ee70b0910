//! The checked manifest: every name in it is known, every value is valid, and every input port is connected.

use std::path::PathBuf;
use std::sync::Arc;

use dnc_stages::api::{Job, Ports, StageKind};
use serde::Serialize;
use serde_json::Value;

use super::reference::Reference;

/// A checked manifest.
#[derive(Clone)]
pub struct Manifest {
    /// The name, which is also the name of the folder of its runs.
    pub name: String,
    /// The seed from which all random streams are derived.
    pub seed: u64,
    /// Whether each run ends with a report. It is in no key.
    pub report: bool,
    /// Number of learners in each round; empty if the manifest has no rounds.
    pub learners: Vec<u32>,
    /// The stages, in the order of the file.
    pub stages: Vec<StageNode>,
    /// The manifest's folder. Relative paths to sources start here.
    pub folder: PathBuf,
}

impl Manifest {
    /// The number of rounds.
    pub fn rounds(&self) -> u32 {
        u32::try_from(self.learners.len()).expect("the number of rounds is limited when `[rounds]` is read")
    }
}

/// A stage with its parameters and inputs, before it is unrolled into one node per round or learner.
#[derive(Clone)]
pub struct StageNode {
    /// The name in this manifest.
    pub name: String,
    /// The kind of stage.
    pub kind: StageKind,
    /// How often it runs.
    pub per: Per,
    /// The stage with its parameters.
    pub job: Arc<dyn Job>,
    /// Every parameter with its value, defaults included.
    pub params: Value,
    /// Inputs and outputs, as given by [`Job::ports`].
    pub ports: Ports,
    /// What each port of `ports.inputs` reads, in the same order.
    pub inputs: Vec<Connection>,
    /// Which of its outputs stay in the store.
    pub retain: Retain,
    /// Resources that the manifest sets in place of the stage's own.
    pub resources: ResourceOverride,
}

/// What one input port reads: nothing for an unused optional port, one feed for most ports, any number for a port that
/// takes many artifacts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Each feed is a list of alternatives, of which the first that exists is used.
    pub feeds: Vec<Vec<Reference>>,
}

/// How often a stage runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Per {
    /// Once.
    #[default]
    Once,
    /// Once per round.
    Round,
    /// Once per learner of each round.
    Learner,
}

impl Per {
    /// All variants with their names in manifests.
    pub const ALL: [(Per, &'static str); 3] = [(Per::Once, "once"), (Per::Round, "round"), (Per::Learner, "learner")];

    /// The name in manifests.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// For a stage that runs in every round: of which rounds its models and embeddings stay in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Retain {
    /// Of all rounds.
    #[default]
    All,
    /// Of the last round only. Those of earlier rounds are dropped as soon as every node that reads them is done, and
    /// computed again if they are needed later.
    Last,
}

impl Retain {
    /// All variants with their names in manifests.
    pub const ALL: [(Retain, &'static str); 2] = [(Retain::All, "all"), (Retain::Last, "last")];

    /// The name in manifests.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// Resources of a stage that the manifest sets in place of the stage's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ResourceOverride {
    /// Maximum number of threads.
    pub threads: Option<u32>,
    /// Bytes of memory that the node may need.
    pub memory: Option<u64>,
    /// Whether the node needs a device for itself.
    pub gpu: Option<bool>,
}
