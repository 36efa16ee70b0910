//! The fingerprints that nodes had in earlier runs.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use dnc_cache::{Key, Store};

use crate::fingerprint::Fingerprint;
use crate::plan::Plan;
use crate::report::run_folder::RunFolder;

/// How many runs back the fingerprint of a node is looked for.
const RUNS: usize = 10;

/// The runs before a run, each read when it is first needed.
pub struct History<'p> {
    /// The last first.
    runs: Vec<RunFolder>,
    plan: &'p Plan,
    /// The project's root.
    root: &'p Path,
    /// The same runs, those whose manifest differs least from the plan's first.
    nearest: OnceLock<Vec<EarlierRun>>,
}

struct EarlierRun {
    folder: RunFolder,
    keys: OnceLock<HashMap<String, Key>>,
}

impl<'p> History<'p> {
    /// A history of these runs, the last first, for a run of `plan` in the project in `root`.
    pub(super) fn new(runs: impl IntoIterator<Item = RunFolder>, plan: &'p Plan, root: &'p Path) -> Self {
        Self { runs: runs.into_iter().take(RUNS).collect(), plan, root, nearest: OnceLock::new() }
    }

    /// The fingerprint of `node` in the earlier run whose manifest differs least from this one, among those that contain the
    /// node. Of equally near runs the last one counts.
    pub fn fingerprint(&self, store: &Store, node: &str) -> Option<Fingerprint> {
        let nearest = self.nearest.get_or_init(|| self.nearest());
        nearest.iter().find_map(|run| run.fingerprint(store, node))
    }

    /// All of the project's `runs` in the order in which they are asked what a node took: those of the plan's name, the nearest of the
    /// last ones first; then the others, the last of each name first.
    pub(super) fn by_nearness(&self, runs: Vec<RunFolder>) -> Vec<RunFolder> {
        let of_plan = |run: &RunFolder| run.name == self.plan.manifest.name;
        let (mut own, others): (Vec<_>, Vec<_>) = runs.into_iter().rev().partition(of_plan);
        let earlier = own.split_off(own.len().min(RUNS));
        let nearest = self.nearest.get_or_init(|| self.nearest()).iter().map(|run| run.folder.clone());
        nearest.chain(earlier).chain(others).collect()
    }

    fn nearest(&self) -> Vec<EarlierRun> {
        let mut runs = self.runs.clone();
        if runs.len() > 1 {
            let manifest = self.plan.manifest.to_toml_in(&runs[0].path, self.root);
            // A run that was killed has no manifest; it comes last.
            runs.sort_by_cached_key(|run| {
                let text = fs::read_to_string(run.path.join("manifest.toml"));
                text.map_or(usize::MAX, |text| differences(&text, &manifest))
            });
        }
        runs.into_iter().map(|folder| EarlierRun { folder, keys: OnceLock::new() }).collect()
    }
}

/// How many settings of two resolved manifests differ. A line holds one setting, which the table above it qualifies.
///
/// Manifests of thousands of nodes differ in a few tables; the others are only compared as a whole.
fn differences(one: &str, other: &str) -> usize {
    let tables = |manifest| str::split(manifest, "\n[").collect::<HashSet<&str>>();
    let (one, other) = (tables(one), tables(other));
    settings(one.difference(&other)).symmetric_difference(&settings(other.difference(&one))).count()
}

/// The lines of these tables, each with the first line of its table.
fn settings<'t>(tables: impl Iterator<Item = &'t &'t str>) -> HashSet<(&'t str, &'t str)> {
    tables.flat_map(|table| table.lines().map(|line| (table.lines().next().unwrap_or_default(), line))).collect()
}

impl EarlierRun {
    fn fingerprint(&self, store: &Store, node: &str) -> Option<Fingerprint> {
        let keys = self.keys.get_or_init(|| {
            let nodes = self.folder.read().map(|run| run.nodes).unwrap_or_default();
            nodes.into_iter().filter_map(|node| Some((node.node, node.key?))).collect()
        });
        let record = store.record(keys.get(node)?).ok()??;
        serde_json::from_value(record.fingerprint).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::differences;

    #[test]
    fn settings_that_differ_are_counted_with_their_tables() {
        let manifest = "seed = 0\n[a]\nk = 1\nl = 1\n[b]\nk = 1\nl = 2\n";
        for (other, expected) in [
            (manifest.to_owned(), 0),
            (manifest.replace("seed = 0", "seed = 1"), 2),
            (manifest.replace("l = 2", "l = 3"), 2),
            (manifest.replace("l = 1\n", ""), 1),
            // The same lines under another table's name: the table and both of its settings on either side.
            (manifest.replace("[b]", "[c]"), 6),
            (String::new(), 7),
        ] {
            assert_eq!(differences(manifest, &other), expected, "{other}");
            assert_eq!(differences(&other, manifest), expected, "{other}");
        }
    }
}
