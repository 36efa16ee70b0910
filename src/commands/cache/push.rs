//! `dnc-run cache push`: copies records to a remote.

use anyhow::Context as _;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use dnc_cache::Store;

use super::transfer::{
    BYTES, RemoteArgs, keys_of_runs, keys_of_store, print_no_conditional_puts, print_report, with_progress_bar,
};
use crate::commands::failure::Failure;
use crate::commands::names;
use crate::project::Project;
use crate::report::kept_keys::{keys_of_last_runs, project_name};
use crate::report::run_folder::RunFolder;

/// Arguments of `cache push`.
#[derive(Args)]
pub(super) struct PushArgs {
    /// Runs whose results to push: `<name>/<n>`, `<name>` for its last run, or `<name>/<first>-<last>` [default: all records
    /// in the store]
    // Not called `runs`, which is the id of the global option `--runs`.
    #[arg(value_name = "RUN", add = ArgValueCompleter::new(names::runs))]
    run_names: Vec<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

impl PushArgs {
    /// Pushes the records and prints a summary.
    pub(super) fn run(self, store: &Store, project: &Project) -> Result<(), Failure> {
        let remote = self.remote.open(project)?;
        let (keys, names) = keys_of_runs(project, &self.run_names, || keys_of_store(store))?;
        let report = with_progress_bar(BYTES, |progress| store.push(&keys, &*remote, progress))?;
        let runs = RunFolder::all(&project.runs).context("Cannot read the folder of runs")?;
        store.set_remote_root(&project_name(&project.runs), &keys_of_last_runs(runs, usize::MAX)?, &*remote)?;
        if !remote.has_conditional_puts()? {
            print_no_conditional_puts();
        }
        print_report("pushed", &report, &*remote, &names)
    }
}
