//! What every command that runs nodes takes: where they run, with how much of this machine, and how their progress is shown.

use clap::Args;

use super::resource_args::ResourceArgs;
use crate::project_file::Push;
use crate::report::sinks::{self, Progress, Sink};
use crate::session::{ExecutorChoice, ProjectRemote, RunOptions, Session, SessionError};

/// Where and how nodes run.
#[derive(Args, Clone, Debug)]
pub struct ExecutionArgs {
    #[command(flatten)]
    resources: ResourceArgs,
    /// Print only failures and the result
    #[arg(long, short)]
    pub quiet: bool,
    /// Progress style [default: bars on a terminal, lines elsewhere]
    #[arg(long, value_name = "STYLE")]
    pub progress: Option<Progress>,
    /// Remote to read results of other machines from: a folder, or a URL with `file://`, `s3://` or `https://`; empty for none
    /// [default: `url` in dnc.toml]
    #[arg(long, env = "DNC_REMOTE", value_name = "URL")]
    pub remote: Option<String>,
    /// Send the results of each node to the remote when it is done
    #[arg(long)]
    pub push: bool,
    /// Where nodes run
    #[arg(long, value_name = "EXECUTOR", default_value = "local")]
    pub executor: ExecutorChoice,
}

impl ExecutionArgs {
    /// Sets what the arguments say.
    ///
    /// # Errors
    /// They do not fit the device or the project.
    pub fn configure(&self, session: &Session, mut options: RunOptions) -> Result<RunOptions, SessionError> {
        options = self.resources.configure(options)?;
        options.executor = self.executor;
        let remote = ProjectRemote::of(session.project(), self.remote.as_deref())?;
        if self.push && remote.place.is_none() {
            return Err(SessionError::Call(
                "`--push` needs a remote; add `--remote URL`, or `url` under `[remote]` in `dnc.toml`".into(),
            ));
        }
        options.push = self.push || remote.push == Push::Done;
        options.remote = remote.place;
        Ok(options)
    }

    /// The sink for the progress of a run.
    pub fn sink(&self) -> Box<dyn Sink> {
        sinks::choose(self.progress, self.quiet)
    }
}
