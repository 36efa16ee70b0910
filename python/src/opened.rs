//! A run that has ended, or that goes on in another process: its folder, and what the store has of it.

use std::ffi::c_char;
use std::path::{Path, PathBuf};

use dnc_run::pages::evidence::Evidence;
use dnc_run::pages::{self, ReportOptions};
use dnc_run::project::{Folders, Project};
use dnc_run::report::result;
use dnc_run::report::run_folder::RunFolder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::boundary::{Problem, free, handle, json, parsed};

/// Which runs, and where they are.
#[derive(Deserialize)]
struct Request {
    /// The folder of a run, `<name>/<n>`, or `<name>`.
    run: Option<String>,
    store: Option<PathBuf>,
    runs: Option<PathBuf>,
}

impl Request {
    fn project(&self) -> Result<Project, Problem> {
        Ok(Project::current(&Folders { store: self.store.clone(), runs: self.runs.clone() })?)
    }
}

/// A run; [`dnc_free_run`] frees it.
pub struct Opened {
    pub(crate) evidence: Evidence,
    /// The store, if it is not the one that the run used.
    pub(crate) store: Option<PathBuf>,
}

/// The runs of the project that contains the current folder: a list of their folders.
///
/// # Safety
/// `request` is JSON that ends with a zero, and `error` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_runs(request: *const c_char, error: *mut *mut c_char) -> *mut c_char {
    // SAFETY: by the caller's promise.
    unsafe {
        json(error, || {
            let runs = parsed::<Request>(request)?.project()?.runs;
            Ok(RunFolder::all(&runs)?.into_iter().map(|run| run.path).collect::<Vec<_>>())
        })
    }
}

/// Opens a run.
///
/// # Safety
/// `request` is JSON that ends with a zero, and `error` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_open(request: *const c_char, error: *mut *mut c_char) -> *mut Opened {
    // SAFETY: by the caller's promise.
    unsafe {
        handle(error, || {
            let request: Request = parsed(request)?;
            let text = request.run.as_deref().unwrap_or_default();
            let folder = match run_at(Path::new(text)) {
                Some(folder) => folder,
                None => RunFolder::find(&request.project()?.runs, text).map_err(Problem)?,
            };
            let evidence = Evidence::read(folder, request.store.as_deref())?;
            Ok(Opened { evidence, store: request.store })
        })
    }
}

/// What is known of a run besides its tables.
///
/// # Safety
/// `run` is a handle of this library, and `error` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_describe_run(run: *const Opened, error: *mut *mut c_char) -> *mut c_char {
    // SAFETY: by the caller's promise.
    unsafe { json(error, || Ok(Described::new(&(*run).evidence))) }
}

/// Writes the report of a run and returns its path.
///
/// # Safety
/// `run` is a handle of this library, and `error` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_report(run: *const Opened, error: *mut *mut c_char) -> *mut c_char {
    // SAFETY: by the caller's promise.
    unsafe {
        json(error, || {
            let run = &*run;
            let options = ReportOptions { store: run.store.clone(), ..ReportOptions::default() };
            Ok(pages::write(std::slice::from_ref(&run.evidence.folder), &options)?.path)
        })
    }
}

/// Frees a run.
///
/// # Safety
/// `run` is null or a handle of this library that is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_free_run(run: *mut Opened) {
    // SAFETY: by the caller's promise.
    unsafe { free(run) };
}

/// The run in this folder, if it is that of a run.
fn run_at(path: &Path) -> Option<RunFolder> {
    if !path.join("run.json").is_file() {
        return None;
    }
    let path = std::path::absolute(path).ok()?;
    let name = path.parent()?.file_name()?.to_str()?.to_owned();
    let number = path.file_name()?.to_str()?.parse().ok()?;
    Some(RunFolder { path, name, number })
}

#[derive(Serialize)]
struct Described<'a> {
    id: String,
    name: &'a str,
    number: u32,
    path: &'a Path,
    seed: i64,
    /// The resolved manifest.
    manifest: &'a str,
    /// The evaluation of the chosen round.
    chosen: Option<Value>,
    /// The result in a sentence.
    result: Option<String>,
    /// `run.json`.
    record: Value,
}

impl<'a> Described<'a> {
    fn new(evidence: &'a Evidence) -> Self {
        let Evidence { folder, json, manifest, seed, metrics, subject, .. } = evidence;
        let stage_of = |name: &str| evidence.node(name).map(|node| node.stage.as_str());
        let ended = json.nodes.iter().map(|node| (node.stage.as_str(), node.outcome));
        Self {
            id: folder.id(),
            name: &folder.name,
            number: folder.number,
            path: &folder.path,
            seed: *seed,
            manifest,
            chosen: subject.as_ref().map(|subject| {
                let chosen = subject.chosen();
                let (node, round, learners) = (&chosen.node, chosen.round, chosen.learners);
                json!({ "node": node, "round": round, "learners": learners, "split": subject.split })
            }),
            result: result::sentence(stage_of, ended, metrics),
            record: serde_json::to_value(json).unwrap_or_default(),
        }
    }
}
