//! Blobs of an open store: whether they are there, and whether their bytes are intact.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

use super::seal::{Seal, Stamp, protect};
use super::state::StoreState;
use crate::artifact::FileEntry;
use crate::digest::Digest;
use crate::error::{CacheError, Result, found};
use crate::object::ObjectName;
use crate::poison;
use crate::record::Record;

/// Result of looking up the bytes of a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blob {
    /// The bytes are in this file and have been verified.
    Present(PathBuf),
    /// The blob is not in the store.
    Missing,
    /// The blob's bytes did not match the digest. The file is in quarantine now.
    Damaged,
}

impl StoreState {
    /// Whether a blob is present. Trusts an unbroken seal and hashes the bytes otherwise.
    pub(super) fn is_present(&self, file: &FileEntry) -> Result<bool> {
        match self.blob_metadata(&file.digest)? {
            None => Ok(false),
            Some((_, metadata)) if self.is_unchanged(file, &metadata) => Ok(true),
            Some(_) => Ok(matches!(self.hash_blob(&file.digest)?, Blob::Present(_))),
        }
    }

    /// Whether the blob has not been written to since it was hashed.
    pub(super) fn is_unchanged(&self, file: &FileEntry, metadata: &Metadata) -> bool {
        let sealed = metadata.len() == file.size && Seal::of(metadata, &file.digest) > Seal::Broken;
        sealed || self.is_verified(&file.digest, metadata)
    }

    /// Whether this process has hashed the blob.
    pub(super) fn is_verified(&self, digest: &Digest, metadata: &Metadata) -> bool {
        self.verified().get(digest) == Some(&Stamp::of(metadata))
    }

    /// Finds a blob. Its bytes are hashed unless this process has done so before.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Blob> {
        match self.blob_metadata(digest)? {
            None => Ok(Blob::Missing),
            Some((path, metadata)) if self.is_verified(digest, &metadata) => Ok(Blob::Present(path)),
            Some(_) => self.hash_blob(digest),
        }
    }

    /// Like [`StoreState::blob`], but always hashes the bytes.
    pub(super) fn hash_blob(&self, digest: &Digest) -> Result<Blob> {
        let path = self.disk.path(&ObjectName::blob(digest));
        let Some(file) = found(File::open(&path)).map_err(CacheError::io("open", &path))? else {
            return Ok(Blob::Missing);
        };
        let metadata = file.metadata().map_err(CacheError::io("read", &path))?;
        if Digest::of_open_file(&file, &path)? != *digest {
            self.quarantine_unless_replaced(ObjectName::blob(digest), Stamp::of(&metadata))?;
            return Ok(Blob::Damaged);
        }
        let stamp = match Seal::of(&metadata, digest) {
            Seal::Broken => protect(&file, digest).map_err(CacheError::io("seal", &path))?,
            Seal::Verified | Seal::Durable => Stamp::of(&metadata),
        };
        self.note_verified(digest, stamp);
        Ok(Blob::Present(path))
    }

    /// Moves a sealed, private file into the store as the blob `digest`. The caller holds
    /// [`StoreState::lock_for_adding`]. The blob is not yet durable.
    pub(super) fn move_in_blob(&self, digest: &Digest, file: &Path, stamp: Stamp) -> Result<()> {
        self.disk.move_in(&ObjectName::blob(digest), file)?;
        // The blob is no longer dropped: if it is missing later, it was lost.
        self.disk.remove(&ObjectName::dropped(digest))?;
        self.note_verified(digest, stamp);
        Ok(())
    }

    /// Notes that this process has hashed the blob.
    fn note_verified(&self, digest: &Digest, stamp: Stamp) {
        self.verified().insert(*digest, stamp);
    }

    fn verified(&self) -> MutexGuard<'_, HashMap<Digest, Stamp>> {
        poison::lock(&self.verified)
    }

    /// The path and metadata of a blob, or `None` if it does not exist.
    pub(super) fn blob_metadata(&self, digest: &Digest) -> Result<Option<(PathBuf, Metadata)>> {
        let path = self.disk.path(&ObjectName::blob(digest));
        let metadata = found(fs::metadata(&path)).map_err(CacheError::io("read", &path))?;
        Ok(metadata.map(|metadata| (path, metadata)))
    }

    /// Whether the blob was dropped deliberately.
    pub(super) fn is_dropped(&self, digest: &Digest) -> Result<bool> {
        Ok(self.disk.size(&ObjectName::dropped(digest))?.is_some())
    }

    /// The blobs of a record that may not be durable yet.
    ///
    /// # Errors
    /// [`CacheError::Absent`] if a blob is missing or has been written to. With `allow_dropped`, a dropped blob may be missing.
    pub(super) fn blobs_to_sync(&self, record: &Record, allow_dropped: bool) -> Result<Vec<UnsyncedBlob>> {
        let mut blobs = Vec::new();
        for file in record.files() {
            let blob = self.blob_metadata(&file.digest)?.filter(|(_, metadata)| self.is_unchanged(file, metadata));
            let Some((path, metadata)) = blob else {
                if allow_dropped && self.is_dropped(&file.digest)? {
                    continue;
                }
                return Err(CacheError::Absent { digest: file.digest });
            };
            if Seal::of(&metadata, &file.digest) < Seal::Durable {
                blobs.push(UnsyncedBlob { path, metadata, digest: file.digest });
            }
        }
        Ok(blobs)
    }
}

/// A blob that may not be durable yet.
pub(super) struct UnsyncedBlob {
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
    metadata: Metadata,
}

impl UnsyncedBlob {
    /// Notes in the blob's seal that its bytes are durable.
    pub(super) fn seal_durable(&self) -> Result<()> {
        Seal::Durable.set(&self.path, &self.metadata, &self.digest).map_err(CacheError::io("seal", &self.path))
    }
}

/// Seals a blob again, which updates its change time: gc keeps everything that changed since the oldest living process began.
pub(super) fn renew_seal(path: &Path, metadata: &Metadata, digest: &Digest) -> Result<()> {
    let seal = Seal::of(metadata, digest).max(Seal::Verified);
    seal.set(path, metadata, digest).map_err(CacheError::io("seal", path))
}
