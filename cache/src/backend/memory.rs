//! Objects in this process's memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use super::{Backend, Object, ObjectName};
use crate::error::{CacheError, Result};

/// A backend that lasts as long as its value.
#[derive(Debug, Default)]
pub struct Memory {
    objects: Mutex<BTreeMap<ObjectName, Vec<u8>>>,
}

impl Memory {
    /// A backend without objects.
    pub fn new() -> Self {
        Self::default()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectName, Vec<u8>>> {
        self.objects.lock().expect("nothing panics while it holds this lock")
    }
}

impl Backend for Memory {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.objects().insert(name.clone(), bytes.to_vec());
        Ok(())
    }

    fn put_file(&self, name: &ObjectName, file: &Path) -> Result<()> {
        let bytes = fs::read(file).map_err(CacheError::io("read", file))?;
        self.put(name, &bytes)
    }

    fn get(&self, name: &ObjectName) -> Result<Option<Vec<u8>>> {
        Ok(self.objects().get(name).cloned())
    }

    fn get_file(&self, name: &ObjectName, to: &Path) -> Result<bool> {
        let Some(bytes) = self.get(name)? else { return Ok(false) };
        fs::write(to, bytes).map_err(CacheError::io("write", to))?;
        Ok(true)
    }

    fn size(&self, name: &ObjectName) -> Result<Option<u64>> {
        Ok(self.objects().get(name).map(|bytes| bytes.len() as u64))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let objects = self.objects();
        let named = objects.iter().filter(|(name, _)| name.as_str().starts_with(prefix));
        Ok(named.map(|(name, bytes)| Object { name: name.clone(), size: bytes.len() as u64 }).collect())
    }

    fn remove(&self, name: &ObjectName) -> Result<bool> {
        Ok(self.objects().remove(name).is_some())
    }

    fn quarantine(&self, name: &ObjectName) -> Result<bool> {
        let mut objects = self.objects();
        let Some(bytes) = objects.remove(name) else { return Ok(false) };
        objects.insert(name.quarantined(), bytes);
        Ok(true)
    }
}
