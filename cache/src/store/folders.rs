//! Folders for a task: one that goes with the task, one that stays until the task has succeeded.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Store;
use crate::backend::Disk;
use crate::digest::Key;
use crate::error::{CacheError, Result};
use crate::session::Purpose;

/// A private, empty folder on the store's file system. It goes with the value; after a kill, gc removes it.
#[derive(Debug)]
pub struct TaskFolder {
    path: PathBuf,
    purpose: Purpose,
    disk: Arc<Disk>,
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
        let _ = self.disk.session().give_back(&self.path, self.purpose);
    }
}

impl Store {
    /// A folder for a task's outputs, from which [`Store::ingest`] can move files without copying them. A task may have
    /// several. Those that are given back without folders in them cost next to nothing.
    pub fn task_folder(&self) -> Result<TaskFolder> {
        self.folder(Purpose::Output)
    }

    /// A folder for a program to work in. What the program left running may write there for as long as it likes: no
    /// task's outputs ever lie in it.
    pub fn work_folder(&self) -> Result<TaskFolder> {
        self.folder(Purpose::Work)
    }

    fn folder(&self, purpose: Purpose) -> Result<TaskFolder> {
        let path = self.inner.disk.session().folder(purpose)?;
        Ok(TaskFolder { path, purpose, disk: Arc::clone(&self.inner.disk) })
    }

    /// The folder in which the task `key` keeps what it needs to go on after a kill. It is removed when the key's record is
    /// durable. Only the holder of the key's claim may use it.
    pub fn scratch(&self, key: &Key) -> Result<PathBuf> {
        let path = self.root().join("scratch").join(key.to_string());
        fs::create_dir_all(&path).map_err(CacheError::io("create", &path))?;
        Ok(path)
    }
}
