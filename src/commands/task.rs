//! `dnc-run task FILE`: runs one node in this process, for an executor. Hidden, since no user calls it.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::failure::Failure;
use crate::execute::{Caller, run_task_file, stop};

/// Arguments of `task`.
#[derive(Args)]
pub struct TaskArgs {
    /// File with the work, as the executor wrote it; the answer is left beside it
    file: PathBuf,
    /// Stop when standard input ends, that is, when the process that started this one is gone
    #[arg(long)]
    attached: bool,
    /// Run as a job of a batch system: wait while another process computes the node, and leave no answer when stopped
    #[arg(long, conflicts_with = "attached")]
    batch: bool,
}

impl TaskArgs {
    /// Runs the node. That it fails is an answer and not a failure of the command.
    pub(super) fn run(self) -> Result<(), Failure> {
        let (caller, stop) = match (self.attached, self.batch) {
            (true, _) => (Caller::Driver, stop::on_signals()),
            (false, true) => (Caller::BatchSystem, stop::on_signals_of_a_batch_system()),
            (false, false) => (Caller::User, stop::on_signals()),
        };
        let is_answered = run_task_file(&self.file, caller, &stop.context("Cannot listen to signals")?)
            .with_context(|| format!("Cannot run the task `{}`", self.file.display()))?;
        match is_answered {
            true => Ok(()),
            false => Err(Failure::Interrupted),
        }
    }
}
