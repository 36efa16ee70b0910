//! `dnc-run export RUN DIR`: writes the model of a run for use in PyTorch.

use std::path::PathBuf;

use clap::Args;
use dnc_stages::api::ArtifactKind;
use dnc_stages::pytorch::{self, Card};
use dnc_stages::tables::model::Model;
use serde::Serialize;

use super::failure::Failure;
use super::output::write_json;
use crate::project::{Folders, Project};
use crate::report::run_folder::RunFolder;
use crate::report::stored::{MODEL, StoredRun, model_node};
use crate::report::{metrics, result};

/// Arguments of `dnc-run export`.
#[derive(Args)]
pub struct ExportArgs {
    /// Run whose model is exported: `<name>/<n>`, or `<name>` for its last run
    #[arg(value_name = "RUN")]
    run: String,
    /// Folder to write: weights as safetensors, the preprocessing of images, and a README
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Node whose model is exported [default: the last `choose`, else `merge`, else `train`]
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
        let folder = RunFolder::find(&project.runs, &self.run).map_err(Failure::Call)?;
        let run = StoredRun::open(folder, self.folders.store.as_deref())?;
        let node = match &self.node {
            Some(name) => run.node(name),
            None => Ok(model_node(&run.json).map_err(|message| Failure::Call(self.with_advice(&project, message)))?),
        };
        let node = node.map_err(|error| Failure::Call(error.to_string()))?;
        let model = run.open_output(node, MODEL, ArtifactKind::Model)?;
        let card = pytorch::export(&Model::open(&model)?, &self.folder)?;
        if self.json {
            let (node, path) = (node.node.clone(), self.folder);
            return Ok(write_json(&ExportJson { run: run.folder.id(), node, path, model: card })?);
        }
        eprintln!(
            "Wrote the model of `{}` in `{}` to `{}`: {}, {} dimensions",
            node.node,
            run.folder.id(),
            self.folder.display(),
            card.backbone,
            card.dimension
        );
        let stage_of = |name: &str| run.node(name).ok().map(|node| node.stage.as_str());
        if let Some(sentence) = result::sentence(stage_of, &metrics::read(&run.folder.path)?) {
            eprintln!("{sentence}");
        }
        Ok(())
    }

    /// What can be exported instead of a run without a final model.
    fn with_advice(&self, project: &Project, message: String) -> String {
        let name = self.run.split('/').next().unwrap_or(&self.run);
        let runs = RunFolder::all(&project.runs).unwrap_or_default();
        let mut of_name = runs.iter().rev().filter(|run| run.name == name);
        let finished = of_name.find(|run| run.read().is_ok_and(|json| model_node(&json).is_ok()));
        match finished {
            Some(run) => {
                format!("{message}; export the last run that finished, `{}`, or name a node with --node", run.id())
            }
            None => format!("{message}; name a node that finished with --node, or run the manifest again"),
        }
    }
}
