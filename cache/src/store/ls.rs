//! Listing: the contents of a store, for `cache ls`.

use std::collections::HashSet;
use std::time::SystemTime;

use rayon::prelude::*;

use super::handle::Store;
use crate::error::Result;
use crate::object::ObjectName;
use crate::record::Record;

/// The contents of a store.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The records, most recently used first.
    pub records: Vec<RecordEntry>,
    /// Number of blobs.
    pub blobs: u64,
    /// Total size of the blobs in bytes.
    pub bytes: u64,
    /// Number of blobs that no record names. `gc` may remove them.
    pub unreferenced_blobs: u64,
    /// Total size of the blobs that no record names, in bytes.
    pub unreferenced_bytes: u64,
    /// The objects in quarantine.
    pub quarantine: Vec<ObjectName>,
}

/// A record in a listing.
#[derive(Clone, Debug)]
pub struct RecordEntry {
    /// The record.
    pub record: Record,
    /// When it was last used. Uses within an hour of each other are not distinguished.
    pub used: SystemTime,
    /// Total size of all blobs that it names in bytes, including blobs that other records name too.
    pub bytes: u64,
}

impl Store {
    /// Lists the contents of the store. Blobs are not read.
    pub fn ls(&self) -> Result<Listing> {
        let disk = &self.state.disk;
        let mut records = self.record_entries()?;
        records.sort_by_key(|entry| (std::cmp::Reverse(entry.used), entry.record.key));
        let named: HashSet<_> = records.iter().flat_map(|entry| entry.record.files()).map(|file| file.digest).collect();
        let mut listing = Listing { records, ..Listing::default() };
        for object in disk.list("blobs")? {
            listing.blobs += 1;
            listing.bytes += object.size;
            if !object.name.digest().is_some_and(|digest| named.contains(&digest)) {
                listing.unreferenced_blobs += 1;
                listing.unreferenced_bytes += object.size;
            }
        }
        listing.quarantine = disk.list("quarantine")?.into_iter().map(|object| object.name).collect();
        Ok(listing)
    }

    /// All intact records. Reading them does not count as a use.
    pub(super) fn record_entries(&self) -> Result<Vec<RecordEntry>> {
        let keys = self.state.pack.keys()?;
        let entries = keys
            .par_iter()
            .map(|(key, _)| Ok(self.state.intact_record(key)?.map(|(record, used)| RecordEntry::new(record, used))));
        Ok(entries.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

impl RecordEntry {
    pub(super) fn new(record: Record, used: SystemTime) -> Self {
        Self { bytes: record.files().map(|file| file.size).sum(), used, record }
    }
}
