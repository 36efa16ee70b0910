//! How a session runs a plan.

use std::num::NonZero;
use std::{env, thread};

use dnc_stages::api::DeviceChoice;

use super::error::SessionError;
use crate::execute::budget::Limits;
use crate::execute::driver::Options;
use crate::plan::{Plan, Selection};

/// How a plan is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Device, targets, forced nodes, verification.
    pub options: Options,
    /// What the run may use of this machine.
    pub limits: Limits,
    /// Where nodes run.
    pub executor: ExecutorChoice,
}

/// Where nodes run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ExecutorChoice {
    /// On threads of this process.
    #[default]
    Local,
    /// Each in a process of its own on this machine, so that a crash fails one node and not the run.
    Process,
}

impl RunOptions {
    /// All of the plan's goals on `device`, with everything that this machine has.
    pub fn new(plan: &Plan, device: DeviceChoice) -> Self {
        let device = device.resolve();
        let gpus = match device {
            DeviceChoice::Cuda(ordinal) => vec![ordinal],
            _ => Vec::new(),
        };
        let available = thread::available_parallelism().map_or(1, NonZero::get);
        let cores = cores(available, env::var(SLURM_CORES).ok().as_deref());
        // Two more jobs than cores, as ninja does: programs wait for the disk and for one another.
        let limits = Limits { jobs: cores + 2, threads: cores, memory: memory_of_this_machine(), gpus };
        Self { options: Options::everything(plan, device), limits, executor: ExecutorChoice::default() }
    }

    /// Brings only the nodes that `selection` names up to date, with everything upstream of them.
    ///
    /// # Errors
    /// It names no node of the plan.
    pub fn until(mut self, plan: &Plan, selection: &str) -> Result<Self, SessionError> {
        let targets = Selection::new(selection).nodes(plan).map_err(SessionError::Call)?;
        let above = plan.above(&targets);
        // The report is made from what lies upstream as well.
        let mut all: Vec<_> =
            plan.goals().into_iter().filter(|&goal| above[goal] && !targets.contains(&goal)).collect();
        all.extend(targets);
        self.options.targets = all;
        Ok(self)
    }

    /// Runs the nodes that `selection` names, and everything downstream of them, even if they have records.
    ///
    /// # Errors
    /// It names no node of the plan.
    pub fn from(mut self, plan: &Plan, selection: &str) -> Result<Self, SessionError> {
        let origins = Selection::new(selection).nodes(plan).map_err(SessionError::Call)?;
        self.options.forced = plan.below(&origins);
        Ok(self)
    }
}

/// The variable in which Slurm gives a job its number of cores per task. Not every cluster enforces it.
const SLURM_CORES: &str = "SLURM_CPUS_PER_TASK";

/// The number of cores to use, out of the `available` ones: no more than Slurm gave to the job.
fn cores(available: usize, given_by_slurm: Option<&str>) -> usize {
    let given = given_by_slurm.and_then(|text| text.trim().parse().ok()).filter(|&given| given > 0);
    given.map_or(available, |given: usize| given.min(available))
}

/// Bytes of memory, as the kernel reports; without an answer, no limit.
fn memory_of_this_machine() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).map_or(u64::MAX, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_slurm_uses_the_cores_that_it_was_given() {
        for (given, expected) in
            [(None, 16), (Some("4"), 4), (Some(" 4\n"), 4), (Some("64"), 16), (Some("0"), 16), (Some("x"), 16)]
        {
            assert_eq!(cores(16, given), expected, "{given:?}");
        }
    }
}
