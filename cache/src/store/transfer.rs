//! `cache push` and `pull`: records and their blobs to another backend and back.

use std::fs::{self, File};

use rayon::prelude::*;

use super::lookup::Blob;
use super::seal::protect;
use super::{Inner, Store};
use crate::artifact::FileEntry;
use crate::backend::{Backend, ObjectName};
use crate::digest::{Digest, Key};
use crate::error::{CacheError, Result};
use crate::record::Record;

/// What was copied. What the other side had already is not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransferReport {
    /// The keys whose records are on the other side now.
    pub records: Vec<Key>,
    /// The keys that could not be copied whole: no record, or a blob of it missing or damaged.
    pub missing: Vec<Key>,
    /// Blobs that were copied.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Store {
    /// Copies the records of `keys` and all their blobs to `to`: blobs first, verified before they leave.
    pub fn push(&self, keys: &[Key], to: &dyn Backend) -> Result<TransferReport> {
        let pushed = keys.par_iter().map(|key| {
            let Some((record, _)) = self.inner.sound_record(key)? else { return Ok(Copied::missing(*key)) };
            let blobs = record.files().map(|file| self.inner.push_blob(file, to)).collect::<Result<Vec<_>>>()?;
            let copied = Copied::of(*key, blobs);
            if copied.whole && to.size(&ObjectName::record(key))?.is_none() {
                to.put(&ObjectName::record(key), &record.encode())?;
            }
            Ok(copied)
        });
        Ok(report(pushed.collect::<Result<_>>()?))
    }

    /// Copies the records of `keys` and all their blobs from `from`: blobs first, each verified on arrival. Returns when all
    /// of it is durable.
    ///
    /// A key that another process is computing right now is waited for; `cancelled` ends the wait.
    pub fn pull(
        &self,
        keys: &[Key],
        from: &dyn Backend,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<TransferReport> {
        let pulled = keys.par_iter().map(|key| {
            let name = ObjectName::record(key);
            let record = from.get(&name)?.and_then(|bytes| Record::decode(key, &bytes));
            let Some(record) = record else { return Ok(Copied::missing(*key)) };
            let blobs = record.files().map(|file| self.inner.pull_blob(file, from)).collect::<Result<Vec<_>>>()?;
            let copied = Copied::of(*key, blobs);
            // The record is committed again if blobs came: that makes them durable.
            if copied.whole && (copied.blobs > 0 || self.record(key)?.is_none()) {
                let claim = self.claim(key, cancelled, &mut |_| ())?;
                self.commit(claim, record)?;
            }
            Ok(copied)
        });
        let pulled = pulled.collect::<Result<_>>();
        self.flush()?;
        Ok(report(pulled?))
    }
}

impl Inner {
    fn push_blob(&self, file: &FileEntry, to: &dyn Backend) -> Result<Arrival> {
        let name = ObjectName::blob(&file.digest);
        if to.size(&name)? == Some(file.size) {
            return Ok(Arrival::Before);
        }
        match self.blob(&file.digest)? {
            Blob::Present(path) => to.put_file(&name, &path).map(|()| Arrival::Now(file.size)),
            Blob::Missing | Blob::Rotten => Ok(Arrival::Never),
        }
    }

    fn pull_blob(&self, file: &FileEntry, from: &dyn Backend) -> Result<Arrival> {
        if self.is_present(file)? {
            return Ok(Arrival::Before);
        }
        let path = self.disk.session().path("pull");
        if !from.get_file(&ObjectName::blob(&file.digest), &path)? {
            return Ok(Arrival::Never);
        }
        let blob = File::open(&path).map_err(CacheError::io("open", &path))?;
        if Digest::of_open_file(&blob, &path)? != file.digest {
            fs::remove_file(&path).map_err(CacheError::io("remove", &path))?;
            return Ok(Arrival::Never);
        }
        let stamp = protect(&blob, &file.digest).map_err(CacheError::io("seal", &path))?;
        let _adding = self.adding()?;
        self.disk.adopt(&ObjectName::blob(&file.digest), &path)?;
        self.believe(&file.digest, stamp);
        Ok(Arrival::Now(file.size))
    }
}

/// When a blob came to the other side.
enum Arrival {
    Before,
    Now(u64),
    Never,
}

/// What became of one key.
struct Copied {
    key: Key,
    whole: bool,
    blobs: u64,
    bytes: u64,
}

impl Copied {
    fn missing(key: Key) -> Self {
        Self { key, whole: false, blobs: 0, bytes: 0 }
    }

    fn of(key: Key, arrivals: Vec<Arrival>) -> Self {
        let mut copied = Self { key, whole: true, blobs: 0, bytes: 0 };
        for arrival in arrivals {
            match arrival {
                Arrival::Before => {}
                Arrival::Now(bytes) => (copied.blobs, copied.bytes) = (copied.blobs + 1, copied.bytes + bytes),
                Arrival::Never => copied.whole = false,
            }
        }
        copied
    }
}

fn report(copied: Vec<Copied>) -> TransferReport {
    let mut report = TransferReport::default();
    for Copied { key, whole, blobs, bytes } in copied {
        if whole {
            report.records.push(key)
        } else {
            report.missing.push(key)
        }
        report.blobs += blobs;
        report.bytes += bytes;
    }
    report
}
