//! `dnc-run cache pull`: copies records from a remote.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use dnc_cache::Store;

use super::transfer::{BYTES, RemoteArgs, keys_of_runs, print_damaged, print_report, with_progress_bar};
use crate::commands::failure::Failure;
use crate::commands::names;
use crate::project::Project;

/// Arguments of `cache pull`.
#[derive(Args)]
pub(super) struct PullArgs {
    /// Local runs whose results to pull: `<name>/<n>`, `<name>` for its last run, or `<name>/<first>-<last>` [default: all
    /// records in the remote]
    // Not called `runs`, which is the id of the global option `--runs`.
    #[arg(value_name = "RUN", add = ArgValueCompleter::new(names::runs))]
    run_names: Vec<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

impl PullArgs {
    /// Pulls the records and prints a summary.
    pub(super) fn run(self, store: &Store, project: &Project) -> Result<(), Failure> {
        let remote = self.remote.open(project)?;
        let (keys, names) = keys_of_runs(project, &self.run_names, || store.remote_keys(&*remote))?;
        let report = with_progress_bar(BYTES, |progress| store.pull(&keys, &*remote, progress))?;
        print_damaged(&report, &*remote);
        print_report("pulled", &report, &*remote, &names)
    }
}
