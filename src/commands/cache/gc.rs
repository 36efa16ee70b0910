//! `dnc-run cache gc`: removes what no kept run references.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use dnc_cache::{GcPolicy, GcReport, Key, Store};
use serde::Serialize;

use super::gc_remote::{OwnRuns, RemoteGc};
use super::transfer::RemoteArgs;
use crate::commands::failure::Failure;
use crate::commands::output::write_json;
use crate::commands::units::{format_bytes, parse_age, parse_size};
use crate::project::Project;
use crate::report::kept_keys::keys_of_last_runs;
use crate::report::run_folder::RunFolder;

/// Arguments of `cache gc`.
#[derive(Args)]
pub(super) struct GcArgs {
    /// Keep what the last N runs of each name reference; runs with tags are always kept [default: 5; with --remote all runs]
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Remove only records that were last used longer ago than this, such as `12h` or `30d`
    #[arg(long, value_name = "AGE", value_parser = parse_age, conflicts_with = "remote")]
    older_than: Option<Duration>,
    /// Remove the least recently used records until the store is at most this large, such as `500MB` or `20GB`
    #[arg(long, value_name = "SIZE", value_parser = parse_size, conflicts_with = "remote")]
    max_size: Option<u64>,
    /// Also empty the quarantine
    #[arg(long, conflicts_with = "remote")]
    quarantine: bool,
    /// Remove what no project that has pushed there needs from the remote instead of the store
    ///
    /// Only prints what would be removed, unless --yes is given.
    #[arg(long, value_name = "URL", num_args = 0..=1)]
    remote: Option<Option<String>>,
    /// With --remote: remove nothing younger than this, by the clock of the server
    #[arg(long, value_name = "AGE", value_parser = parse_age, default_value = "14d", requires = "remote")]
    grace: Duration,
    /// With --remote: ignore projects that have not pushed for this long, so that what only they need is removed
    #[arg(long, value_name = "AGE", value_parser = parse_age, requires = "remote")]
    forget: Option<Duration>,
    /// With --remote: remove, instead of only printing what would be removed
    #[arg(long, requires = "remote")]
    yes: bool,
    /// Only print what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Number of runs of each name that are kept in the store.
const KEPT_RUNS: usize = 5;

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
        if let Some(url) = self.remote.clone() {
            let remote = RemoteArgs::named(url).open(project)?;
            let own = self.own_runs(store, project, self.keep.unwrap_or(usize::MAX))?;
            let gc =
                RemoteGc { grace: self.grace, forget: self.forget, yes: self.yes && !self.dry_run, json: self.json };
            return gc.run(store, &*remote, own);
        }
        let own = self.own_runs(store, project, self.keep.unwrap_or(KEPT_RUNS))?;
        let policy = GcPolicy {
            keep: own.into_iter().flat_map(|own| own.keys).collect(),
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

    /// The keys that the last `keep` runs reference, of this project and of all that share its store.
    fn own_runs(&self, store: &Store, project: &Project, keep: usize) -> Result<Vec<OwnRuns>, Failure> {
        let own = RunFolder::all(&project.runs).context("Cannot read the folder of runs")?;
        if keep > 0 && own.is_empty() {
            let runs = project.runs.display();
            return Err(Failure::Call(format!(
                "There is no run in `{runs}`, so nothing would be kept; pass the folder of runs with `--runs`, or use `--keep 0`"
            )));
        }
        let keys = keys_of_last_runs(own, keep)?;
        let mut all = vec![OwnRuns { runs: project.runs.clone(), keys, is_this: true }];
        for root in store.roots()? {
            if project.runs.canonicalize().is_ok_and(|runs| runs == root) {
                continue;
            }
            if root.exists() {
                let runs =
                    RunFolder::all(&root).with_context(|| format!("Cannot read the runs in `{}`", root.display()))?;
                all.push(OwnRuns { keys: keys_of_last_runs(runs, keep)?, runs: root, is_this: false });
                continue;
            }
            eprintln!(
                "note: the folder of runs `{}` no longer exists, so what its runs reference is not kept",
                root.display()
            );
            if !self.dry_run && (self.remote.is_none() || self.yes) {
                store.remove_root(&root)?;
            }
        }
        Ok(all)
    }
}
