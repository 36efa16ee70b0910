//! `dnc-run export RUN DIR`: writes the model or the embeddings of a run for other tools.

use std::path::{Path, PathBuf};

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use dnc_stages::pytorch::Card;
use serde::Serialize;

use super::failure::Failure;
use super::names;
use super::output::{check_folder, write_json};
use crate::export::{ExportError, Format, Subject, Target, Written};
use crate::manifest::StageNode;
use crate::project::{Folders, Project};
use crate::report::run_folder::RunFolder;
use crate::report::stored::{StoredError, model_node};
use crate::report::{metrics, result};

/// Arguments of `dnc-run export`.
#[derive(Args)]
pub struct ExportArgs {
    /// Run: `<name>/<n>`, or `<name>` for its last run
    #[arg(value_name = "RUN", add = ArgValueCompleter::new(names::runs))]
    run: String,
    /// Folder to write
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Format
    #[arg(long, value_name = "FORMAT", default_value = "safetensors")]
    format: Format,
    /// Node whose model or embeddings are exported [default: the model of the last `choose`, else `merge`, else `train`; the embeddings of the chosen round]
    #[arg(long)]
    node: Option<String>,
    /// ONNX: take preprocessed images, and leave the embeddings as they are
    #[arg(long)]
    raw: bool,
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
    /// The node whose model it is, if a model was exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// Name of the format.
    format: String,
    /// The folder that was written.
    path: PathBuf,
    /// What `model.json` in it contains, if a model was exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Card>,
}

impl ExportArgs {
    /// Writes the folder.
    pub(super) fn run(self) -> Result<(), Failure> {
        check_folder(&self.folder)?;
        if self.raw && self.format != Format::Onnx {
            return Err(Failure::Call(
                "`--raw` is for `--format onnx`; other formats have no preprocessing to leave out".into(),
            ));
        }
        let project = Project::current(&self.folders)?;
        let folder = RunFolder::find(&project.runs, &self.run).map_err(Failure::Call)?;
        let target = Target { node: self.node.clone(), raw: self.raw };
        let subject = Subject::open(folder, self.folders.store.as_deref(), target)?;
        if let Some(data) = data_around(&subject, &self.folder) {
            return Err(Failure::Call(format!(
                "`{}` lies in `{}`, where the run's images are, so that the next run would take what is exported for data; name a folder \
                 elsewhere",
                self.folder.display(),
                data.display()
            )));
        }
        let written = self.format.write(&subject, &self.folder).map_err(|error| match error {
            ExportError::Lacking(message) => Failure::Call(self.with_advice(&project, message)),
            error @ ExportError::Stored(StoredError::UnknownNode { .. }) => Failure::Call(error.to_string()),
            error => error.into(),
        })?;
        let folder = &subject.evidence.folder;
        if self.json {
            let node = match &written.card {
                Some(_) => Some(subject.model_node().map_err(anyhow::Error::from)?.node.clone()),
                None => None,
            };
            let (run, format, path) = (folder.id(), self.format.name(), self.folder);
            return Ok(write_json(&ExportJson { run, node, format, path, model: written.card })?);
        }
        let Written { what, details, .. } = written;
        eprintln!("Wrote {what} in `{}` to `{}`: {details}", folder.id(), self.folder.display());
        let stage_of = |name: &str| subject.node(name).ok().map(|node| node.stage.as_str());
        let ended = subject.evidence.json.nodes.iter().map(|node| (node.stage.as_str(), node.outcome));
        if let Some(sentence) = result::sentence(stage_of, ended, &metrics::read(&folder.path)?) {
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

/// The folder that contains `folder` and whose folders of pictures are the run's classes, if there is one.
fn data_around(subject: &Subject, folder: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(folder).ok()?;
    // Of the folder itself, which need not exist, what exists decides.
    let existing = absolute.ancestors().find_map(|above| above.canonicalize().ok())?;
    let manifest = &subject.evidence.plan.as_ref()?.manifest;
    let of_folders = |stage: &&StageNode| stage.params.pointer("/dataset/kind").is_some_and(|kind| kind == "folder");
    let stages = manifest.stages.iter().filter(of_folders);
    let sources = stages.flat_map(|stage| stage.job.sources()).filter(|source| source.is_data);
    let mut roots = sources.filter_map(|source| source.find(&manifest.folder)?.canonicalize().ok());
    roots.find(|root| root.is_dir() && existing.starts_with(root))
}
