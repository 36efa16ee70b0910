//! Pull: copies records and their blobs from a remote to the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::blobs::{Blob, UnsyncedBlob, renew_seal};
use super::catalogue::{Catalogue, Place};
use super::handle::Store;
use super::push::distinct_blobs;
use super::seal::{Seal, protect};
use super::state::StoreState;
use super::transfer::{BlobTransfer, Transfer, TransferFailure, TransferReport};
use crate::artifact::FileEntry;
use crate::digest::{Digest, Key};
use crate::error::{CacheError, Result};
use crate::object::ObjectName;
use crate::record::Record;
use crate::remote::{PackName, Remote, check_readable, listed_sizes};
use crate::{clock, durable, parallel, poison};

/// Records that are pulled together. Once they are durable they stay, even if the pull is interrupted later.
const BATCH: usize = 1024;

impl Store {
    /// Copies the records of `keys` and their blobs from a remote. Every blob and record is verified on arrival, and a record is
    /// added to the store only with all its blobs. A record that the store already has with other outputs stays and is reported
    /// as not reproducible. Everything is durable when this returns. An interrupted pull can be repeated and continues where it
    /// stopped.
    ///
    /// `progress` receives the number of bytes copied so far and the total that is known so far.
    ///
    /// # Errors
    /// There is no remote of the current format, the remote cannot be accessed, or the store cannot be written to. Damaged and
    /// missing objects are not errors but are part of the report.
    pub fn pull(
        &self,
        keys: &[Key],
        remote: &dyn Remote,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<TransferReport> {
        self.settle();
        check_readable(remote)?;
        let mut pull = Transfer::begin(&self.state, remote, progress)?;
        let mut keys: Vec<Key> = BTreeSet::from_iter(keys.iter().copied()).into_iter().collect();
        // In the order of the packs, so that the records of a batch lie side by side.
        keys.sort_by_key(|key| pull.catalogue.record(key).map(|(place, _)| place.clone()));
        for batch in keys.chunks(BATCH) {
            pull.batch(batch)?;
        }
        if pull.report.damaged.iter().any(|object| PackName::of(object).is_some()) {
            // gc may have replaced packs since the catalogue was read.
            let failed: Vec<Key> =
                mem::take(&mut pull.report.problems).into_iter().map(|problem| problem.key).collect();
            pull.catalogue = self.state.catalogue(remote)?;
            let Transfer { catalogue, report, .. } = &mut pull;
            let is_there = |pack: &ObjectName| catalogue.packs.iter().any(|listed| listed.name.object() == *pack);
            report.damaged.retain(|object| PackName::of(object).is_none() || is_there(object));
            for batch in failed.chunks(BATCH) {
                pull.batch(batch)?;
            }
        }
        Ok(pull.finish())
    }
}

/// What [`StoreState::fetch_records`] found.
pub(super) struct FetchedRecords {
    /// Each key with its record, or why there is none.
    pub(super) records: Vec<(Key, Result<FetchedRecord, TransferFailure>)>,
    /// Packs with damaged records.
    pub(super) damaged: BTreeSet<ObjectName>,
}

/// A record of the remote.
#[derive(Clone)]
pub(super) struct FetchedRecord {
    pub(super) record: Record,
    /// Whether the store has the record already.
    pub(super) exists: bool,
}

impl Transfer<'_> {
    fn batch(&mut self, keys: &[Key]) -> Result<()> {
        let fetched = self.store.fetch_records(keys, &self.catalogue, self.remote)?;
        self.report.damaged.extend(fetched.damaged);
        let (mut records, mut known) = (Vec::new(), BTreeSet::new());
        for (key, fetched) in fetched.records {
            match fetched {
                Ok(FetchedRecord { record, exists }) => {
                    records.push(record);
                    known.extend(exists.then_some(key));
                }
                Err(failure) => self.report.add_problem(key, failure),
            }
        }
        self.blobs(&records)?;
        records.retain(|record| self.is_complete(record));
        let lost = self.store.add_durably(&records, &known)?;
        for record in &records {
            match lost.get(&record.key) {
                Some(blob) => self.report.add_problem(record.key, TransferFailure::MissingBlob(*blob)),
                None if known.contains(&record.key) => self.report.unchanged_records += 1,
                None => self.report.records += 1,
            }
        }
        Ok(())
    }

    /// Copies all blobs of the records that the store does not have.
    fn blobs(&mut self, records: &[Record]) -> Result<()> {
        self.failed.clear();
        let catalogue = Arc::clone(&self.catalogue);
        let (store, remote) = (self.store, self.remote);
        let files = distinct_blobs(records);
        let exists = parallel::map(&files, remote.concurrent_requests(), |file| store.reuse_blob(file))?;
        let missing = files.into_iter().zip(exists).filter(|(_, exists)| !exists).map(|(file, _)| file);
        let missing: Vec<&FileEntry> = missing.collect();
        self.total += missing.iter().map(|file| file.size).sum::<u64>();
        let place = |file: &&FileEntry| catalogue.blob(&file.digest).cloned();
        let (packed, mut single): (Vec<_>, Vec<_>) = missing.into_iter().partition(|file| place(file).is_some());
        let packed: Vec<(Place, &FileEntry)> =
            packed.into_iter().filter_map(|file| Some((place(&file)?, file))).collect();
        let requests = catalogue.requests(packed);
        let damaged = Mutex::new(Vec::new());
        let mut pulled = parallel::map(&requests, remote.concurrent_requests(), |request| {
            let mut copied = Vec::new();
            request.fetch(remote, |file, bytes| {
                if store.accept_blob(file, bytes)? {
                    self.advance(file.size);
                    copied.push((*file, BlobTransfer::Copied));
                } else {
                    poison::lock(&damaged).push((request.object.clone(), *file));
                }
                Ok(())
            })?;
            Ok(copied)
        })?
        .concat();
        for (pack, file) in poison::ignore(damaged.into_inner()) {
            self.report.damaged.insert(pack);
            // Perhaps somebody has sent it by itself.
            single.push(file);
        }
        let transfers = parallel::map(&single, remote.concurrent_requests(), |file| {
            let mut transfer = store.pull_blob(file, remote)?;
            if matches!(transfer, BlobTransfer::Failed(_)) && place(file).is_some() {
                transfer = BlobTransfer::Failed(TransferFailure::DamagedBlob(file.digest));
            }
            self.advance(file.size);
            Ok((*file, transfer))
        })?;
        pulled.extend(transfers);
        for (file, transfer) in pulled {
            if matches!(transfer, BlobTransfer::Failed(TransferFailure::DamagedBlob(_))) && place(&file).is_none() {
                self.report.damaged.insert(ObjectName::blob(&file.digest));
            }
            self.note_blob(file, transfer);
        }
        Ok(())
    }
}

impl StoreState {
    /// Gets the records of `keys` from the remote and verifies them: with few requests those in packs, with one each the others.
    pub(super) fn fetch_records(
        &self,
        keys: &[Key],
        catalogue: &Catalogue,
        remote: &dyn Remote,
    ) -> Result<FetchedRecords> {
        let place = |key: &Key| catalogue.record(key).map(|(place, _)| place.clone());
        let (packed, single): (Vec<Key>, Vec<Key>) = keys.iter().partition(|key| place(key).is_some());
        let requests = catalogue.requests(packed.iter().filter_map(|key| Some((place(key)?, *key))).collect());
        let mut damaged = BTreeSet::new();
        let fetched = parallel::map(&requests, remote.concurrent_requests(), |request| {
            let mut records = Vec::new();
            request.fetch(remote, |key, bytes| {
                records.push((*key, self.accept_record(key, bytes)?));
                Ok(())
            })?;
            Ok(records)
        })?;
        let mut all = Vec::with_capacity(keys.len());
        for (request, records) in requests.iter().zip(fetched) {
            let is_damaged = |(_, fetched): &(Key, _)| matches!(fetched, Err(TransferFailure::DamagedRecord));
            damaged.extend(records.iter().any(is_damaged).then(|| request.object.clone()));
            all.extend(records);
        }
        let names: Vec<ObjectName> = single.iter().map(ObjectName::record).collect();
        let mut sizes = listed_sizes(remote, "records", &names)?.map(Vec::into_iter);
        let (present, absent): (Vec<Key>, Vec<Key>) =
            single.into_iter().partition(|_| sizes.as_mut().is_none_or(|sizes| sizes.next().flatten().is_some()));
        all.extend(absent.into_iter().map(|key| (key, Err(TransferFailure::NoRecord))));
        all.extend(parallel::map(&present, remote.concurrent_requests(), |key| {
            let fetched = match remote.get(&ObjectName::record(key))? {
                Some(bytes) => self.accept_record(key, &bytes)?,
                None => Err(TransferFailure::NoRecord),
            };
            Ok((*key, fetched))
        })?);
        Ok(FetchedRecords { records: all, damaged })
    }

    /// Verifies the bytes of a record that the remote has sent.
    fn accept_record(&self, key: &Key, bytes: &[u8]) -> Result<Result<FetchedRecord, TransferFailure>> {
        let Some(record) = Record::decode(key, bytes) else { return Ok(Err(TransferFailure::DamagedRecord)) };
        match self.intact_outputs(key)? {
            Some((outputs, _)) if outputs != record.outputs => Ok(Err(TransferFailure::NotReproducible)),
            own => Ok(Ok(FetchedRecord { record, exists: own.is_some() })),
        }
    }

    /// Whether the store has an intact blob, which gc then keeps as long as this process lives.
    fn reuse_blob(&self, file: &FileEntry) -> Result<bool> {
        let Some((_, metadata)) = self.blob_metadata(&file.digest)? else { return Ok(false) };
        // A blob that is not durable may have lost its bytes in a system crash, so it is hashed.
        let is_durable = metadata.len() == file.size && Seal::of(&metadata, &file.digest) == Seal::Durable;
        let is_intact = is_durable || self.is_verified(&file.digest, &metadata);
        if !is_intact && !matches!(self.hash_blob(&file.digest)?, Blob::Present(_)) {
            return Ok(false);
        }
        let _lock = self.lock_for_adding()?;
        let found = self.blob_metadata(&file.digest)?.filter(|(_, metadata)| self.is_unchanged(file, metadata));
        let Some((path, metadata)) = found else { return Ok(false) };
        renew_seal(&path, &metadata, &file.digest)?;
        Ok(true)
    }

    /// Verifies the bytes of a blob that the remote has sent in a pack, and moves them into the store. They are not yet durable. Returns
    /// `false` if they are damaged.
    fn accept_blob(&self, file: &FileEntry, bytes: &[u8]) -> Result<bool> {
        if bytes.len() as u64 != file.size || Digest::of(bytes) != file.digest {
            return Ok(false);
        }
        let path = self.disk.write_temporary("pull", bytes)?;
        let blob = File::open(&path).map_err(CacheError::io("open", &path))?;
        let stamp = protect(&blob, &file.digest).map_err(CacheError::io("seal", &path))?;
        let _lock = self.lock_for_adding()?;
        self.move_in_blob(&file.digest, &path, stamp)?;
        Ok(true)
    }

    /// Copies a blob from the remote, verifies it, and moves it into the store. It is not yet durable.
    fn pull_blob(&self, file: &FileEntry, remote: &dyn Remote) -> Result<BlobTransfer> {
        let digest = &file.digest;
        let path = self.disk.session().path("pull");
        if !remote.get_to_file(&ObjectName::blob(digest), &path)? {
            return self.pull_dropped_mark(digest, remote);
        }
        let blob = File::open(&path).map_err(CacheError::io("open", &path))?;
        let size = blob.metadata().map_err(CacheError::io("read", &path))?.len();
        if size != file.size || Digest::of_open_file(&blob, &path)? != *digest {
            fs::remove_file(&path).map_err(CacheError::io("remove", &path))?;
            return Ok(BlobTransfer::Failed(TransferFailure::DamagedBlob(*digest)));
        }
        let stamp = protect(&blob, digest).map_err(CacheError::io("seal", &path))?;
        let _lock = self.lock_for_adding()?;
        self.move_in_blob(digest, &path, stamp)?;
        Ok(BlobTransfer::Copied)
    }

    /// For a blob that is not in the remote: marks it as dropped if the remote does so.
    fn pull_dropped_mark(&self, digest: &Digest, remote: &dyn Remote) -> Result<BlobTransfer> {
        let mark = ObjectName::dropped(digest);
        if remote.get(&mark)?.is_none() {
            return Ok(BlobTransfer::Failed(TransferFailure::MissingBlob(*digest)));
        }
        let _lock = self.lock_for_adding()?;
        if self.blob_metadata(digest)?.is_none() && !self.is_dropped(digest)? {
            self.disk.put(&mark, b"")?;
        }
        Ok(BlobTransfer::NotNeeded)
    }

    /// Makes the blobs of the records durable, and then adds the records whose keys are not in `known`. Returns the keys of
    /// records that could not be added, because the blob was removed meanwhile.
    pub(super) fn add_durably(&self, records: &[Record], known: &BTreeSet<Key>) -> Result<BTreeMap<Key, Digest>> {
        // No rayon from here on: a thread that waits for others may run a job that needs this lock.
        let _lock = self.lock_for_adding()?;
        let (mut blobs, mut lost) = (BTreeMap::<Digest, UnsyncedBlob>::new(), BTreeMap::new());
        let (mut added, mut bytes) = (Vec::new(), Vec::new());
        for record in records {
            match self.blobs_to_sync(record, true) {
                Ok(unsynced) => blobs.extend(unsynced.into_iter().map(|blob| (blob.digest, blob))),
                Err(CacheError::Absent { digest }) => {
                    lost.insert(record.key, digest);
                    continue;
                }
                Err(error) => return Err(error),
            }
            if !known.contains(&record.key) {
                added.push(record.key);
                bytes.extend(record.encode());
            }
        }
        let root = self.disk.root();
        durable::sync_with_names(root, &blobs.values().map(|blob| blob.path.as_path()).collect::<Vec<&Path>>())?;
        blobs.values().try_for_each(UnsyncedBlob::seal_durable)?;
        if !added.is_empty() {
            self.pack.add(&bytes, added, clock::now())?;
            durable::sync_with_names(root, &[self.pack.path()])?;
        }
        Ok(lost)
    }
}
