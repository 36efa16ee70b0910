//! What every command that reads a manifest takes: which one, with which overrides, on which device.

use std::path::PathBuf;

use clap::Args;
use dnc_stages::api::device::DeviceChoice;

use super::failure::Failure;
use crate::manifest::Override;
use crate::project::{Folders, Project};
use crate::report::reporter::Reporter;
use crate::report::sinks;
use crate::session::Session;

/// Which manifest, and how it is changed.
#[derive(Args, Clone, Debug, Default)]
pub struct ManifestArgs {
    /// Manifest [default: that of the last run]
    #[arg(value_name = "MANIFEST")]
    pub manifest: Option<PathBuf>,
    /// Override a key, as in `stage.train.loss.margin=0.1` (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Device for floating-point work: auto (the first GPU, else the CPU), cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// Folders of the project
    #[command(flatten)]
    pub folders: Folders,
}

impl ManifestArgs {
    /// The node that `command` was given behind the manifest. A single argument is the node; the manifest is that of the last run.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&mut self, node: Option<String>, command: &str) -> Result<String, Failure> {
        if let Some(node) = node {
            return Ok(node);
        }
        match self.manifest.take() {
            // Nodes have no dot in their names.
            Some(node) if node.extension().is_none() => Ok(node.display().to_string()),
            manifest => {
                let manifest =
                    manifest.map_or_else(|| "MANIFEST".to_owned(), |manifest| manifest.display().to_string());
                let message = format!("`{command}` needs a node, as in `dnc-run {command} {manifest} NODE`");
                Err(Failure::Call(message))
            }
        }
    }

    /// The session for the manifest that was named, or for that of the last run with its overrides, which is then announced.
    ///
    /// # Errors
    /// No manifest was named and there is no run yet, or an override is wrong.
    pub fn session(&self) -> Result<Session, Failure> {
        if let Some(manifest) = &self.manifest {
            let project = Project::containing(manifest, &self.folders)?;
            let session = Session::new(manifest.clone(), project, self.device);
            return Ok(session.with(overrides(&self.set)?));
        }
        let project = Project::current(&self.folders)?;
        let last = project.last_run().ok_or_else(|| {
            Failure::Call(format!(
                "There is no run in `{}` yet; name a manifest, such as `dnc-run init` writes for a folder of images",
                project.runs.display()
            ))
        })?;
        let mut set = last.overrides.clone();
        set.extend(self.set.iter().cloned());
        let options: String = set.iter().map(|one| format!(" --set {one}")).collect();
        let manifest = last.manifest_in(&project.root);
        eprintln!("Manifest of the last run, {}: {}{options}", last.run, manifest.display());
        Ok(Session::new(manifest, project, self.device).with(overrides(&set)?))
    }
}

/// A listener for commands that run nothing: shows the progress of hashing files outside the store.
pub fn hashing_progress() -> Reporter {
    Reporter::new(sinks::choose(None, false))
}

fn overrides(arguments: &[String]) -> Result<Vec<Override>, Failure> {
    let parsed = arguments.iter().map(|argument| Override::set(argument));
    parsed.collect::<Result<_, _>>().map_err(|problems| Failure::Manifest(Box::new(problems)))
}
