//! Folders for tasks: temporary ones that are removed with the task, and scratch folders that stay until it has succeeded.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::handle::Store;
use crate::digest::Key;
use crate::disk::Disk;
use crate::error::{CacheError, Result};
use crate::session::FolderPurpose;

/// A private folder on the store's file system, empty at first. It is removed when the value is dropped, or by gc after a kill.
#[derive(Debug)]
pub struct TaskFolder {
    path: PathBuf,
    purpose: FolderPurpose,
    disk: Arc<Disk>,
}

impl TaskFolder {
    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TaskFolder {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the session ends, or by gc.
        let _ = self.disk.session().return_folder(&self.path, self.purpose);
    }
}

impl Store {
    /// A folder for a task's outputs, from which [`Store::ingest`] can move files without copying. A task may have several.
    /// Folders are reused and therefore cheap, unless they contain folders when they are dropped.
    pub fn task_folder(&self) -> Result<TaskFolder> {
        self.folder(FolderPurpose::Output)
    }

    /// A working folder for a program. It is never reused for a task's outputs, since processes that outlive the program may
    /// still write to it.
    pub fn work_folder(&self) -> Result<TaskFolder> {
        self.folder(FolderPurpose::Work)
    }

    fn folder(&self, purpose: FolderPurpose) -> Result<TaskFolder> {
        let path = self.state.disk.session().folder(purpose)?;
        Ok(TaskFolder { path, purpose, disk: Arc::clone(&self.state.disk) })
    }

    /// The folder in which the task `key` keeps its checkpoints, so that it can continue after a kill. It is removed once the
    /// key's record is durable. Only the holder of the key's claim may use it.
    pub fn scratch(&self, key: &Key) -> Result<PathBuf> {
        let path = self.root().join("scratch").join(key.to_string());
        fs::create_dir_all(&path).map_err(CacheError::io("create", &path))?;
        Ok(path)
    }
}
