//! Runs whose driver is a job itself.

use std::ffi::OsString;
use std::path::absolute;

use super::Session;
use super::error::SessionError;
use crate::execute::executor::slurm::{DriverJob, SubmittedDriver};
use crate::plan::Plan;
use crate::project_file::ProjectFile;

impl Session {
    /// Submits `dnc-run` with `arguments`, which run `plan`, to Slurm as a job that starts in the current folder.
    ///
    /// # Errors
    /// `dnc.toml` is wrong, the folder of runs cannot be written, or Slurm does not take the job.
    pub fn detach(&self, plan: &Plan, arguments: Vec<OsString>) -> Result<SubmittedDriver, SessionError> {
        let settings = ProjectFile::read(&self.project.root)?.executor.slurm;
        let program = std::env::current_exe().map_err(SessionError::cannot("Cannot find this program"))?;
        let run = plan.manifest.name.as_str();
        let folder =
            absolute(self.project.runs.join(run)).map_err(SessionError::cannot("Cannot find the current folder"))?;
        let job = DriverJob { run, settings: &settings, folder: &folder, program: &program, arguments };
        job.submit().map_err(SessionError::cannot("Cannot submit the driver; see `[executor.slurm]` in dnc.toml"))
    }

    /// The manifest and the overrides as arguments of a call of `dnc-run`.
    pub fn arguments(&self) -> Vec<OsString> {
        let overrides = self.overrides.iter().flat_map(|one| ["--set".into(), one.to_string().into()]);
        std::iter::once(self.manifest.clone().into()).chain(overrides).collect()
    }
}
