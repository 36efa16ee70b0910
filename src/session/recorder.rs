//! Writes the folder of a run: `run.json` from the start and every few seconds, manifest and tables at the end.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dnc_cache::Store;

use super::error::SessionError;
use super::run_options::RunOptions;
use crate::execute::NodeResult;
use crate::execute::task::Ingredients;
use crate::manifest::Override;
use crate::plan::Plan;
use crate::report::metrics;
use crate::report::run_folder::{NodeJson, RunFolder, RunJson, now};
use crate::sync::lock;

/// How often at most `run.json` is written while nodes finish.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// Where a run comes from.
pub(super) struct Origin<'run> {
    /// The project's root.
    pub root: &'run Path,
    /// Absolute path of the manifest.
    pub manifest: PathBuf,
    /// Absolute path of the store.
    pub store: PathBuf,
    /// What was set in addition.
    pub overrides: &'run [Override],
}

/// Writes the folder of a run.
pub(super) struct Recorder<'run> {
    folder: &'run RunFolder,
    root: &'run Path,
    plan: &'run Plan,
    /// For each node, whether the run includes it.
    included: Vec<bool>,
    /// `run.json` without its nodes.
    header: RunJson,
    begun: Instant,
    /// When `run.json` was last written, and how many nodes had finished then.
    written: Mutex<(Instant, usize)>,
}

impl<'run> Recorder<'run> {
    /// Writes a first `run.json` of the run that has `begun`, so that a run that is killed is known to later runs and to `cache gc`.
    pub(super) fn start(
        folder: &'run RunFolder,
        plan: &'run Plan,
        options: &RunOptions,
        ingredients: &Ingredients,
        origin: Origin<'run>,
        begun: Instant,
    ) -> Result<Self, SessionError> {
        let Origin { root, manifest, store, overrides } = origin;
        let recorder = Self {
            folder,
            root,
            plan,
            included: plan.above(&options.options.targets),
            header: RunJson {
                run: folder.id(),
                unfinished: true,
                manifest,
                store,
                started: now(),
                seconds: 0.0,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                device: options.options.device.to_string(),
                arithmetic: ingredients.device_arithmetic.clone(),
                threads: options.limits.threads,
                jobs: options.limits.jobs,
                overrides: overrides.iter().map(ToString::to_string).collect(),
                nodes: Vec::new(),
            },
            begun,
            written: Mutex::new((Instant::now(), 0)),
        };
        folder.write(&recorder.header).map_err(recorder.cannot_write())?;
        Ok(recorder)
    }

    /// Number of nodes that the run includes.
    pub(super) fn nodes(&self) -> usize {
        self.included.iter().filter(|&&included| included).count()
    }

    /// The results of the nodes that the run includes.
    pub(super) fn included<'a>(&'a self, results: &'a [NodeResult]) -> impl Iterator<Item = &'a NodeResult> {
        results.iter().zip(&self.included).filter_map(|(result, &included)| included.then_some(result))
    }

    /// Time since the run started.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Writes `run.json` if nodes have finished and it was not written lately.
    pub(super) fn checkpoint(&self, results: &[NodeResult]) {
        let mut written = lock(&self.written);
        if written.0.elapsed() <= WRITE_EVERY {
            return;
        }
        let finished = results.iter().filter(|result| !result.outputs.is_empty() || result.error.is_some()).count();
        if written.1 != finished {
            *written = (Instant::now(), finished);
            // The end of the run writes it again and reports why it cannot.
            let _ = self.folder.write(&self.json(results, true));
        }
    }

    /// Writes everything that the run leaves.
    pub(super) fn finish(&self, results: &[NodeResult], store: &Store) -> Result<(), SessionError> {
        let write_manifest = || {
            let text = self.plan.manifest.to_toml_in(&self.folder.path, self.root);
            self.folder.replace("manifest.toml", |mut file| file.write_all(text.as_bytes()))
        };
        let write_rest = || {
            let tables = metrics::write(self.folder, self.plan, results, store);
            (self.folder.write(&self.json(results, false)), tables)
        };
        let (manifest, (json, tables)) = rayon::join(write_manifest, write_rest);
        manifest.and(json).map_err(self.cannot_write())?;
        tables.map_err(self.cannot_write())
    }

    fn json(&self, results: &[NodeResult], unfinished: bool) -> RunJson {
        RunJson {
            unfinished,
            seconds: self.begun.elapsed().as_secs_f64(),
            nodes: NodeJson::all(self.plan, results, self.begun, |node| self.included[node]),
            ..self.header.clone()
        }
    }

    fn cannot_write<E: Into<Box<dyn std::error::Error + Send + Sync>>>(&self) -> impl FnOnce(E) -> SessionError {
        SessionError::cannot(format!("Cannot write the run folder `{}`", self.folder.path.display()))
    }
}
