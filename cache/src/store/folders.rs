//! Folders for a task: one that goes with the task, one that stays until the task has succeeded.

use std::fs;
use std::path::{Path, PathBuf};

use super::Store;
use crate::digest::Key;
use crate::error::{CacheError, Result};

/// A private, empty folder on the store's file system, removed with all that it holds when the value is dropped; after a
/// kill, by gc.
#[derive(Debug)]
pub struct TaskFolder {
    path: PathBuf,
}

impl TaskFolder {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TaskFolder {
    fn drop(&mut self) {
        // What cannot be removed now goes with the session, or with gc.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Store {
    /// A folder for the outputs of the task `key`, from which [`Store::ingest`] can move files without copying them.
    pub fn task_folder(&self, key: &Key) -> Result<TaskFolder> {
        let path = self.inner.disk.temporary(&key.short());
        fs::create_dir(&path).map_err(CacheError::io("create", &path))?;
        Ok(TaskFolder { path })
    }

    /// The folder in which the task `key` keeps what it needs to go on after a kill. It is removed when the key's record is
    /// committed. Only the holder of the key's claim may use it.
    pub fn scratch(&self, key: &Key) -> Result<PathBuf> {
        let path = self.root().join("scratch").join(key.to_string());
        fs::create_dir_all(&path).map_err(CacheError::io("create", &path))?;
        Ok(path)
    }
}
