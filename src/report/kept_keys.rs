//! What the runs of a project reference, for garbage collection in its store and in a remote.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use dnc_cache::Key;

use super::run_folder::RunFolder;
use super::run_notes::Notes;
use crate::machine::host_name;

/// The keys that the last `keep` runs of each name and those with tags reference. Unfinished runs are kept in addition, and do
/// not count. A run without `run.json` has not started.
///
/// # Errors
/// A file of a run cannot be read: it might reference anything.
pub fn keys_of_last_runs(mut runs: Vec<RunFolder>, keep: usize) -> io::Result<HashSet<Key>> {
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
        let json = run.read()?;
        finished += usize::from(!json.unfinished);
        keys.extend(json.nodes.into_iter().filter_map(|node| node.key));
    }
    Ok(keys)
}

/// What a remote knows a project by: this machine and the project's folder of runs.
pub fn project_name(runs: &Path) -> String {
    let machine = host_name().unwrap_or_default();
    let folder = runs.canonicalize().unwrap_or_else(|_| runs.to_owned());
    format!("{machine}:{}", folder.display())
}
