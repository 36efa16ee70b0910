//! `dnc-run cache gc`: removes what no kept run references.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use dnc_cache::{GcPolicy, Key, Store};

use crate::commands::failure::Failure;
use crate::commands::units::{format_bytes, parse_age, parse_size};
use crate::project::Project;
use crate::report::run_folder::RunFolder;

/// Arguments of `cache gc`.
#[derive(Args)]
pub(super) struct GcArgs {
    /// Keep what the last N runs of each name reference
    #[arg(long, value_name = "N", default_value_t = 5)]
    keep: usize,
    /// Remove only records that were last used longer ago than this, such as `12h` or `30d`
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    older_than: Option<Duration>,
    /// Remove the least recently used records until the store is at most this large, such as `500MB` or `20GB`
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// Also empty the quarantine
    #[arg(long)]
    quarantine: bool,
    /// Only print what would be removed
    #[arg(long)]
    dry_run: bool,
}

impl GcArgs {
    /// Collects garbage and prints a summary.
    pub(super) fn run(self, store: &Store, project: &Project) -> Result<(), Failure> {
        let policy = GcPolicy {
            keep: self.referenced_keys(store, project)?,
            older_than: self.older_than,
            max_size: self.max_size,
            quarantine: self.quarantine,
            dry_run: self.dry_run,
        };
        let report = store.gc(&policy)?;
        eprintln!(
            "{} {} records, {} blobs ({}), {} temporary and {} scratch folders; kept {} records ({})",
            if self.dry_run { "would remove" } else { "removed" },
            report.records.len(),
            report.blobs,
            format_bytes(report.bytes),
            report.temporary,
            report.scratch,
            report.kept_records,
            format_bytes(report.kept_bytes)
        );
        if self.max_size.is_some_and(|limit| report.kept_bytes > limit) {
            eprintln!(
                "note: the store is still larger than `--max-size`, because kept runs reference the rest or it is in use; lower `--keep` to remove more"
            );
        }
        Ok(())
    }

    /// The keys that the kept runs reference, of this project and of all that share its store.
    fn referenced_keys(&self, store: &Store, project: &Project) -> Result<HashSet<Key>, Failure> {
        let own = RunFolder::all(&project.runs).context("Cannot read the folder of runs")?;
        if self.keep > 0 && own.is_empty() {
            let runs = project.runs.display();
            return Err(Failure::Call(format!(
                "There is no run in `{runs}`, so nothing would be kept; pass the folder of runs with `--runs`, or use `--keep 0`"
            )));
        }
        let mut keys = keys_of_last_runs(own, self.keep)?;
        for root in store.roots()? {
            if root.exists() {
                let runs =
                    RunFolder::all(&root).with_context(|| format!("Cannot read the runs in `{}`", root.display()))?;
                keys.extend(keys_of_last_runs(runs, self.keep)?);
                continue;
            }
            eprintln!(
                "note: the folder of runs `{}` no longer exists, so what its runs reference is not kept",
                root.display()
            );
            if !self.dry_run {
                store.remove_root(&root)?;
            }
        }
        Ok(keys)
    }
}

/// The keys that the last `keep` runs of each name reference. Unfinished runs are kept in addition, and do not count. A run
/// without `run.json` has not started.
fn keys_of_last_runs(mut runs: Vec<RunFolder>, keep: usize) -> Result<HashSet<Key>, Failure> {
    let mut keys = HashSet::new();
    let mut finished = 0;
    let mut name = None;
    while let Some(run) = runs.pop() {
        if name.as_ref() != Some(&run.name) {
            (name, finished) = (Some(run.name.clone()), 0);
        }
        if finished >= keep || !run.path.join("run.json").exists() {
            continue;
        }
        // A file that cannot be read might reference anything, so it is an error.
        let json = run.read()?;
        finished += usize::from(!json.unfinished);
        keys.extend(json.nodes.into_iter().filter_map(|node| node.key));
    }
    Ok(keys)
}
