//! `cache ls`: what the store holds.

use std::collections::HashSet;
use std::time::SystemTime;

use rayon::prelude::*;

use super::Store;
use crate::backend::{Backend, ObjectName};
use crate::error::Result;
use crate::record::Record;

/// Everything in a store.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The records, most recently used first.
    pub records: Vec<RecordEntry>,
    /// How many blobs there are.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The blobs, of the above, that no record names, and their bytes: what gc may remove.
    pub unnamed: (u64, u64),
    /// The objects in quarantine.
    pub quarantine: Vec<ObjectName>,
}

/// One record of a listing.
#[derive(Clone, Debug)]
pub struct RecordEntry {
    /// The record.
    pub record: Record,
    /// When it was last used, to the hour.
    pub used: SystemTime,
    /// The bytes of all the blobs that it names, whether or not other records name them too.
    pub bytes: u64,
}

impl Store {
    /// Lists the store. Blobs are counted, not read.
    pub fn ls(&self) -> Result<Listing> {
        let disk = &self.inner.disk;
        let mut records = self.record_entries()?;
        records.sort_by_key(|entry| (std::cmp::Reverse(entry.used), entry.record.key));
        let named: HashSet<_> = records.iter().flat_map(|entry| entry.record.files()).map(|file| file.digest).collect();
        let mut listing = Listing { records, ..Listing::default() };
        for object in disk.list("blobs/")? {
            listing.blobs += 1;
            listing.bytes += object.size;
            if !object.name.digest().is_some_and(|digest| named.contains(&digest)) {
                listing.unnamed.0 += 1;
                listing.unnamed.1 += object.size;
            }
        }
        listing.quarantine = disk.list("quarantine/")?.into_iter().map(|object| object.name).collect();
        Ok(listing)
    }

    /// All records that are whole. Reading them here does not count as use.
    pub(super) fn record_entries(&self) -> Result<Vec<RecordEntry>> {
        let keys = self.inner.pack.keys()?;
        let entries = keys
            .par_iter()
            .map(|(key, _)| Ok(self.inner.sound_record(key)?.map(|(record, used)| RecordEntry::new(record, used))));
        Ok(entries.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

impl RecordEntry {
    pub(super) fn new(record: Record, used: SystemTime) -> Self {
        Self { bytes: record.files().map(|file| file.size).sum(), used, record }
    }
}
