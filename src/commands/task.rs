//! `dnc-run task FILE`: runs one node in this process, for an executor. Hidden, since no user calls it.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::failure::Failure;
use crate::execute::{run_task_file, stop};

/// Arguments of `task`.
#[derive(Args)]
pub struct TaskArgs {
    /// File with the work, as the executor wrote it; the answer is left beside it
    file: PathBuf,
    /// Stop when standard input ends, that is, when the process that started this one is gone
    #[arg(long)]
    attached: bool,
}

impl TaskArgs {
    /// Runs the node. That it fails is an answer and not a failure of the command.
    pub(super) fn run(self) -> Result<(), Failure> {
        let stop = stop::on_signals().context("Cannot listen to signals")?;
        run_task_file(&self.file, self.attached, &stop)
            .with_context(|| format!("Cannot run the task `{}`", self.file.display()))?;
        Ok(())
    }
}
