//! What `cache push` and `cache pull` share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use dnc_cache::{CacheError, Key, Remote, Store, TransferReport, open_remote};
use indicatif::ProgressBar;

use crate::commands::failure::Failure;
use crate::commands::units::format_bytes;
use crate::execute::Outcome;
use crate::project::Project;
use crate::report::run_folder::RunFolder;
use crate::report::sinks::bar;
use crate::session::ProjectRemote;

/// The name that stands for everything, like an empty list of runs.
const ALL: &str = "all";

/// Arguments for the remote.
#[derive(Args)]
pub(super) struct RemoteArgs {
    /// Remote: a folder, or a URL with `file://`, `s3://` or `https://` [default: `url` in dnc.toml]
    #[arg(long, env = "DNC_REMOTE", value_name = "URL")]
    remote: Option<String>,
}

impl RemoteArgs {
    /// The remote at `url`, else the one that `DNC_REMOTE` or `dnc.toml` names.
    pub(super) fn named(url: Option<String>) -> Self {
        Self { remote: url.or_else(|| std::env::var("DNC_REMOTE").ok()) }
    }

    /// Opens the remote, which must not be a part of the store: `cache gc` would remove it.
    pub(super) fn open(&self, project: &Project) -> Result<Box<dyn Remote>, Failure> {
        let Some(place) = ProjectRemote::of(project, self.remote.as_deref())?.place else {
            return Err(Failure::Call(
                "No remote is named; add `--remote <URL>`, set `DNC_REMOTE`, or write `url` under `[remote]` in `dnc.toml`".into(),
            ));
        };
        let folder = PathBuf::from(place.url.strip_prefix("file://").unwrap_or(&place.url));
        let is_inside =
            |store: PathBuf| folder.ancestors().any(|above| above.canonicalize().is_ok_and(|above| above == store));
        if project.store.canonicalize().is_ok_and(is_inside) {
            let (remote, store) = (&place.url, project.store.display());
            return Err(Failure::Call(format!(
                "The remote `{remote}` is in the store `{store}`; name a folder outside of it"
            )));
        }
        open_remote(&place.url, &place.options).map_err(|error| match error {
            CacheError::UnsupportedScheme { .. } | CacheError::InvalidRemote { .. } => Failure::Call(error.to_string()),
            error => error.into(),
        })
    }
}

/// The keys of all nodes that succeeded in these runs, and for each the name of one such node. If no run is named, or `all`, the keys
/// of `everything`, without names.
pub(super) fn keys_of_runs(
    project: &Project,
    runs: &[String],
    everything: impl FnOnce() -> Result<Vec<Key>, CacheError>,
) -> Result<(Vec<Key>, BTreeMap<Key, String>), Failure> {
    let mut names = BTreeMap::new();
    if runs.is_empty() || runs.iter().any(|run| run == ALL) {
        return Ok((everything()?, names));
    }
    for text in runs {
        for run in RunFolder::find_all(&project.runs, text).map_err(Failure::Call)? {
            let nodes = run.read()?.nodes.into_iter();
            let succeeded = nodes.filter(|node| matches!(node.outcome, Outcome::Hit | Outcome::Ran));
            names.extend(succeeded.filter_map(|node| Some((node.key?, node.node))));
        }
    }
    Ok((names.keys().copied().collect(), names))
}

/// The keys of all records in the store.
pub(super) fn keys_of_store(store: &Store) -> Result<Vec<Key>, CacheError> {
    Ok(store.ls()?.records.into_iter().map(|entry| entry.record.key).collect())
}

/// Template of a bar that counts bytes.
pub(super) const BYTES: &str = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}";

/// Calls `transfer` with a progress callback that draws a bar on standard error.
pub(super) fn with_progress_bar<T>(template: &str, transfer: impl FnOnce(&(dyn Fn(u64, u64) + Sync)) -> T) -> T {
    let bar = ProgressBar::new(0).with_style(bar::style(template));
    let result = transfer(&|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    result
}

/// Prints what was transferred, and what could not be. Fails if anything could not be.
pub(super) fn print_report(
    verb: &str,
    report: &TransferReport,
    remote: &dyn Remote,
    names: &BTreeMap<Key, String>,
) -> Result<(), Failure> {
    for problem in &report.problems {
        let key = problem.key.short();
        match names.get(&problem.key) {
            Some(node) => print_line!("`{node}` (key {key}): {}", problem.failure),
            None => print_line!("key {key}: {}", problem.failure),
        }
    }
    let direction = if verb == "pushed" { "to" } else { "from" };
    eprintln!(
        "{verb} {} records and {} blobs ({}) {direction} `{}`; {} records were there already",
        report.records,
        report.blobs,
        format_bytes(report.bytes),
        remote.url(),
        report.unchanged_records
    );
    if report.problems.is_empty() {
        return Ok(());
    }
    eprintln!("{} records could not be {verb}", report.problems.len());
    Err(Failure::Node)
}

/// Prints how to repair damaged objects of a remote.
pub(super) fn print_damaged(report: &TransferReport, remote: &dyn Remote) {
    for object in &report.damaged {
        eprintln!("note: `{object}` in `{}` is damaged; delete it there and push it again", remote.url());
    }
}

/// Says what a remote without conditional puts means.
pub(super) fn print_no_conditional_puts() {
    eprintln!(
        "note: the server ignores conditional puts, so of two machines that push different results of the same node at the same \
         moment, the later may replace the earlier"
    );
}
