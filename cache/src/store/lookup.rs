//! What is there: records by key, blobs by digest.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::path::PathBuf;
use std::sync::MutexGuard;
use std::time::{Duration, SystemTime};

use super::seal::{Seal, Stamp, protect};
use super::{Inner, Store};
use crate::artifact::{Artifact, FileEntry};
use crate::backend::ObjectName;
use crate::digest::{Digest, Key};
use crate::error::{CacheError, Result, found};
use crate::record::{Outputs, Record};

/// The use of a record is noted in the pack at most this often, since looking up must be cheap.
pub(super) const USE_IS_NOTED_EVERY: Duration = Duration::from_secs(3600);

/// The answer to "where are the bytes of this digest".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blob {
    /// They are in this file, and have been verified.
    Present(PathBuf),
    /// They are not in the store.
    Missing,
    /// They were, but not as they should be; the file is in quarantine now.
    Rotten,
}

impl Store {
    /// The record of `key`, if there is one; a damaged record is set aside and counts as absent.
    ///
    /// That its blobs are there is another question: [`Store::present`].
    pub fn record(&self, key: &Key) -> Result<Option<Record>> {
        if let Some(record) = self.committer.pending(key) {
            return Ok(Some(record));
        }
        let found = self.inner.sound_record(key)?;
        Ok(found.map(|(record, used)| self.used(key, used, record)))
    }

    /// The outputs of [`Store::record`]: all that a run needs of each of thousands of nodes that have one.
    pub fn outputs(&self, key: &Key) -> Result<Option<Outputs>> {
        if let Some(record) = self.committer.pending(key) {
            return Ok(Some(record.outputs));
        }
        let found = self.inner.sound(key, Record::decode_outputs)?;
        Ok(found.map(|(outputs, used)| self.used(key, used, outputs)))
    }

    /// Notes for gc that what was found is in use.
    fn used<T>(&self, key: &Key, noted: SystemTime, found: T) -> T {
        if self.inner.opened.duration_since(noted).is_ok_and(|age| age > USE_IS_NOTED_EVERY) {
            self.committer.note_use(*key);
        }
        found
    }

    /// Whether all bytes of the artifact are in the store. Blobs are hashed only if somebody has written to them.
    pub fn present(&self, artifact: &Artifact) -> Result<bool> {
        for file in artifact.files() {
            if !self.inner.is_present(file)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The file that holds the bytes of `digest`, for reading or memory-mapping. The bytes are hashed before the first
    /// answer of this process, and again only if the file has changed since.
    pub fn blob(&self, digest: &Digest) -> Result<Blob> {
        self.inner.blob(digest)
    }
}

impl Inner {
    /// Reads a record and sets it aside if it is damaged. Does not count as use.
    pub(super) fn sound_record(&self, key: &Key) -> Result<Option<(Record, SystemTime)>> {
        self.sound(key, Record::decode)
    }

    fn sound<T>(&self, key: &Key, decode: impl Fn(&Key, &[u8]) -> Option<T>) -> Result<Option<(T, SystemTime)>> {
        match self.pack.get(key, |bytes| decode(key, bytes))? {
            None => Ok(None),
            Some((Some(found), used)) => Ok(Some((found, used))),
            Some((None, _)) => self.set_aside_damaged_records().map(|_| None),
        }
    }

    /// Whether a blob is there, by its seal if that holds and by its bytes if not.
    pub(super) fn is_present(&self, file: &FileEntry) -> Result<bool> {
        match self.blob_metadata(&file.digest)? {
            None => Ok(false),
            Some((_, metadata)) if self.is_believed(file, &metadata) => Ok(true),
            Some(_) => Ok(matches!(self.hash_blob(&file.digest)?, Blob::Present(_))),
        }
    }

    /// Whether nobody has written to the blob since somebody hashed it.
    pub(super) fn is_believed(&self, file: &FileEntry, metadata: &Metadata) -> bool {
        let sealed = metadata.len() == file.size && Seal::of(metadata, &file.digest) > Seal::Broken;
        sealed || self.is_verified(&file.digest, metadata)
    }

    /// Whether this process itself has hashed the blob.
    pub(super) fn is_verified(&self, digest: &Digest, metadata: &Metadata) -> bool {
        self.verified().get(digest) == Some(&Stamp::of(metadata))
    }

    pub(super) fn blob(&self, digest: &Digest) -> Result<Blob> {
        match self.blob_metadata(digest)? {
            None => Ok(Blob::Missing),
            Some((path, metadata)) if self.is_verified(digest, &metadata) => Ok(Blob::Present(path)),
            Some(_) => self.hash_blob(digest),
        }
    }

    /// As [`Inner::blob`], but always by the bytes.
    pub(super) fn hash_blob(&self, digest: &Digest) -> Result<Blob> {
        let path = self.disk.path(&ObjectName::blob(digest));
        let Some(file) = found(File::open(&path)).map_err(CacheError::io("open", &path))? else {
            return Ok(Blob::Missing);
        };
        let metadata = file.metadata().map_err(CacheError::io("read", &path))?;
        if Digest::of_open_file(&file, &path)? != *digest {
            self.quarantine(ObjectName::blob(digest), Stamp::of(&metadata))?;
            return Ok(Blob::Rotten);
        }
        let stamp = match Seal::of(&metadata, digest) {
            Seal::Broken => protect(&file, digest).map_err(CacheError::io("seal", &path))?,
            Seal::Verified | Seal::Durable => Stamp::of(&metadata),
        };
        self.believe(digest, stamp);
        Ok(Blob::Present(path))
    }

    /// Notes that this process has hashed the blob.
    pub(super) fn believe(&self, digest: &Digest, stamp: Stamp) {
        self.verified().insert(*digest, stamp);
    }

    fn verified(&self) -> MutexGuard<'_, HashMap<Digest, Stamp>> {
        self.verified.lock().expect("nothing panics while it holds this lock")
    }

    /// Where a blob lies, if it does.
    pub(super) fn blob_metadata(&self, digest: &Digest) -> Result<Option<(PathBuf, Metadata)>> {
        let path = self.disk.path(&ObjectName::blob(digest));
        let metadata = found(fs::metadata(&path)).map_err(CacheError::io("read", &path))?;
        Ok(metadata.map(|metadata| (path, metadata)))
    }
}
