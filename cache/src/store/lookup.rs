//! Lookup: records by key, blobs by digest.

use std::time::{Duration, SystemTime};

use super::blobs::Blob;
use super::handle::Store;
use crate::artifact::Artifact;
use crate::digest::{Digest, Key};
use crate::error::Result;
use crate::record::{Outputs, Record};

/// The use of a record is noted in the pack at most this often, to keep lookups cheap.
pub(super) const USE_NOTE_INTERVAL: Duration = Duration::from_secs(3600);

impl Store {
    /// The record of `key`, or `None` if there is none. A damaged record is quarantined and counts as absent.
    ///
    /// The record's blobs may be missing; see [`Store::present`].
    pub fn record(&self, key: &Key) -> Result<Option<Record>> {
        if let Some(record) = self.committer.pending(key) {
            return Ok(Some(record));
        }
        let found = self.state.intact_record(key)?;
        Ok(found.map(|(record, used)| self.note_use(key, used, record)))
    }

    /// The outputs of [`Store::record`]. This is faster, and all that a run needs for the thousands of nodes that are hits.
    pub fn outputs(&self, key: &Key) -> Result<Option<Outputs>> {
        if let Some(record) = self.committer.pending(key) {
            return Ok(Some(record.outputs));
        }
        let found = self.state.intact_outputs(key)?;
        Ok(found.map(|(outputs, used)| self.note_use(key, used, outputs)))
    }

    /// Notes for gc that the record was used, unless a recent use is noted already.
    fn note_use<T>(&self, key: &Key, last_noted: SystemTime, found: T) -> T {
        if self.state.opened.duration_since(last_noted).is_ok_and(|age| age > USE_NOTE_INTERVAL) {
            self.committer.note_use(*key);
        }
        found
    }

    /// Whether all blobs of the artifact are in the store. A blob is hashed only if it may have been written to.
    pub fn present(&self, artifact: &Artifact) -> Result<bool> {
        for file in artifact.files() {
            if !self.state.is_present(file)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The file with the bytes of `digest`, for reading or memory-mapping. The bytes are hashed the first time that this
    /// process asks for them, and again only if the file has changed since.
    pub fn blob(&self, digest: &Digest) -> Result<Blob> {
        self.state.blob(digest)
    }
}
