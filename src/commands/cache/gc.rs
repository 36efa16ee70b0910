//! `dnc-run cache gc`: removes what no kept run references.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use dnc_cache::{GcPolicy, GcReport, Key, Store};
use serde::Serialize;

use crate::commands::failure::Failure;
use crate::commands::output::write_json;
use crate::commands::units::{format_bytes, parse_age, parse_size};
use crate::project::Project;
use crate::report::run_folder::RunFolder;
use crate::report::run_notes::Notes;

/// Arguments of `cache gc`.
#[derive(Args)]
pub(super) struct GcArgs {
    /// Keep what the last N runs of each name reference; runs with tags are always kept
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
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `cache gc --json` prints.
#[derive(Serialize)]
struct GcJson {
    /// Whether nothing was removed because of `--dry-run`.
    dry_run: bool,
    /// Keys of the records that were removed, or would be.
    records: Vec<Key>,
    /// Number of blobs.
    blobs: u64,
    /// Total size of these blobs.
    bytes: u64,
    /// Number of temporary folders.
    temporary: u64,
    /// Number of scratch folders.
    scratch: u64,
    /// Number of records that are kept.
    kept_records: u64,
    /// Total size of their blobs.
    kept_bytes: u64,
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
        if self.json {
            let GcReport { blobs, bytes, temporary, scratch, kept_records, kept_bytes, .. } = report;
            let (dry_run, records) = (self.dry_run, report.records);
            let json = GcJson { dry_run, records, blobs, bytes, temporary, scratch, kept_records, kept_bytes };
            return Ok(write_json(&json)?);
        }
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

/// The keys that the last `keep` runs of each name and those with tags reference. Unfinished runs are kept in addition, and do
/// not count. A run without `run.json` has not started.
fn keys_of_last_runs(mut runs: Vec<RunFolder>, keep: usize) -> Result<HashSet<Key>, Failure> {
    let mut keys = HashSet::new();
    let mut finished = 0;
    let mut name = None;
    while let Some(run) = runs.pop() {
        if name.as_ref() != Some(&run.name) {
            (name, finished) = (Some(run.name.clone()), 0);
        }
        let is_tagged = !Notes::read(&run.path)?.tags.is_empty();
        if (finished >= keep && !is_tagged) || !run.path.join("run.json").exists() {
            continue;
        }
        // A file that cannot be read might reference anything, so it is an error.
        let json = run.read()?;
        finished += usize::from(!json.unfinished);
        keys.extend(json.nodes.into_iter().filter_map(|node| node.key));
    }
    Ok(keys)
}
