//! A node of the plan: one stage in one round, for one learner.

use dnc_stages::ArtifactKind;
use dnc_stages::api::Columns;
use serde::{Deserialize, Serialize};

/// Position of a node in [`Plan::nodes`](super::Plan::nodes).
pub type NodeIndex = usize;

/// A stage in one round, for one learner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Stable name: `decode`, `cluster@2`, `train@2[3]`.
    pub name: String,
    /// Index of its stage in the manifest.
    pub stage: usize,
    /// Round, if the stage runs once per round.
    pub round: Option<u32>,
    /// Number of learners in its round.
    pub learners: Option<u32>,
    /// Number of learners in the previous round; `None` in the first round.
    pub previous_learners: Option<u32>,
    /// Learner, if the stage runs once per learner.
    pub learner: Option<u32>,
    /// What feeds its ports. Optional ports that stay empty are left out.
    pub inputs: Vec<Wire>,
}

/// What feeds one input port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Name of the port.
    pub port: String,
    /// The columns that the port reads.
    pub columns: Columns,
    /// The artifacts, ordered by learner.
    pub feeds: Vec<Feed>,
}

/// One artifact that flows into a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The node that produces it.
    pub node: NodeIndex,
    /// Name of the output.
    pub output: String,
    /// What the artifact holds.
    pub kind: ArtifactKind,
}

/// The resources that a node asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Number of threads that it can make use of.
    pub threads: usize,
    /// Peak memory in bytes, or 0 if unknown.
    pub memory: u64,
    /// Whether it computes on the run's device. On a GPU it then gets one to itself.
    pub device: bool,
}

impl Node {
    /// The nodes whose outputs this node reads, each once.
    pub fn upstream(&self) -> Vec<NodeIndex> {
        let mut upstream: Vec<_> = self.feeds().map(|feed| feed.node).collect();
        upstream.sort_unstable();
        upstream.dedup();
        upstream
    }

    /// Everything that flows into the node, port by port.
    pub fn feeds(&self) -> impl Iterator<Item = &Feed> {
        self.inputs.iter().flat_map(|wire| &wire.feeds)
    }
}
