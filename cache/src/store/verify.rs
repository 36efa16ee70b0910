//! `cache verify`: hashes every blob and reads every record.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::Store;
use crate::backend::{Backend, ObjectName};
use crate::digest::{Digest, Key};
use crate::error::Result;

/// What [`Store::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Blobs that were hashed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that were read.
    pub records: u64,
    /// Objects that were damaged and lie in quarantine now.
    pub quarantined: Vec<ObjectName>,
    /// Records that named blobs which are not in the store and were not dropped either. They were taken away, so that the next
    /// run computes their nodes again.
    pub dangling: Vec<Dangling>,
}

/// A record that named missing blobs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dangling {
    /// The record's key.
    pub key: Key,
    /// The blobs that are missing, sorted.
    pub missing: Vec<Digest>,
}

impl VerifyReport {
    /// Whether nothing was found wrong.
    pub fn is_clean(&self) -> bool {
        self.quarantined.is_empty() && self.dangling.is_empty()
    }
}

impl Store {
    /// Verifies the whole store with all threads of rayon's current pool. `progress` is told the bytes that have been
    /// hashed, and their total.
    ///
    /// # Errors
    /// If a file cannot be read for another reason than that it has gone meanwhile.
    pub fn verify(&self, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<VerifyReport> {
        let disk = &self.inner.disk;
        let blobs = disk.list("blobs/")?;
        let bytes = blobs.iter().map(|blob| blob.size).sum();
        let done = AtomicU64::new(0);
        blobs.par_iter().try_for_each(|object| {
            match object.name.digest() {
                Some(digest) => drop(self.inner.hash_blob(&digest)?),
                // Nobody would ever read or remove a file whose name tells no digest.
                None => self.inner.set_aside(object.name.clone())?,
            }
            progress(done.fetch_add(object.size, Ordering::Relaxed) + object.size, bytes);
            Ok(())
        })?;
        let records = self.inner.set_aside_damaged_records()?;
        let keys = self.inner.pack.keys()?;
        let dangling = keys.par_iter().map(|(key, _)| self.dangling(key));
        let dangling: Vec<Dangling> = dangling.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        if !dangling.is_empty() {
            let _taking = self.inner.taking()?;
            let gone: HashSet<Key> = dangling.iter().map(|dangling| dangling.key).collect();
            self.inner.take_away(|key| gone.contains(key))?;
        }
        Ok(VerifyReport { blobs: blobs.len() as u64, bytes, records, quarantined: self.set_aside(), dangling })
    }

    fn dangling(&self, key: &Key) -> Result<Option<Dangling>> {
        let Some((record, _)) = self.inner.sound_record(key)? else { return Ok(None) };
        let mut missing = BTreeSet::new();
        for file in record.files() {
            let was_dropped = || self.inner.disk.size(&ObjectName::dropped(&file.digest));
            if self.inner.blob_metadata(&file.digest)?.is_none() && was_dropped()?.is_none() {
                missing.insert(file.digest);
            }
        }
        let missing: Vec<_> = missing.into_iter().collect();
        Ok((!missing.is_empty()).then_some(Dangling { key: *key, missing }))
    }
}
