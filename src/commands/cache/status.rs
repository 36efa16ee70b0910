//! `dnc-run cache status`: compares the store with a remote.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use dnc_cache::{Key, Store};
use serde::Serialize;

use super::transfer::{RemoteArgs, keys_of_runs, keys_of_store, print_no_conditional_puts};
use crate::commands::failure::Failure;
use crate::commands::names;
use crate::commands::output::write_json;
use crate::commands::units::format_bytes;
use crate::project::Project;

/// Arguments of `cache status`.
#[derive(Args)]
pub(super) struct StatusArgs {
    /// Runs whose results to compare: `<name>/<n>`, `<name>` for its last run, or `<name>/<first>-<last>` [default: all records
    /// in the store]
    // Not called `runs`, which is the id of the global option `--runs`.
    #[arg(value_name = "RUN", add = ArgValueCompleter::new(names::runs))]
    run_names: Vec<String>,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `cache status --json` prints.
#[derive(Serialize)]
struct StatusJson {
    /// The remote.
    remote: String,
    /// Whether the remote honours conditional puts, so that the first record of a key stays in any case.
    conditional_puts: bool,
    /// Number of records that both have.
    both: usize,
    /// Keys of the records that only the store has.
    only_local: Vec<Key>,
    /// Keys of the records that only the remote has.
    only_remote: Vec<Key>,
    /// Keys of nodes that neither has.
    neither: Vec<Key>,
    /// Number of blobs that `cache push` would copy.
    blobs: u64,
    /// Their total size.
    bytes: u64,
}

impl StatusArgs {
    /// Prints what each of the two lacks.
    pub(super) fn run(self, store: &Store, project: &Project) -> Result<(), Failure> {
        let remote = self.remote.open(project)?;
        let (keys, names) = keys_of_runs(project, &self.run_names, || keys_of_store(store))?;
        let found = store.compare(&keys, &*remote)?;
        let conditional_puts = remote.has_conditional_puts()?;
        if self.json {
            return Ok(write_json(&StatusJson {
                remote: remote.url().to_owned(),
                conditional_puts,
                both: found.both.len(),
                only_local: found.only_local,
                only_remote: found.only_remote,
                neither: found.neither,
                blobs: found.blobs,
                bytes: found.bytes,
            })?);
        }
        for (keys, what) in [
            (&found.only_local, "only in the store; `cache push` sends it"),
            (&found.only_remote, "only in the remote; `cache pull` fetches it"),
            (&found.neither, "neither in the store nor in the remote; a run computes it"),
        ] {
            for key in keys {
                match names.get(key) {
                    Some(node) => print_line!("`{node}` (key {}): {what}", key.short()),
                    None => print_line!("key {}: {what}", key.short()),
                }
            }
        }
        eprintln!(
            "{} records are in both; `cache push` would send {} records and {} blobs ({}) to `{}`",
            found.both.len(),
            found.only_local.len(),
            found.blobs,
            format_bytes(found.bytes),
            remote.url()
        );
        if !conditional_puts {
            print_no_conditional_puts();
        }
        Ok(())
    }
}
