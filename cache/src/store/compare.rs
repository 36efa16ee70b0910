//! Comparing: what a remote lacks, without copying anything.

use std::collections::BTreeSet;

use super::handle::Store;
use super::push::distinct_blobs;
use crate::digest::Key;
use crate::error::Result;
use crate::object::ObjectName;
use crate::remote::{Remote, check_readable, sizes};

/// What [`Store::compare`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Keys whose records the store and the remote have.
    pub both: Vec<Key>,
    /// Keys whose records only the store has.
    pub only_local: Vec<Key>,
    /// Keys whose records only the remote has.
    pub only_remote: Vec<Key>,
    /// Keys that have no record.
    pub neither: Vec<Key>,
    /// Number of blobs that `push` would copy.
    pub blobs: u64,
    /// Total size of these in bytes.
    pub bytes: u64,
}

impl Store {
    /// The keys of all records in a remote, sorted.
    ///
    /// # Errors
    /// There is no remote store of a known format, or it cannot be read.
    pub fn remote_keys(&self, remote: &dyn Remote) -> Result<Vec<Key>> {
        check_readable(remote)?;
        let mut keys: BTreeSet<Key> = self.state.catalogue(remote)?.keys().copied().collect();
        for object in remote.list("records") {
            keys.extend(object?.name.key());
        }
        Ok(keys.into_iter().collect())
    }

    /// Compares the records of `keys` and their blobs with a remote.
    ///
    /// # Errors
    /// There is no remote of the current format, the remote cannot be accessed, or the store cannot be read.
    pub fn compare(&self, keys: &[Key], remote: &dyn Remote) -> Result<Comparison> {
        check_readable(remote)?;
        let keys: Vec<Key> = BTreeSet::from_iter(keys.iter().copied()).into_iter().collect();
        let catalogue = self.state.catalogue(remote)?;
        let unpacked = keys.iter().filter(|key| catalogue.record(key).is_none());
        let names: Vec<ObjectName> = unpacked.map(ObjectName::record).collect();
        let mut unpacked = sizes(remote, "records", &names)?.into_iter();
        let (mut comparison, mut records) = (Comparison::default(), Vec::new());
        for key in &keys {
            let own = self.state.intact_record(key)?;
            let is_remote = catalogue.record(key).is_some() || unpacked.next().flatten().is_some();
            let list = match (&own, is_remote) {
                (Some(_), true) => &mut comparison.both,
                (Some(_), false) => &mut comparison.only_local,
                (None, true) => &mut comparison.only_remote,
                (None, false) => &mut comparison.neither,
            };
            list.push(*key);
            records.extend(own.map(|(record, _)| record));
        }
        let mut files = distinct_blobs(&records);
        let mut present = Vec::with_capacity(files.len());
        for file in &files {
            present.push(self.state.blob_metadata(&file.digest)?.is_some());
        }
        let mut present = present.into_iter();
        files.retain(|file| present.next() == Some(true) && catalogue.blob(&file.digest).is_none());
        let names: Vec<ObjectName> = files.iter().map(|file| ObjectName::blob(&file.digest)).collect();
        for (file, _) in
            files.iter().zip(sizes(remote, "blobs", &names)?).filter(|(file, size)| *size != Some(file.size))
        {
            comparison.blobs += 1;
            comparison.bytes += file.size;
        }
        Ok(comparison)
    }
}
