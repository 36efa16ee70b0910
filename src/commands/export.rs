//! `dnc-run export RUN DIR`: writes the model of a run for use in PyTorch.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use dnc_cache::{CacheError, Store};
use dnc_stages::pytorch::{self, Card};
use dnc_stages::tables::model::Model;
use serde::Serialize;

use super::failure::Failure;
use super::output::write_json;
use crate::project::{Folders, Project};
use crate::report::run_folder::{NodeJson, RunFolder, RunJson};

/// Name of the output that holds a model.
const MODEL: &str = "model";

/// Arguments of `dnc-run export`.
#[derive(Args)]
pub struct ExportArgs {
    /// Run whose model is exported: `<name>/<n>`, or `<name>` for its last run
    #[arg(value_name = "RUN")]
    run: String,
    /// Folder to write: weights as safetensors, the preprocessing of images, and a README
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Node whose model is exported [default: the last node with a trained model]
    #[arg(long)]
    node: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folders: Folders,
}

/// What `export --json` prints.
#[derive(Serialize)]
struct ExportJson {
    /// The run.
    run: String,
    /// The node whose model it is.
    node: String,
    /// The folder that was written.
    path: PathBuf,
    /// What `model.json` in it contains.
    model: Card,
}

impl ExportArgs {
    /// Writes the folder.
    pub(super) fn run(self) -> Result<(), Failure> {
        let project = Project::current(&self.folders)?;
        let run = RunFolder::find(&project.runs, &self.run).map_err(Failure::Call)?;
        let json = run.read()?;
        let node = chosen(&json, self.node.as_deref()).map_err(Failure::Call)?;

        let store = Store::open(self.folders.store.as_ref().unwrap_or(&json.store))?;
        let key = node.key.with_context(|| format!("The node `{}` of `{}` has no key", node.node, run.id()))?;
        let gone = || {
            let (root, manifest) = (store.root().display(), run.path.join("manifest.toml"));
            let again = format!("dnc-run {} --store {root} --until {}", manifest.display(), node.node);
            format!("The model of `{}` is no longer in the store `{root}`; `{again}` computes it again", node.node)
        };
        let record = store.record(&key)?.with_context(gone)?;
        let artifact = record.outputs.get(MODEL).with_context(gone)?;
        let files = tempfile::tempdir().context("Cannot create a temporary folder")?;
        match store.materialise(artifact, files.path()) {
            Err(error @ CacheError::Absent { .. }) => return Err(anyhow::Error::new(error).context(gone()).into()),
            other => other?,
        }
        let card = pytorch::export(&Model::read_files(files.path())?, &self.folder)?;
        if self.json {
            let (node, path) = (node.node.clone(), self.folder);
            return Ok(write_json(&ExportJson { run: run.id(), node, path, model: card })?);
        }
        eprintln!(
            "Wrote the model of `{}` in `{}` to `{}`: {}, {} dimensions",
            node.node,
            run.id(),
            self.folder.display(),
            card.backbone,
            card.dimension
        );
        Ok(())
    }
}

/// The node called `name`, or else the last node with a trained model.
fn chosen<'a>(run: &'a RunJson, name: Option<&str>) -> Result<&'a NodeJson, String> {
    let with_model: Vec<_> = run.nodes.iter().filter(|node| node.outputs.contains_key(MODEL)).collect();
    let found = match name {
        Some(name) => with_model.iter().find(|node| node.node == name),
        None => with_model.iter().rfind(|node| node.stage != "init").or(with_model.last()),
    };
    found.copied().ok_or_else(|| {
        let known: Vec<_> = with_model.iter().map(|node| format!("`{}`", node.node)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        match name {
            Some(name) => format!("`{}` has no node `{name}` with a model; nodes with a model: {known}", run.run),
            None => format!("`{}` has no node with a model", run.run),
        }
    })
}
