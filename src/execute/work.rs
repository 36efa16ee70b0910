//! A task as it is handed to an executor: everything that another process or machine needs to run it.

use std::collections::BTreeMap;

use dnc_cache::{Artifact, Outputs};
use dnc_stages::ArtifactKind;
use dnc_stages::api::AmbientValues;
use dnc_stages::api::Columns;
use dnc_stages::api::DeviceChoice;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::task::{SourceFile, Task};
use super::usage::Usage;
use crate::fingerprint::Fingerprint;
use crate::plan::{Needs, NodeIndex};

/// Everything that running a node takes. It holds no handles, so that it can be written to a file and run elsewhere; only
/// the store and the sources must be reachable under the same paths.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    /// Position of the node in the plan.
    pub index: NodeIndex,
    /// Name of the node.
    pub node: String,
    /// Name of its stage in the manifest.
    pub stage: String,
    /// Why it runs.
    pub why: String,
    /// Fingerprint and key.
    pub task: Task,
    /// Every parameter of the stage, including those that the key leaves out.
    pub params: Value,
    /// Input artifacts by port, ordered by learner.
    pub inputs: BTreeMap<String, Vec<WorkInput>>,
    /// Files and folders outside the store.
    pub sources: Vec<SourceFile>,
    /// The resources that it asks for.
    pub needs: Needs,
    /// The device of the run. An executor that hands out GPUs replaces it by the one that it assigned.
    pub device: DeviceChoice,
    /// Fingerprint of the node in the last run that contains it.
    pub previous: Option<Fingerprint>,
    /// Whether to run even if there is a record.
    pub forced: bool,
    /// Whether to run twice, with one thread and with all of them, and to compare the outputs.
    pub verify: bool,
    /// What to do if memory runs out; set by an executor that limits it.
    pub memory_remedy: Option<String>,
}

/// An input artifact.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkInput {
    /// The node that produced it.
    pub node: String,
    /// What it holds.
    pub kind: ArtifactKind,
    /// The columns that the port reads.
    pub columns: Columns,
    /// Its files and facets, by digest.
    pub artifact: Artifact,
}

impl Work {
    /// The ambient values that the stage declared.
    pub fn ambient(&self) -> AmbientValues {
        let Fingerprint { seed, round, learners, previous_learners, learner, .. } = self.task.fingerprint;
        AmbientValues { seed, round, learners, previous_learners, learner }
    }
}

/// How one attempt at a task ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "attempt", rename_all = "snake_case")]
pub enum Attempt {
    /// It ran and was committed to the store.
    Ran {
        /// Its outputs.
        outputs: Outputs,
        /// `output.facet`: the first place where the outputs differ from an older record of the same key.
        differs: Option<String>,
    },
    /// A record was there by the time the task was claimed.
    Found {
        /// The outputs of that record.
        outputs: Outputs,
    },
    /// Another process is computing it.
    Claimed {
        /// The process id, if known.
        holder: Option<u32>,
    },
    /// Bytes of an input are missing or damaged, so the node that produced it must run first.
    InputLost,
    /// It failed.
    Failed {
        /// Why.
        message: String,
    },
    /// The run was stopped.
    Cancelled,
}

/// What an executor returns for a piece of work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Position of the node in the plan.
    pub index: NodeIndex,
    /// How the attempt ended.
    pub attempt: Attempt,
    /// What it used.
    pub usage: Usage,
    /// What the node found suspicious while it ran.
    pub warnings: Vec<String>,
}
