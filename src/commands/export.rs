//! `dnc-run export RUN DIR`: a run's model for PyTorch.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use dnc_cache::{CacheError, Store};
use dnc_stages::pytorch;
use dnc_stages::tables::model::Model;

use super::place::Place;
use super::{Failure, Folders};
use crate::report::run_folder::{NodeJson, RunFolder, RunJson};

/// The output under which stages leave models.
const MODEL: &str = "model";

/// Arguments of `export`.
#[derive(Args)]
pub struct ExportArgs {
    /// The run: `<name>/<n>`, or `<name>` for its last
    #[arg(value_name = "RUN")]
    run: String,
    /// The folder that is written: weights as safetensors, what to do with images, a README
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The node whose model it is [default: the last one with a model that is not as it began]
    #[arg(long)]
    node: Option<String>,
    #[command(flatten)]
    folders: Folders,
}

impl ExportArgs {
    /// Writes the folder.
    pub(super) fn run(self) -> Result<(), Failure> {
        let place = Place::here(&self.folders)?;
        let run = RunFolder::find(&place.runs, &self.run).map_err(Failure::Call)?;
        let json = run.read()?;
        let node = chosen(&json, self.node.as_deref()).map_err(Failure::Call)?;

        let store = Store::open(self.folders.store.as_ref().unwrap_or(&json.store))?;
        let key = node.key.with_context(|| format!("The node `{}` of `{}` has no key", node.node, run.id()))?;
        let gone = || {
            let (root, manifest) = (store.root().display(), run.path.join("manifest.toml"));
            let again = format!("dnc-run {} --store {root} --until {}", manifest.display(), node.node);
            format!("The store `{root}` no longer holds the model of `{}`; `{again}` makes it again", node.node)
        };
        let record = store.record(&key)?.with_context(gone)?;
        let artifact = record.outputs.get(MODEL).with_context(gone)?;
        let files = tempfile::tempdir().context("Cannot make a temporary folder")?;
        match store.materialise(artifact, files.path()) {
            Err(error @ CacheError::Absent { .. }) => return Err(anyhow::Error::new(error).context(gone()).into()),
            other => other?,
        }
        let card = pytorch::export(&Model::read_files(files.path())?, &self.folder)?;
        eprintln!(
            "Wrote the model of `{}` in `{}` to `{}`: {}, {} coordinates",
            node.node,
            run.id(),
            self.folder.display(),
            card.backbone,
            card.dimension
        );
        Ok(())
    }
}

/// The node that was named, or the last with a model that is not as it began.
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
            Some(name) => format!("No node `{name}` of `{}` left a model; these did: {known}", run.run),
            None => format!("No node of `{}` left a model", run.run),
        }
    })
}
