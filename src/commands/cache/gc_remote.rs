//! `dnc-run cache gc --remote`: removes from a remote what no project needs.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use dnc_cache::{Key, Remote, RemoteGcPolicy, RemoteGcReport, RemoteRoot, Store, check_readable};
use serde::Serialize;

use super::transfer::with_progress_bar;
use crate::commands::failure::Failure;
use crate::commands::output::write_json;
use crate::commands::units::{format_age, format_bytes};
use crate::report::kept_keys::project_name;
use crate::report::run_folder;

/// A folder of runs on this machine.
pub(super) struct OwnRuns {
    pub(super) runs: PathBuf,
    /// The keys that its kept runs reference.
    pub(super) keys: HashSet<Key>,
    /// Whether it is that of the project of this call.
    pub(super) is_this: bool,
}

/// What to remove from a remote.
pub(super) struct RemoteGc {
    pub(super) grace: Duration,
    pub(super) forget: Option<Duration>,
    /// Whether anything is removed.
    pub(super) yes: bool,
    pub(super) json: bool,
}

/// What `cache gc --remote --json` prints.
#[derive(Serialize)]
struct RemoteGcJson {
    /// The remote.
    remote: String,
    /// Whether nothing was removed, because of `--dry-run` or for lack of `--yes`.
    dry_run: bool,
    /// The projects whose runs are kept.
    projects: Vec<ProjectJson>,
    /// Number of records that were removed, or would be.
    records: u64,
    /// Number of blobs, beside those in packs.
    blobs: u64,
    /// Bytes that this frees.
    bytes: u64,
    /// Number of packs that were removed.
    packs: u64,
    /// Number of packs that were replaced by smaller or by common ones.
    rewritten_packs: u64,
    /// Number of records that are kept.
    kept_records: u64,
    /// Number of those that no project needs and that are kept because they are young.
    young_records: u64,
}

/// A project that pushes to the remote, or shares this store.
#[derive(Serialize)]
struct ProjectJson {
    /// Machine and folder of runs.
    project: String,
    /// Number of keys that its runs reference.
    keys: usize,
    /// Seconds since the project last said so; 0 for those that share this store.
    age: u64,
}

impl RemoteGc {
    /// Collects garbage and prints a summary.
    pub(super) fn run(self, store: &Store, remote: &dyn Remote, own: Vec<OwnRuns>) -> Result<(), Failure> {
        check_readable(remote)?;
        let roots = store.remote_roots(remote)?;
        let (projects, keep) = self.needed(store, remote, roots, own)?;
        let policy = RemoteGcPolicy { keep, grace: self.grace, dry_run: !self.yes };
        let report = with_progress_bar("{bar:30} {pos} of {len} objects", |progress| {
            store.remote_gc(&policy, remote, progress)
        })?;
        self.print(remote, projects, &report)
    }

    /// The keys that any project needs. What the projects of this store need is written into the remote, and projects that are to be
    /// forgotten are removed from it.
    fn needed(
        &self,
        store: &Store,
        remote: &dyn Remote,
        roots: Vec<RemoteRoot>,
        own: Vec<OwnRuns>,
    ) -> Result<(Vec<ProjectJson>, HashSet<Key>), Failure> {
        let (mut projects, mut keep, mut names) = (Vec::new(), HashSet::new(), HashSet::new());
        for OwnRuns { runs, keys, is_this } in own {
            let project = project_name(&runs);
            if self.yes && (is_this || roots.iter().any(|root| root.project == project)) {
                store.set_remote_root(&project, &keys, remote)?;
            }
            names.insert(project.clone());
            projects.push(ProjectJson { project, keys: keys.len(), age: 0 });
            keep.extend(keys);
        }
        let now = run_folder::now();
        for root in roots.into_iter().filter(|root| !names.contains(&root.project)) {
            // Both in whole seconds, so that no part of one is missing in the age.
            let modified = root.modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let age = Duration::from_secs(now.saturating_sub(modified));
            if self.forget.is_some_and(|oldest| age > oldest) {
                let verb = if self.yes { "forgot" } else { "would forget" };
                eprintln!("{verb} `{}`, which last pushed {}", root.project, format_age(age));
                if self.yes {
                    remote.remove(&[root.object])?;
                }
                continue;
            }
            projects.push(ProjectJson { project: root.project, keys: root.keys.len(), age: age.as_secs() });
            keep.extend(root.keys);
        }
        Ok((projects, keep))
    }

    fn print(&self, remote: &dyn Remote, projects: Vec<ProjectJson>, report: &RemoteGcReport) -> Result<(), Failure> {
        let &RemoteGcReport { records, blobs, bytes, packs, rewritten_packs, kept_records, young_records } = report;
        if self.json {
            return Ok(write_json(&RemoteGcJson {
                remote: remote.url().to_owned(),
                dry_run: !self.yes,
                projects,
                records,
                blobs,
                bytes,
                packs,
                rewritten_packs,
                kept_records,
                young_records,
            })?);
        }
        for ProjectJson { project, keys, age } in &projects {
            let when = match age {
                0 => String::new(),
                age => format!(", last updated {}", format_age(Duration::from_secs(*age))),
            };
            print_line!("kept for `{project}`: {keys} keys{when}");
        }
        eprintln!(
            "{} {records} records, {blobs} blobs and {packs} packs ({}) from `{}`, and {} {rewritten_packs} packs; kept {kept_records} records, \
             {young_records} of them only because they are younger than {}",
            if self.yes { "removed" } else { "would remove" },
            format_bytes(bytes),
            remote.url(),
            if self.yes { "rewrote" } else { "would rewrite" },
            format_age(self.grace).trim_end_matches(" ago")
        );
        if !self.yes {
            eprintln!(
                "note: nothing was removed; a project that is not listed has never pushed with this version, and what only it needs \
                 would be removed; add `--yes` to remove"
            );
        }
        Ok(())
    }
}
