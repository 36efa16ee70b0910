//! Roots: folders outside the store whose files name keys, so that gc knows of everybody who shares the store.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Store;
use crate::backend::{Backend, ObjectName};
use crate::digest::Digest;
use crate::error::{CacheError, Result};

impl Store {
    /// Notes a folder whose files name keys; once for all.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn add_root(&self, folder: &Path) -> Result<()> {
        let folder = fs::canonicalize(folder).map_err(CacheError::io("find", folder))?;
        let bytes = folder.as_os_str().as_bytes();
        let name = ObjectName::root(&Digest::of(bytes));
        if self.inner.disk.size(&name)?.is_none() {
            self.inner.disk.put(&name, bytes)?;
        }
        Ok(())
    }

    /// Forgets a folder that was noted.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn remove_root(&self, folder: &Path) -> Result<()> {
        let name = ObjectName::root(&Digest::of(folder.as_os_str().as_bytes()));
        self.inner.disk.remove(&name).map(drop)
    }

    /// The folders that were noted, whether or not they are there.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn roots(&self) -> Result<Vec<PathBuf>> {
        let mut roots = Vec::new();
        for object in self.inner.disk.list("roots/")? {
            roots.extend(self.inner.disk.get(&object.name)?.map(|bytes| PathBuf::from(OsStr::from_bytes(&bytes))));
        }
        Ok(roots)
    }
}
