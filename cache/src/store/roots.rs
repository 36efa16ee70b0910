//! Garbage-collection roots: folders outside the store whose files name keys, one for each project that shares the store.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::handle::Store;
use crate::digest::Digest;
use crate::error::{CacheError, Result};
use crate::object::ObjectName;

impl Store {
    /// Records a folder as a root. Does nothing if it is one already.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn add_root(&self, folder: &Path) -> Result<()> {
        let folder = fs::canonicalize(folder).map_err(CacheError::io("find", folder))?;
        let bytes = folder.as_os_str().as_bytes();
        let name = ObjectName::root(&Digest::of(bytes));
        if self.state.disk.size(&name)?.is_none() {
            self.state.disk.put(&name, bytes)?;
        }
        Ok(())
    }

    /// Removes a folder from the roots.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn remove_root(&self, folder: &Path) -> Result<()> {
        let name = ObjectName::root(&Digest::of(folder.as_os_str().as_bytes()));
        self.state.disk.remove(&name).map(drop)
    }

    /// All roots, including folders that no longer exist.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn roots(&self) -> Result<Vec<PathBuf>> {
        let mut roots = Vec::new();
        for object in self.state.disk.list("roots")? {
            roots.extend(self.state.disk.get(&object.name)?.map(|bytes| PathBuf::from(OsStr::from_bytes(&bytes))));
        }
        Ok(roots)
    }
}
