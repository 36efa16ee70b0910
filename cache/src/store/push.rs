//! Push: copies records and their blobs from the store to a remote.
//!
//! Few records travel one by one, each with a conditional put. Many travel in packs (remote/pack.rs) with all their small blobs. In both
//! cases the blobs of a record arrive before it does, or with it, so a push that is killed leaves only whole records; the next one
//! sends what is missing. Who pushes at the same moment is not seen beforehand, so the remote is looked at again afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::blobs::Blob;
use super::handle::Store;
use super::state::StoreState;
use super::transfer::{BlobTransfer, Transfer, TransferFailure, TransferReport};
use crate::artifact::FileEntry;
use crate::digest::{Digest, Key};
use crate::error::{CacheError, Result};
use crate::object::ObjectName;
use crate::parallel;
use crate::record::{Record, verified_body};
use crate::remote::{ConditionalPut, PackBuilder, Remote, listed_sizes, prepare_for_writing, sizes};

/// Number of records and small blobs from which they travel in packs.
const PACKED_FROM: usize = 16;

/// Size in bytes below which records and blobs are small.
pub(super) const SMALL: u64 = 64 << 10;

impl Store {
    /// Copies the records of `keys` and their blobs to a remote, which is created if it is empty. Blobs are copied before the
    /// records that name them or together with them, and are verified before they are copied. The first record of a key stays: another
    /// one with different outputs is reported as not reproducible.
    ///
    /// If a blob was dropped from the store and is not in the remote either, its mark is copied instead, as the record without
    /// the blob is still a hit.
    ///
    /// `progress` receives the number of bytes copied so far and the total.
    ///
    /// # Errors
    /// The remote is of another format or cannot be accessed, or the store cannot be read. Damaged and missing objects are not
    /// errors but are part of the report.
    pub fn push(
        &self,
        keys: &[Key],
        remote: &dyn Remote,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<TransferReport> {
        self.settle();
        prepare_for_writing(remote)?;
        let mut push = Transfer::begin(&self.state, remote, progress)?;
        let mut records = Vec::new();
        for key in BTreeSet::from_iter(keys) {
            match self.state.intact_record(key)? {
                Some((record, _)) => records.push(record),
                None => push.report.add_problem(*key, TransferFailure::NoRecord),
            }
        }
        push.records(records)?;
        Ok(push.finish())
    }
}

impl Transfer<'_> {
    fn records(&mut self, records: Vec<Record>) -> Result<()> {
        let catalogue = Arc::clone(&self.catalogue);
        // What packs have, and what they have not.
        let (mut known, mut others) = (Vec::new(), Vec::new());
        for record in records {
            match catalogue.record(&record.key) {
                None => others.push(record),
                Some((_, outputs)) if *outputs == record.outputs_digest() => known.push(record),
                Some(_) => self.report.add_problem(record.key, TransferFailure::NotReproducible),
            }
        }
        let missing = |record: &Record| record.files().filter(|file| catalogue.blob(&file.digest).is_none()).count();
        let is_packed = others.iter().map(|record| 1 + missing(record)).sum::<usize>() >= PACKED_FROM;
        let (packed, mut single) = if is_packed { self.split_packed(others)? } else { (Vec::new(), others) };

        let mut blobs = self.missing_blobs([&known, &packed, &single].into_iter().flatten(), is_packed)?;
        self.total = blobs.iter().map(|file| file.size).sum();
        let mut small = BTreeMap::new();
        if is_packed {
            // What is not here goes singly, many at a time: there may be thousands of marks of dropped blobs.
            let is_here = |digest: &Digest| matches!(self.store.blob_metadata(digest), Ok(Some(_)));
            let removed = blobs.extract_if(.., |file| file.size < SMALL && is_here(&file.digest));
            small.extend(removed.map(|file| (file.digest, file.clone())));
        }
        self.single_blobs(&blobs)?;
        let created = self.packs(packed, &[&known, &single], small)?;
        known.retain(|record| self.is_complete(record));
        self.report.unchanged_records += known.len() as u64;
        single.retain(|record| self.is_complete(record));
        let created_single = self.single_records(single)?;
        self.look_again(&created, &created_single)
    }

    /// Splits records into those that travel in packs, and those that exist by themselves already or are large.
    fn split_packed(&self, records: Vec<Record>) -> Result<(Vec<Record>, Vec<Record>)> {
        let names: Vec<ObjectName> = records.iter().map(|record| ObjectName::record(&record.key)).collect();
        let mut sizes = sizes(self.remote, "records", &names)?.into_iter();
        Ok(records
            .into_iter()
            .partition(|record| sizes.next().flatten().is_none() && (record.encode().len() as u64) < SMALL))
    }

    /// The blobs of the records that the remote does not have. With `is_packed`, small ones may be there: sending them twice costs less
    /// than asking for each.
    fn missing_blobs<'r>(
        &self,
        records: impl Iterator<Item = &'r Record>,
        is_packed: bool,
    ) -> Result<Vec<&'r FileEntry>> {
        let mut files = distinct_blobs(records);
        files.retain(|file| self.catalogue.blob(&file.digest).is_none());
        let names: Vec<ObjectName> = files.iter().map(|file| ObjectName::blob(&file.digest)).collect();
        let listed = listed_sizes(self.remote, "blobs", &names)?;
        let sizes = match listed {
            Some(sizes) => sizes,
            None if !is_packed => self.remote.sizes(&names)?,
            None => {
                let large = |&(file, _): &(&&FileEntry, &ObjectName)| file.size >= SMALL;
                let names: Vec<ObjectName> =
                    files.iter().zip(&names).filter(large).map(|(_, name)| name.clone()).collect();
                let mut sizes = self.remote.sizes(&names)?.into_iter();
                files.iter().map(|file| if file.size < SMALL { None } else { sizes.next().flatten() }).collect()
            }
        };
        // A blob of another size is damaged, and is replaced.
        Ok(files.into_iter().zip(sizes).filter(|(file, size)| *size != Some(file.size)).map(|(file, _)| file).collect())
    }

    /// Copies blobs one by one.
    fn single_blobs(&mut self, files: &[&FileEntry]) -> Result<()> {
        let pushed = parallel::map(files, self.remote.concurrent_requests(), |file| {
            let pushed = self.store.push_blob(file, self.remote)?;
            self.advance(file.size);
            Ok(pushed)
        })?;
        for (file, pushed) in files.iter().zip(pushed) {
            self.note_blob(file, pushed);
        }
        Ok(())
    }

    /// Copies the records in packs, each with those of the `small` blobs that it names and that no earlier record brought. Small blobs
    /// that only the `others` name go first. Returns the records that were copied.
    fn packs(
        &mut self,
        records: Vec<Record>,
        others: &[&Vec<Record>],
        mut small: BTreeMap<Digest, FileEntry>,
    ) -> Result<Vec<Record>> {
        let mut pack = PackBuilder::default();
        let mut created = Vec::new();
        for record in others.iter().copied().flatten() {
            self.pack_blobs(record, &mut small, &mut pack)?;
        }
        for record in records {
            self.pack_blobs(&record, &mut small, &mut pack)?;
            if !self.is_complete(&record) {
                continue;
            }
            pack.add_record(&record, &record.encode());
            created.push(record);
            if pack.is_full() {
                self.store.put_pack(&mut pack, self.remote)?;
            }
        }
        self.store.put_pack(&mut pack, self.remote)?;
        self.report.records += created.len() as u64;
        Ok(created)
    }

    /// Adds the small blobs of a record to the pack, which is sent whenever it is full.
    fn pack_blobs(
        &mut self,
        record: &Record,
        small: &mut BTreeMap<Digest, FileEntry>,
        pack: &mut PackBuilder,
    ) -> Result<()> {
        for file in record.files() {
            let Some(file) = small.remove(&file.digest) else { continue };
            let pushed = self.store.push_blob_by(&file.digest, self.remote, |path| {
                pack.add_blob(file.digest, &fs::read(path).map_err(CacheError::io("read", path))?);
                Ok(())
            })?;
            self.note_blob(&file, pushed);
            self.advance(file.size);
            if pack.is_full() {
                self.store.put_pack(pack, self.remote)?;
            }
        }
        Ok(())
    }

    /// Copies records one by one. Returns those that did not exist.
    fn single_records(&mut self, records: Vec<Record>) -> Result<Vec<Record>> {
        let remote = self.remote;
        let pushed = parallel::map(&records, remote.concurrent_requests(), |record| push_record(record, remote))?;
        let mut created = Vec::new();
        for (record, pushed) in records.into_iter().zip(pushed) {
            match pushed {
                RecordPush::Created => {
                    self.report.records += 1;
                    created.push(record);
                }
                RecordPush::Unchanged => self.report.unchanged_records += 1,
                RecordPush::Different => self.report.add_problem(record.key, TransferFailure::NotReproducible),
            }
        }
        Ok(created)
    }

    /// Reports the records of which another process has pushed different ones at the same time. Of two such processes, at least the
    /// second finds what the first has written.
    fn look_again(&mut self, packed: &[Record], single: &[Record]) -> Result<()> {
        if packed.is_empty() && single.is_empty() {
            return Ok(());
        }
        let catalogue = self.store.catalogue(self.remote)?;
        let mut different = BTreeSet::new();
        for record in packed.iter().chain(single) {
            let first = catalogue.record(&record.key);
            let differs = first.is_some_and(|(_, outputs)| *outputs != record.outputs_digest());
            different.extend((differs || catalogue.is_disputed(&record.key)).then_some(record.key));
        }
        let names: Vec<ObjectName> = packed.iter().map(|record| ObjectName::record(&record.key)).collect();
        for (record, size) in packed.iter().zip(sizes(self.remote, "records", &names)?) {
            if size.is_some()
                && let Some(bytes) = self.remote.get(&ObjectName::record(&record.key))?
                && Record::decode_outputs(&record.key, &bytes).is_some_and(|outputs| outputs != record.outputs)
            {
                different.insert(record.key);
            }
        }
        self.report.records -= different.len() as u64;
        different.into_iter().for_each(|key| self.report.add_problem(key, TransferFailure::NotReproducible));
        Ok(())
    }
}

impl StoreState {
    fn push_blob(&self, file: &FileEntry, remote: &dyn Remote) -> Result<BlobTransfer> {
        let digest = &file.digest;
        self.push_blob_by(digest, remote, |path| remote.put_from_file(&ObjectName::blob(digest), path))
    }

    /// Verifies a blob and sends it with `send`. Of one that was dropped, the remote gets the mark.
    fn push_blob_by(
        &self,
        digest: &Digest,
        remote: &dyn Remote,
        send: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<BlobTransfer> {
        match self.blob(digest)? {
            Blob::Present(path) => send(&path).map(|()| BlobTransfer::Copied),
            Blob::Missing if self.is_dropped(digest)? => {
                remote.put(&ObjectName::dropped(digest), b"")?;
                Ok(BlobTransfer::NotNeeded)
            }
            Blob::Missing => Ok(BlobTransfer::Failed(TransferFailure::MissingBlob(*digest))),
            Blob::Damaged => Ok(BlobTransfer::Failed(TransferFailure::DamagedBlob(*digest))),
        }
    }

    /// Stores what is in `pack`, if anything is, and empties it. Returns the name of the object.
    pub(super) fn put_pack(&self, pack: &mut PackBuilder, remote: &dyn Remote) -> Result<Option<ObjectName>> {
        if pack.is_empty() {
            return Ok(None);
        }
        let (name, bytes) = pack.finish();
        remote.put(&name.object(), &bytes)?;
        let index = usize::try_from(name.index().end).expect("the index is in memory");
        self.keep_index(&name, &bytes[..index])?;
        Ok(Some(name.object()))
    }
}

/// The files of all records, each digest once.
pub(super) fn distinct_blobs<'r>(records: impl IntoIterator<Item = &'r Record>) -> Vec<&'r FileEntry> {
    let files = records.into_iter().flat_map(Record::files).map(|file| (file.digest, file));
    BTreeMap::from_iter(files).into_values().collect()
}

/// What happened to one record.
enum RecordPush {
    Created,
    Unchanged,
    Different,
}

fn push_record(record: &Record, remote: &dyn Remote) -> Result<RecordPush> {
    let (name, bytes) = (ObjectName::record(&record.key), record.encode());
    match remote.put_if_absent(&name, &bytes)? {
        ConditionalPut::Created => Ok(RecordPush::Created),
        ConditionalPut::Existed(existing) if verified_body(&existing).is_none() => {
            // The checksum is wrong: this is a damaged record and not another one.
            remote.put(&name, &bytes)?;
            Ok(RecordPush::Created)
        }
        ConditionalPut::Existed(existing) => match Record::decode_outputs(&record.key, &existing) {
            Some(outputs) if outputs == record.outputs => Ok(RecordPush::Unchanged),
            _ => Ok(RecordPush::Different),
        },
    }
}
