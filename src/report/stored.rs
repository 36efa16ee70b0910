//! A run with its artifacts, which are in the store.

use std::path::{Path, PathBuf};

use dnc_cache::{Artifact, CacheError, Store};
use dnc_stages::api::{ArtifactKind, Columns, InputArtifact, InputFile};

use super::run_folder::{NodeJson, RunFolder, RunJson};
use crate::execute::Outcome;
use crate::execute::attempt::verified_files;
use crate::manifest::suggest;
use crate::shell::quoted;

/// A run with the store that holds its artifacts.
pub struct StoredRun {
    /// The run's folder.
    pub folder: RunFolder,
    /// Its `run.json`.
    pub json: RunJson,
    /// The store; an empty one if the run's store no longer exists.
    pub store: Store,
    /// The store's folder.
    root: PathBuf,
}

/// Why an artifact of a run cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// The run has no such node.
    #[error("Run `{run}` has no node `{node}`{hint}")]
    UnknownNode {
        /// The run.
        run: String,
        /// The node asked for.
        node: String,
        /// The nearest name or all names.
        hint: String,
    },
    /// The node has no such output.
    #[error("Node `{node}` of `{run}` has no output `{output}`; its outputs: {known}")]
    UnknownOutput {
        /// The run.
        run: String,
        /// The node.
        node: String,
        /// The output asked for.
        output: String,
        /// The outputs that it has.
        known: String,
    },
    /// The node did not finish.
    #[error("Node `{node}` of `{run}` has no outputs: it {state} in that run")]
    Unfinished {
        /// The run.
        run: String,
        /// The node.
        node: String,
        /// How it ended.
        state: &'static str,
    },
    /// The bytes are no longer in the store.
    #[error("The output `{output}` of `{node}` is no longer in the store `{store}`; `{again}` computes it again")]
    Dropped {
        /// The node.
        node: String,
        /// The output.
        output: String,
        /// The store.
        store: String,
        /// A command that restores it.
        again: String,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] CacheError),
}

impl StoredRun {
    /// Opens the run in `folder` with its store, or with the store at `store`.
    ///
    /// # Errors
    /// `run.json` or the store cannot be read.
    pub fn open(folder: RunFolder, store: Option<&Path>) -> anyhow::Result<Self> {
        let json = folder.read()?;
        let root = store.map_or_else(|| folder.store(&json), Path::to_owned);
        let store = Store::open_or_empty(&root)?;
        Ok(Self { folder, json, store, root })
    }

    /// The node called `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&self, name: &str) -> Result<&NodeJson, StoredError> {
        self.json.nodes.iter().find(|node| node.node == name).ok_or_else(|| {
            let names = || self.json.nodes.iter().map(|node| node.node.as_str());
            let hint = suggest::nearest(name, names()).map_or_else(
                || format!("; its nodes: {}", suggest::all_of(names())),
                |nearest| format!("; did you mean `{nearest}`?"),
            );
            StoredError::UnknownNode { run: self.folder.id(), node: name.to_owned(), hint }
        })
    }

    /// An output of a node. Its bytes may be gone from the store.
    ///
    /// # Errors
    /// The node did not finish, has no such output, or its record is gone.
    pub fn artifact(&self, node: &NodeJson, output: &str) -> Result<Artifact, StoredError> {
        let state = match node.outcome {
            Outcome::Hit | Outcome::Ran => None,
            Outcome::Failed => Some("failed"),
            Outcome::Skipped => Some("was skipped, because a node that it needs failed,"),
            Outcome::Cancelled => Some("was stopped"),
        };
        let (run, name) = (self.folder.id(), node.node.clone());
        if let Some(state) = state {
            return Err(StoredError::Unfinished { run, node: name, state });
        }
        if !node.outputs.contains_key(output) {
            let known = suggest::all_of(node.outputs.keys().map(String::as_str));
            return Err(StoredError::UnknownOutput { run, node: name, output: output.to_owned(), known });
        }
        let outputs = node.key.map(|key| self.store.outputs(&key)).transpose()?.flatten();
        outputs.and_then(|mut outputs| outputs.remove(output)).ok_or_else(|| self.dropped(node, output))
    }

    /// The verified files of an output.
    ///
    /// # Errors
    /// As [`StoredRun::artifact`], or its bytes are missing or damaged.
    pub fn files(&self, node: &NodeJson, output: &str) -> Result<Vec<InputFile>, StoredError> {
        let artifact = self.artifact(node, output)?;
        verified_files(&self.store, &artifact)?.map_err(|_| self.dropped(node, output))
    }

    /// An output, to be read as a table of this kind.
    ///
    /// # Errors
    /// As [`StoredRun::files`].
    pub fn open_output(&self, node: &NodeJson, output: &str, kind: ArtifactKind) -> Result<InputArtifact, StoredError> {
        let files = self.files(node, output)?;
        Ok(InputArtifact { node: node.node.clone(), kind, files, columns: Columns::All })
    }

    fn dropped(&self, node: &NodeJson, output: &str) -> StoredError {
        let store = self.root.display().to_string();
        let manifest = self.folder.path.join("manifest.toml").display().to_string();
        let again = format!("dnc-run {} --store {} --until {}", quoted(&manifest), quoted(&store), quoted(&node.node));
        StoredError::Dropped { node: node.node.clone(), output: output.to_owned(), store, again }
    }
}

/// The node whose model a run is for: the last one of stage `choose`, else `merge`, else `train`, else any other but `init`.
///
/// # Errors
/// A message: the run has no model, or a node that would have made a later one did not finish.
pub fn model_node(run: &RunJson) -> Result<&NodeJson, String> {
    let makes_models = |stage: &str| matches!(stage, "choose" | "merge" | "train");
    if let Some(node) = run.nodes.iter().find(|node| makes_models(&node.stage) && !is_done(node)) {
        return Err(format!("Run `{}` did not finish `{}`, so it has no final model", run.run, node.node));
    }
    let with_model = || run.nodes.iter().filter(|node| node.outputs.contains_key(MODEL));
    let last_of = |stage: &str| with_model().rfind(|node| node.stage == stage);
    let found = ["choose", "merge", "train"].into_iter().find_map(last_of);
    found
        .or_else(|| with_model().rfind(|node| node.stage != "init"))
        .ok_or_else(|| format!("Run `{}` trained no model", run.run))
}

/// Name of the output that holds a model.
pub const MODEL: &str = "model";

fn is_done(node: &NodeJson) -> bool {
    matches!(node.outcome, Outcome::Hit | Outcome::Ran)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_command_that_computes_an_output_again_can_be_copied() {
        let json = json!({
            "run": "a/1",
            "manifest": "a.toml",
            "store": "my store",
            "started": 0,
            "seconds": 1.0,
            "version": "0",
            "device": "cpu",
            "arithmetic": "cpu",
            "threads": 1,
            "jobs": 1,
            "overrides": [],
            "nodes": [{ "node": "train@2[3]", "stage": "train", "outcome": "ran" }],
        });
        let json: RunJson = serde_json::from_value(json).unwrap();
        let folder = RunFolder { path: "runs/a/1".into(), name: "a".to_owned(), number: 1 };
        let store = tempfile::tempdir().unwrap();
        let store = Store::open_or_empty(store.path()).unwrap();
        let run = StoredRun { folder, json, store, root: "my store".into() };
        assert_eq!(
            run.dropped(&run.json.nodes[0], "model").to_string(),
            "The output `model` of `train@2[3]` is no longer in the store `my store`; `dnc-run runs/a/1/manifest.toml --store \
             'my store' --until 'train@2[3]'` computes it again"
        );
    }
}
