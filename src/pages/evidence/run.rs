//! One run: its folder, and the artifacts that its nodes left in the store.

use std::fs;
use std::path::Path;

use dnc_cache::{Artifact, Store};
use dnc_stages::ArtifactKind;
use dnc_stages::api::{Columns, InputArtifact};

use super::subject::Subject;
use crate::execute::attempt::verified_files;
use crate::manifest::{Manifest, ReadOptions};
use crate::pages::error::PagesError;
use crate::plan::Plan;
use crate::report::metrics::{self, Metric};
use crate::report::queries::{self, Queries};
use crate::report::run_folder::{NodeJson, RunFolder, RunJson};

/// One run.
pub struct Evidence {
    /// Its folder.
    pub folder: RunFolder,
    /// Its `run.json`.
    pub json: RunJson,
    /// Its resolved manifest as text; empty if the run was killed before it was written.
    pub manifest: String,
    /// The plan of that manifest, unless this version of the program no longer reads it.
    pub plan: Option<Plan>,
    /// Its seed.
    pub seed: i64,
    /// Its metrics.
    pub metrics: Vec<Metric>,
    /// Its queries without neighbours, for tests over queries.
    pub queries: Queries,
    /// What the report is about; `None` if the run evaluated nothing.
    pub subject: Option<Subject>,
    /// The store, if it is still there.
    store: Option<Store>,
}

impl Evidence {
    /// The node whose evaluation is reported, that of the chosen round; `None` if nothing was evaluated.
    pub fn chosen_node(&self) -> Option<&str> {
        Some(&self.subject.as_ref()?.chosen().node)
    }

    /// Reads a run. `store` replaces the one that the run used.
    ///
    /// # Errors
    /// A file of the run cannot be read, or the store cannot be opened.
    pub fn read(folder: RunFolder, store: Option<&Path>) -> Result<Self, PagesError> {
        let json = folder.read().map_err(|source| PagesError::Read { path: folder.path.join("run.json"), source })?;
        let manifest = fs::read_to_string(folder.path.join("manifest.toml")).unwrap_or_default();
        let seed = toml::from_str::<toml::Table>(&manifest).ok().and_then(|table| table.get("seed")?.as_integer());
        let options = ReadOptions { check_sources: false, ..ReadOptions::default() };
        let plan = Manifest::parse("manifest.toml", manifest.clone(), folder.path.clone(), options).ok().map(Plan::new);
        // It may be saved from the report to any folder.
        let manifest = plan.as_ref().map_or(manifest, |plan| plan.manifest.to_toml_for_any_folder());
        let metrics = metrics::read(&folder.path)?;
        let queries = queries::read(&folder.path)?;
        let subject = Subject::find(&json, plan.as_ref(), &metrics);
        let root = store.map_or_else(|| folder.store(&json), Path::to_owned);
        // Opening creates a store, which a report must not do.
        let store = if root.join("format").exists() { Some(Store::open(&root)?) } else { None };
        Ok(Self { folder, json, manifest, plan, seed: seed.unwrap_or_default(), metrics, queries, subject, store })
    }

    /// The store, if it is still there.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// The entry of a node.
    pub fn node(&self, name: &str) -> Option<&NodeJson> {
        self.json.nodes.iter().find(|node| node.node == name)
    }

    /// The value of a metric.
    pub fn value(&self, node: &str, split: &str, metric: &str, k: Option<i32>) -> Option<f64> {
        let found = self.metrics.iter().find(|row| {
            (row.node.as_str(), row.split.as_str(), row.metric.as_str(), row.k) == (node, split, metric, k)
        });
        found.map(|row| row.value)
    }

    /// An output of a node, if its record is still in the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn artifact(&self, node: &str, output: &str) -> Result<Option<Artifact>, PagesError> {
        let key = self.node(node).and_then(|node| node.key);
        let Some((store, key)) = self.store.as_ref().zip(key) else { return Ok(None) };
        Ok(store.outputs(&key)?.and_then(|mut outputs| outputs.remove(output)))
    }

    /// An output of a node, opened for reading, if all of its files that are `needed` are still in the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(
        &self,
        node: &str,
        output: &str,
        kind: ArtifactKind,
        columns: Columns,
        needed: impl Fn(&str) -> bool,
    ) -> Result<Option<InputArtifact>, PagesError> {
        let Some((store, artifact)) = self.store.as_ref().zip(self.artifact(node, output)?) else { return Ok(None) };
        let files = artifact.files().iter().filter(|file| needed(&file.path)).cloned().collect();
        let part = Artifact::new(files, artifact.facets().clone())?;
        let Ok(files) = verified_files(store, &part)? else { return Ok(None) };
        Ok(Some(InputArtifact { node: node.to_owned(), kind, files, columns }))
    }

    /// The node and output that feed a port of `node`, by the plan.
    pub fn feed(&self, node: &str, port: &str) -> Option<(String, String)> {
        let plan = self.plan.as_ref()?;
        let node = plan.nodes.iter().find(|known| known.name == node)?;
        let feed = node.inputs.iter().find(|wire| wire.port == port)?.feeds.first()?;
        Some((plan.nodes[feed.node].name.clone(), feed.output.clone()))
    }

    /// The node and output with the images that the report is about.
    pub fn images(&self) -> Option<(String, String)> {
        let of_subject = self.subject.as_ref().and_then(|subject| self.feed(&subject.chosen().node, "images"));
        let first = || self.json.nodes.iter().find(|node| node.outputs.contains_key("images"));
        of_subject.or_else(|| Some((first()?.node.clone(), "images".to_owned())))
    }
}
