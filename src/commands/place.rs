//! Where things lie: the project's root, its store, its runs, and the manifest of the last run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{Failure, Folders};
use crate::report::run_folder::{RunFolder, RunJson};

/// What marks the root of a project.
const MARKS: [&str; 2] = [".dnc", ".git"];

/// The folders of a project.
#[derive(Clone, Debug)]
pub struct Place {
    /// The store.
    pub store: PathBuf,
    /// The folder of runs.
    pub runs: PathBuf,
}

impl Place {
    /// The place of the project that `path` lies in.
    ///
    /// # Errors
    /// The current folder is not there.
    pub fn of(path: &Path, folders: &Folders) -> Result<Self, Failure> {
        let root = project_root(path)?;
        Ok(Self {
            store: folders.store.clone().unwrap_or_else(|| root.join(".dnc").join("store")),
            runs: folders.runs.clone().unwrap_or_else(|| root.join("runs")),
        })
    }

    /// The place of the project that the current folder lies in.
    ///
    /// # Errors
    /// The current folder is not there.
    pub fn here(folders: &Folders) -> Result<Self, Failure> {
        Self::of(Path::new("."), folders)
    }

    /// The run that was started last.
    pub fn last_run(&self) -> Option<RunJson> {
        let runs = RunFolder::all(&self.runs).unwrap_or_default();
        runs.iter().filter_map(|run| run.read().ok()).max_by_key(|run| run.started)
    }
}

/// The nearest folder above `path` that looks like a project's root. Where none does, the current folder if `path` lies below
/// it, so that later calls from here find the runs; else the folder of `path`.
fn project_root(path: &Path) -> Result<PathBuf, Failure> {
    let absolute =
        fs::canonicalize(path).or_else(|_| std::path::absolute(path)).context("Cannot find the current folder")?;
    let folder = if absolute.is_dir() { absolute.as_path() } else { absolute.parent().unwrap_or(&absolute) };
    let root = folder.ancestors().find(|folder| MARKS.iter().any(|mark| folder.join(mark).exists()));
    if let Some(root) = root {
        return Ok(root.to_path_buf());
    }
    let here = std::env::current_dir().ok().filter(|here| folder.starts_with(here));
    Ok(here.unwrap_or_else(|| folder.to_path_buf()))
}
