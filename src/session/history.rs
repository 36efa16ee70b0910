//! The fingerprints that nodes had in earlier runs.

use std::collections::{BTreeSet, HashMap};
use std::fs;
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
    /// The same runs, those whose manifest differs least from the plan's first.
    nearest: OnceLock<Vec<EarlierRun>>,
}

struct EarlierRun {
    folder: RunFolder,
    keys: OnceLock<HashMap<String, Key>>,
}

impl<'p> History<'p> {
    /// A history of these runs, the last first, for a run of `plan`.
    pub(super) fn new(runs: impl IntoIterator<Item = RunFolder>, plan: &'p Plan) -> Self {
        Self { runs: runs.into_iter().take(RUNS).collect(), plan, nearest: OnceLock::new() }
    }

    /// The fingerprint of `node` in the earlier run whose manifest differs least from this one, among those that contain the
    /// node. Of equally near runs the last one counts.
    pub fn fingerprint(&self, store: &Store, node: &str) -> Option<Fingerprint> {
        let nearest = self.nearest.get_or_init(|| self.nearest());
        nearest.iter().find_map(|run| run.fingerprint(store, node))
    }

    fn nearest(&self) -> Vec<EarlierRun> {
        let mut runs = self.runs.clone();
        if runs.len() > 1 {
            let manifest = self.plan.manifest.to_toml_for_any_folder();
            let settings = settings(&manifest);
            // A run that was killed has no manifest; it comes last.
            runs.sort_by_cached_key(|run| {
                let text = fs::read_to_string(run.path.join("manifest.toml"));
                text.map_or(usize::MAX, |text| self::settings(&text).symmetric_difference(&settings).count())
            });
        }
        runs.into_iter().map(|folder| EarlierRun { folder, keys: OnceLock::new() }).collect()
    }
}

/// The lines of a resolved manifest, which has a setting on each, with the table that each is in.
fn settings(manifest: &str) -> BTreeSet<(&str, &str)> {
    let mut table = "";
    let mut settings = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            table = line;
        }
        settings.insert((table, line));
    }
    settings
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
