//! Verification: hashes every blob and reads every record, for `cache verify`.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::handle::Store;
use crate::digest::{Digest, Key};
use crate::error::Result;
use crate::object::ObjectName;

/// Result of [`Store::verify`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Number of blobs that were hashed.
    pub blobs: u64,
    /// Total size of the blobs in bytes.
    pub bytes: u64,
    /// Number of records that were read.
    pub records: u64,
    /// Damaged objects, which are in quarantine now.
    pub quarantined: Vec<ObjectName>,
    /// Records that named blobs which are missing and were not dropped. They were removed, so that the next run computes their
    /// nodes again.
    pub dangling: Vec<DanglingRecord>,
}

/// A record that named missing blobs and was removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DanglingRecord {
    /// The record's key.
    pub key: Key,
    /// The missing blobs, sorted.
    pub missing: Vec<Digest>,
}

impl VerifyReport {
    /// Whether no damage was found.
    pub fn is_clean(&self) -> bool {
        self.quarantined.is_empty() && self.dangling.is_empty()
    }
}

impl Store {
    /// Verifies the whole store with all threads of the current rayon pool. `progress` receives the number of bytes hashed so
    /// far and the total.
    ///
    /// # Errors
    /// A file cannot be read. Files that disappear during the call are not an error.
    pub fn verify(&self, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<VerifyReport> {
        let disk = &self.state.disk;
        let blobs = disk.list("blobs")?;
        let bytes = blobs.iter().map(|blob| blob.size).sum();
        let done = AtomicU64::new(0);
        blobs.par_iter().try_for_each(|object| {
            match object.name.digest() {
                Some(digest) => drop(self.state.hash_blob(&digest)?),
                // A file that is not named by a digest would never be read or removed.
                None => self.state.quarantine(object.name.clone())?,
            }
            progress(done.fetch_add(object.size, Ordering::Relaxed) + object.size, bytes);
            Ok(())
        })?;
        let records = self.state.quarantine_damaged_records()?;
        let keys = self.state.pack.keys()?;
        let dangling = keys.par_iter().map(|(key, _)| self.dangling(key));
        let dangling: Vec<DanglingRecord> = dangling.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        if !dangling.is_empty() {
            let _lock = self.state.lock_for_removing()?;
            let removed: HashSet<Key> = dangling.iter().map(|dangling| dangling.key).collect();
            self.state.remove_records(|key| removed.contains(key))?;
        }
        Ok(VerifyReport { blobs: blobs.len() as u64, bytes, records, quarantined: self.take_quarantined(), dangling })
    }

    fn dangling(&self, key: &Key) -> Result<Option<DanglingRecord>> {
        let Some((record, _)) = self.state.intact_record(key)? else { return Ok(None) };
        let mut missing = BTreeSet::new();
        for file in record.files() {
            if self.state.blob_metadata(&file.digest)?.is_none() && !self.state.is_dropped(&file.digest)? {
                missing.insert(file.digest);
            }
        }
        let missing: Vec<_> = missing.into_iter().collect();
        Ok((!missing.is_empty()).then_some(DanglingRecord { key: *key, missing }))
    }
}
