//! The fingerprints that nodes had in earlier runs.

use std::collections::HashMap;
use std::sync::OnceLock;

use dnc_cache::{Key, Store};

use crate::fingerprint::Fingerprint;
use crate::report::run_folder::RunFolder;

/// How many runs back the last fingerprint of a node is looked for.
const RUNS: usize = 10;

/// The runs before a run, each read when it is first needed.
pub struct History(Vec<EarlierRun>);

struct EarlierRun {
    folder: RunFolder,
    keys: OnceLock<HashMap<String, Key>>,
}

impl History {
    /// A history of these runs, the last first.
    pub(super) fn new(runs: impl IntoIterator<Item = RunFolder>) -> Self {
        let earlier = |folder| EarlierRun { folder, keys: OnceLock::new() };
        Self(runs.into_iter().take(RUNS).map(earlier).collect())
    }

    /// The fingerprint of `node` in the last run that contains it.
    pub fn fingerprint(&self, store: &Store, node: &str) -> Option<Fingerprint> {
        self.0.iter().find_map(|run| run.fingerprint(store, node))
    }
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
