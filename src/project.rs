//! A project: the folder with its store, its runs, and the manifest of its last run.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::report::run_folder::{RunFolder, RunJson, STORE};

/// Entries that mark the root of a project.
const MARKERS: [&str; 3] = [".dnc", ".git", "dnc.toml"];

/// Store and folder of runs, if they are not in their default locations.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Folders {
    /// Store of artifacts [default: .dnc/store in the project's root]
    #[arg(long, env = "DNC_STORE", value_name = "DIR", global = true)]
    pub store: Option<PathBuf>,
    /// Folder of runs [default: runs in the project's root]
    #[arg(long, env = "DNC_RUNS", value_name = "DIR", global = true)]
    pub runs: Option<PathBuf>,
}

/// The folders of a project.
#[derive(Clone, Debug)]
pub struct Project {
    /// The root.
    pub root: PathBuf,
    /// The store.
    pub store: PathBuf,
    /// The folder of runs.
    pub runs: PathBuf,
}

impl Project {
    /// The project that contains `path`.
    ///
    /// # Errors
    /// The current folder does not exist, or a folder is given as a URL.
    pub fn containing(path: &Path, folders: &Folders) -> io::Result<Self> {
        for folder in [&folders.store, &folders.runs].into_iter().flatten() {
            if folder.to_str().is_some_and(|text| text.contains("://")) {
                let message = format!("`{}` is a URL, but store and runs must be local folders", folder.display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        }
        let root = project_root(path)?;
        Ok(Self {
            store: folders.store.clone().unwrap_or_else(|| root.join(STORE)),
            runs: folders.runs.clone().unwrap_or_else(|| root.join("runs")),
            root,
        })
    }

    /// The project that contains the current folder.
    ///
    /// # Errors
    /// The current folder does not exist.
    pub fn current(folders: &Folders) -> io::Result<Self> {
        Self::containing(Path::new("."), folders)
    }

    /// The run that was started last.
    pub fn last_run(&self) -> Option<RunJson> {
        let runs = RunFolder::all(&self.runs).unwrap_or_default();
        runs.iter().filter_map(|run| run.read().ok()).max_by_key(|run| run.started)
    }
}

/// The nearest folder at or above `path` with a marker. Without one, the current folder if it contains `path`, so that later
/// calls from there find the runs; otherwise the folder of `path`.
fn project_root(path: &Path) -> io::Result<PathBuf> {
    let absolute = fs::canonicalize(path).or_else(|_| std::path::absolute(path))?;
    let folder = if absolute.is_dir() { absolute.as_path() } else { absolute.parent().unwrap_or(&absolute) };
    let root = folder.ancestors().find(|folder| MARKERS.iter().any(|marker| folder.join(marker).exists()));
    if let Some(root) = root {
        return Ok(root.to_path_buf());
    }
    let current = env::current_dir().ok().filter(|current| folder.starts_with(current));
    Ok(current.unwrap_or_else(|| folder.to_path_buf()))
}
