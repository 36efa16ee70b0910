//! State of an open store, shared by the [`Store`](super::Store) and its committing thread.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::catalogue::LastCatalogue;
use super::seal::Stamp;
use crate::clock;
use crate::digest::{Digest, Key};
use crate::disk::Disk;
use crate::error::{CacheError, Result, found};
use crate::object::ObjectName;
use crate::pack::Pack;
use crate::poison;
use crate::record::{Outputs, Record};

/// The files of an open store, and what this process knows of them.
#[derive(Debug)]
pub(super) struct StoreState {
    pub(super) disk: Arc<Disk>,
    pub(super) pack: Pack,
    pub(super) opened: SystemTime,
    /// Stamps of the blobs that this process has hashed.
    pub(super) verified: Mutex<HashMap<Digest, Stamp>>,
    /// Objects that were quarantined since the caller last asked for them.
    pub(super) quarantined: Mutex<Vec<ObjectName>>,
    /// What the packs of the remote contain that was used last.
    pub(super) catalogue: Mutex<Option<LastCatalogue>>,
    /// Whether to try to clone files. Cleared after the first file that the file system cannot clone.
    pub(super) try_reflinks: AtomicBool,
}

impl StoreState {
    pub(super) fn new(disk: Disk) -> Self {
        Self {
            pack: Pack::new(disk.path(&ObjectName::pack())),
            disk: Arc::new(disk),
            opened: clock::now(),
            verified: Mutex::default(),
            quarantined: Mutex::default(),
            catalogue: Mutex::default(),
            try_reflinks: AtomicBool::new(true),
        }
    }

    /// The store's lock, shared: while it is held, nobody removes objects that new ones refer to.
    pub(super) fn lock_for_adding(&self) -> Result<File> {
        self.lock(File::options().read(true), File::lock_shared)
    }

    /// The store's lock, exclusive: needed to remove objects.
    pub(super) fn lock_for_removing(&self) -> Result<File> {
        // NFS grants it only on a file that is open for writing.
        self.lock(File::options().read(true).write(true), File::lock)
    }

    fn lock(&self, options: &OpenOptions, lock: impl FnOnce(&File) -> io::Result<()>) -> Result<File> {
        let path = self.disk.root().join("lock");
        let file = options.open(&path).map_err(CacheError::io("open", &path))?;
        lock(&file).map_err(CacheError::io("lock", &path))?;
        Ok(file)
    }

    /// Reads a record, and quarantines it if it is damaged. Does not count as a use.
    pub(super) fn intact_record(&self, key: &Key) -> Result<Option<(Record, SystemTime)>> {
        self.decode_intact(key, Record::decode)
    }

    /// Like [`StoreState::intact_record`], but reads only the outputs.
    pub(super) fn intact_outputs(&self, key: &Key) -> Result<Option<(Outputs, SystemTime)>> {
        self.decode_intact(key, Record::decode_outputs)
    }

    fn decode_intact<T>(
        &self,
        key: &Key,
        decode: impl Fn(&Key, &[u8]) -> Option<T>,
    ) -> Result<Option<(T, SystemTime)>> {
        match self.pack.get(key, |bytes| decode(key, bytes))? {
            None => Ok(None),
            Some((Some(decoded), used)) => Ok(Some((decoded, used))),
            Some((None, _)) => self.quarantine_damaged_records().map(|_| None),
        }
    }

    /// Moves an object to quarantine, unless it has been replaced since it had the stamp `seen`.
    pub(super) fn quarantine_unless_replaced(&self, name: ObjectName, seen: Stamp) -> Result<()> {
        let _lock = self.lock_for_removing()?;
        let path = self.disk.path(&name);
        let now = found(fs::metadata(&path)).map_err(CacheError::io("read", &path))?;
        if now.is_some_and(|metadata| Stamp::of(&metadata) == seen) { self.quarantine(name) } else { Ok(()) }
    }

    /// Moves an object to quarantine.
    pub(super) fn quarantine(&self, name: ObjectName) -> Result<()> {
        if self.disk.quarantine(&name)? {
            self.note_quarantined(name);
        }
        Ok(())
    }

    /// Reads the whole pack, quarantines everything in it that is damaged, and returns the number of records that were read.
    pub(super) fn quarantine_damaged_records(&self) -> Result<u64> {
        let _lock = self.lock_for_removing()?;
        self.pack.discard_cache();
        let mut damaged = HashMap::new();
        let keys = self.pack.keys()?;
        for &(key, _) in &keys {
            let bytes = self.pack.get(&key, |bytes| Record::decode(&key, bytes).is_none().then(|| bytes.to_vec()))?;
            damaged.extend(bytes.and_then(|(bytes, _)| Some((key, bytes?))));
        }
        let stray = self.pack.stray_lines();
        let records = damaged.iter().map(|(key, bytes)| (ObjectName::record(key), bytes));
        let lines = stray.iter().map(|(offset, bytes)| (ObjectName::stray_lines(*offset), bytes));
        for (name, bytes) in records.chain(lines) {
            self.disk.put(&name.quarantined(), bytes)?;
            self.note_quarantined(name);
        }
        if !damaged.is_empty() || !stray.is_empty() {
            self.remove_records(|key| damaged.contains_key(key))?;
        }
        Ok(keys.len() as u64)
    }

    /// Removes the records for which `remove` is true, together with superseded parts of the pack. The caller holds
    /// [`StoreState::lock_for_removing`].
    pub(super) fn remove_records(&self, remove: impl Fn(&Key) -> bool) -> Result<()> {
        match self.pack.without(remove)? {
            Some(bytes) => self.disk.put_appendable(&ObjectName::pack(), &bytes),
            None => Ok(()),
        }
    }

    fn note_quarantined(&self, name: ObjectName) {
        poison::lock(&self.quarantined).push(name);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::handle::Store;

    #[test]
    fn the_exclusive_lock_is_one_that_nfs_grants() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut lock = store.state.lock_for_removing().unwrap();
        assert_eq!(lock.write(b"").unwrap(), 0, "it must be open for writing");
    }
}
