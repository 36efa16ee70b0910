//! Tasks that have been submitted, or will be.

use std::time::SystemTime;

use super::folder::Position;
use super::queue::JobId;
use super::request::Request;
use crate::execute::work::Work;
use crate::plan::NodeIndex;

/// A piece of work and what became of its earlier jobs.
pub(super) struct Member {
    pub(super) work: Work,
    pub(super) request: Request,
    /// Further nodes of the plan with the same key.
    pub(super) also: Vec<NodeIndex>,
    /// How many of its jobs were lost.
    pub(super) lost: u32,
    /// When its scratch folder last changed, as seen when one of its jobs was stopped.
    pub(super) saved: Option<SystemTime>,
}

/// An array that was written to the folder, but that Slurm has not taken yet.
pub(super) struct Prepared {
    /// Name of its files.
    pub(super) array: String,
    /// Name of its jobs.
    pub(super) name: String,
    /// The tasks of each job, by name.
    pub(super) jobs: Vec<Vec<(String, Member)>>,
    /// Whether an earlier call of `sbatch` failed in a way that leaves open whether Slurm took it.
    pub(super) is_unsure: bool,
}

/// Where the files and the job of a submitted task are.
pub(super) struct Submitted {
    /// Position of the folder with its files.
    pub(super) folder: usize,
    /// Name of its files.
    pub(super) task: String,
    pub(super) job: JobId,
    /// Name of the job.
    pub(super) name: String,
}

/// A task whose job waits or runs.
pub(super) struct Flight {
    pub(super) member: Member,
    /// Position of the folder with its files.
    pub(super) folder: usize,
    pub(super) job: JobId,
    /// Name of the job.
    pub(super) name: String,
    /// How far its events were read.
    pub(super) position: Position,
    /// Whether its job had ended without an answer at the last look at the queue. The answer may still become visible.
    pub(super) is_missed: bool,
}

impl Flight {
    /// Name of the files of its array, with which the name of its jobs ends.
    pub(super) fn array(&self) -> &str {
        self.name.rsplit('-').next().unwrap_or_default()
    }
}
