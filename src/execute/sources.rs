//! The ingredients of all keys: hashes the files outside the store that the stages read.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dnc_cache::{CacheError, SourceRules, Store};
use dnc_stages::StageError;
use dnc_stages::api::{DeviceChoice, Devices, Source, cpu_arithmetic};

use super::event::{Event, Listener};
use super::task::{Ingredients, SourceFile};
use crate::plan::Plan;

/// How often progress is reported. What takes less is not reported at all.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// Why the sources could not be hashed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be read.
    #[error("Cannot hash `{param}` of the stage `{stage}`")]
    Hash {
        /// The parameter that names it.
        param: String,
        /// The stage.
        stage: String,
        /// What the system answered.
        source: CacheError,
    },
    /// The device cannot be opened.
    #[error(transparent)]
    Device(#[from] StageError),
    /// The user asked to stop.
    #[error("Interrupted")]
    Interrupted,
}

/// What the program itself reads and writes in a project, which is never data, even if it lies among the data.
pub struct OwnPaths {
    /// The manifest and its schema, and files that standard output and standard error go to.
    pub files: Vec<PathBuf>,
    /// The store, and the folders of runs of all projects that share it.
    pub folders: Vec<PathBuf>,
}

impl OwnPaths {
    /// What counts of a source.
    fn rules(&self, source: &Source) -> SourceRules {
        let mut excluded = self.folders.clone();
        // A program may well read its manifest.
        excluded.extend(self.files.iter().filter(|_| source.is_data).cloned());
        let extensions = source.extensions.iter().map(|&extension| extension.to_owned()).collect();
        SourceRules { excluded, is_data: source.is_data, extensions }
    }
}

/// What enters the keys of all nodes: the arithmetic of CPU and device, and the digests of all files outside the store.
///
/// # Errors
/// The device cannot be opened, a file cannot be read, or `stop` was set meanwhile.
pub fn ingredients(
    plan: &Plan,
    (store, own): (&Store, &OwnPaths),
    (devices, device): (&Devices, DeviceChoice),
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Ingredients, SourceError> {
    let index = store.index();
    // First of all: a run on a device that is not there must not start.
    let device_arithmetic = devices.arithmetic(device)?;
    let last_report = Mutex::new(Instant::now());
    // Thousands of stages may run the same program: it is located and hashed once.
    let mut hashed: HashMap<Source, SourceFile> = HashMap::new();
    let mut sources = Vec::with_capacity(plan.manifest.stages.len());
    for stage in &plan.manifest.stages {
        let mut files = Vec::new();
        for source in stage.job.sources() {
            let key = Source { param: String::new(), ..source.clone() };
            let found = match hashed.get(&key) {
                Some(found) => found,
                None => {
                    let path = absolute(&source, &plan.manifest.folder);
                    let rules = if path.is_dir() { own.rules(&source) } else { SourceRules::default() };
                    let found = index.digest_path_with_progress(&path, &rules, &|done, total| {
                        if is_due(&last_report) {
                            let (stage, param) = (stage.name.clone(), source.param.clone());
                            listener.event(&Event::SourceProgress { stage, param, done, total });
                        }
                        if stop.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
                    });
                    let found = found.map_err(|error| match stop.load(Ordering::Relaxed) {
                        true => SourceError::Interrupted,
                        false => {
                            SourceError::Hash { param: source.param.clone(), stage: stage.name.clone(), source: error }
                        }
                    })?;
                    let (on_path, digest) = (source.is_on_path(), found.digest);
                    let found = SourceFile { param: String::new(), path, digest, on_path, rules };
                    hashed.entry(key).or_insert(found)
                }
            };
            files.push(SourceFile { param: source.param, ..found.clone() });
        }
        sources.push(files);
    }
    Ok(Ingredients { cpu_arithmetic: cpu_arithmetic(), device_arithmetic, sources })
}

/// Whether it is time to report again. A thread that finds another one reporting does not.
pub(super) fn is_due(last_report: &Mutex<Instant>) -> bool {
    let Ok(mut last_report) = last_report.try_lock() else { return false };
    let is_due = last_report.elapsed() > REPORT_EVERY;
    if is_due {
        *last_report = Instant::now();
    }
    is_due
}

fn absolute(source: &Source, folder: &Path) -> PathBuf {
    // A program that is not on the PATH fails to open under the name that was written.
    let path = source.find(folder).unwrap_or_else(|| source.path.clone());
    std::path::absolute(&path).unwrap_or(path)
}
