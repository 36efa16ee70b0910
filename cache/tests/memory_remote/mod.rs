//! A remote in memory, as a test double whose objects can be damaged.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dnc_cache::{CacheError, ConditionalPut, Object, ObjectListing, ObjectName, Remote, Result};

/// A remote whose objects exist as long as the value.
#[derive(Debug, Default)]
pub(crate) struct MemoryRemote {
    objects: Mutex<BTreeMap<ObjectName, Vec<u8>>>,
}

impl MemoryRemote {
    pub(crate) fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectName, Vec<u8>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remote for MemoryRemote {
    fn url(&self) -> &str {
        "memory://"
    }

    fn concurrent_requests(&self) -> usize {
        4
    }

    fn sizes(&self, names: &[ObjectName]) -> Result<Vec<Option<u64>>> {
        let objects = self.objects();
        Ok(names.iter().map(|name| objects.get(name).map(|bytes| bytes.len() as u64)).collect())
    }

    fn get(&self, name: &ObjectName) -> Result<Option<Vec<u8>>> {
        Ok(self.objects().get(name).cloned())
    }

    fn get_to_file(&self, name: &ObjectName, to: &Path) -> Result<bool> {
        let Some(bytes) = self.get(name)? else { return Ok(false) };
        fs::write(to, bytes).map_err(io_error("write", to))?;
        Ok(true)
    }

    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.objects().insert(name.clone(), bytes.to_vec());
        Ok(())
    }

    fn put_from_file(&self, name: &ObjectName, file: &Path) -> Result<()> {
        let bytes = fs::read(file).map_err(io_error("read", file))?;
        self.put(name, &bytes)
    }

    fn put_if_absent(&self, name: &ObjectName, bytes: &[u8]) -> Result<ConditionalPut> {
        let mut objects = self.objects();
        match objects.get(name) {
            Some(existing) => Ok(ConditionalPut::Existed(existing.clone())),
            None => {
                objects.insert(name.clone(), bytes.to_vec());
                Ok(ConditionalPut::Created)
            }
        }
    }

    fn list(&self, folder: &str) -> ObjectListing<'_> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut objects: Vec<_> = self
            .objects()
            .iter()
            .map(|(name, bytes)| Object { name: name.clone(), size: bytes.len() as u64 })
            .collect();
        objects.retain(|object| object.name.as_str().starts_with(&prefix));
        Box::new(objects.into_iter().map(Ok))
    }
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    move |source| CacheError::Io { doing, path: path.to_owned(), source }
}
