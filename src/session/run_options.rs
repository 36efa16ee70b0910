//! How a session runs a plan.

use dnc_stages::api::{DeviceChoice, Devices};

use super::error::SessionError;
use crate::execute::budget::Limits;
use crate::execute::driver::Options;
use crate::execute::remote::RemotePlace;
use crate::machine;
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
    /// Where results of other machines are looked for.
    pub remote: Option<RemotePlace>,
    /// Whether nodes are sent to the remote when they are done.
    pub push: bool,
    /// Whether a run that sends also says in the remote, at its end, which keys the runs of the project reference. A caller that makes
    /// many runs does so itself, once, because the files of all runs are read for it.
    pub keep_in_remote: bool,
}

/// Where nodes run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ExecutorChoice {
    /// On threads of this process.
    #[default]
    Local,
    /// Each in a process of its own on this machine, so that a crash fails one node and not the run.
    Process,
    /// Each in a job of a Slurm cluster, as `[executor.slurm]` in dnc.toml says.
    Slurm,
}

impl RunOptions {
    /// All of the plan's goals on `device`, with everything that this machine has.
    pub fn new(plan: &Plan, device: DeviceChoice) -> Self {
        let device = device.resolve();
        let gpus = match device {
            DeviceChoice::Cuda(ordinal) => vec![ordinal],
            _ => Vec::new(),
        };
        let cores = machine::threads();
        // Two more jobs than cores, as ninja does: programs wait for the disk and for one another.
        let limits = Limits { jobs: cores + 2, threads: cores, memory: machine::memory_limit(), gpus };
        Self {
            options: Options::everything(plan, device),
            limits,
            executor: ExecutorChoice::default(),
            remote: None,
            push: false,
            keep_in_remote: true,
        }
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

    /// Refuses GPUs that compute other bits than the one whose `arithmetic` is in the keys.
    ///
    /// # Errors
    /// There is such a GPU, or one cannot be opened.
    pub(super) fn check_gpus(&self, arithmetic: &str, devices: &Devices) -> Result<(), SessionError> {
        // The jobs of a cluster check what they were given.
        if self.executor == ExecutorChoice::Slurm {
            return Ok(());
        }
        self.limits.gpus.iter().try_for_each(|&gpu| {
            let found = devices.arithmetic(DeviceChoice::Cuda(gpu)).map_err(SessionError::Device)?;
            check_arithmetic(gpu, &found, arithmetic)
        })
    }
}

fn check_arithmetic(gpu: usize, found: &str, expected: &str) -> Result<(), SessionError> {
    if found == expected {
        return Ok(());
    }
    Err(SessionError::Call(format!(
        "`--gpus` names `cuda:{gpu}`, which computes with `{found}`, but the run is planned for `{expected}`, and their results differ in \
         the last digits; name GPUs of one model, and one of them with `--device`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_of_another_model_are_refused() {
        assert!(check_arithmetic(1, "cuda/a", "cuda/a").is_ok());
        let error = check_arithmetic(1, "cuda/b", "cuda/a").expect_err("results would not be those of the key");
        assert!(error.to_string().contains("`cuda:1`, which computes with `cuda/b`"), "{error}");
    }
}
