//! A transfer to or from a remote: what push and pull share, and its report.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::catalogue::Catalogue;
use super::state::StoreState;
use crate::artifact::FileEntry;
use crate::digest::{Digest, Key};
use crate::error::Result;
use crate::object::ObjectName;
use crate::record::Record;
use crate::remote::Remote;

/// A push or a pull that is under way.
pub(super) struct Transfer<'a> {
    pub(super) store: &'a StoreState,
    pub(super) remote: &'a dyn Remote,
    /// The packs when it began.
    pub(super) catalogue: Arc<Catalogue>,
    progress: &'a (dyn Fn(u64, u64) + Sync),
    done: AtomicU64,
    /// Number of bytes to copy, as far as known.
    pub(super) total: u64,
    /// Blobs that could not be copied.
    pub(super) failed: BTreeMap<Digest, TransferFailure>,
    pub(super) report: TransferReport,
}

impl<'a> Transfer<'a> {
    /// Begins with a remote that the caller has checked.
    pub(super) fn begin(
        store: &'a StoreState,
        remote: &'a dyn Remote,
        progress: &'a (dyn Fn(u64, u64) + Sync),
    ) -> Result<Self> {
        let (catalogue, failed, report) = (store.catalogue(remote)?, BTreeMap::new(), TransferReport::default());
        Ok(Self { store, remote, catalogue, progress, done: AtomicU64::new(0), total: 0, failed, report })
    }

    /// Reports the progress after `size` further bytes.
    pub(super) fn advance(&self, size: u64) {
        (self.progress)(self.done.fetch_add(size, Ordering::Relaxed) + size, self.total);
    }

    /// Counts what happened to a blob.
    pub(super) fn note_blob(&mut self, file: &FileEntry, transfer: BlobTransfer) {
        match transfer {
            BlobTransfer::Copied => {
                self.report.blobs += 1;
                self.report.bytes += file.size;
            }
            BlobTransfer::NotNeeded => {}
            BlobTransfer::Failed(failure) => drop(self.failed.insert(file.digest, failure)),
        }
    }

    /// Whether all blobs of a record were transferred. If not, that is its problem.
    pub(super) fn is_complete(&mut self, record: &Record) -> bool {
        let failure = record.files().find_map(|file| self.failed.get(&file.digest));
        failure.inspect(|failure| self.report.add_problem(record.key, (*failure).clone())).is_none()
    }

    /// The report, in order.
    pub(super) fn finish(mut self) -> TransferReport {
        self.report.problems.sort_unstable();
        self.report.damaged.extend(self.catalogue.damaged.iter().cloned());
        self.report
    }
}

/// Result of [`Store::push`](super::Store::push) or [`Store::pull`](super::Store::pull).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransferReport {
    /// Number of records that were copied.
    pub records: u64,
    /// Number of records that the destination already had.
    pub unchanged_records: u64,
    /// Number of blobs that were copied.
    pub blobs: u64,
    /// Total size of the copied blobs in bytes.
    pub bytes: u64,
    /// What could not be transferred, in the order of the keys.
    pub problems: Vec<TransferProblem>,
    /// Objects of the remote that are damaged and that a push does not replace by itself.
    pub damaged: BTreeSet<ObjectName>,
}

/// A record that could not be transferred.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransferProblem {
    /// The record's key.
    pub key: Key,
    /// Why it could not be transferred.
    pub failure: TransferFailure,
}

/// Why a record could not be transferred.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransferFailure {
    /// The source has no record of the key.
    NoRecord,
    /// The source's record is damaged.
    DamagedRecord,
    /// The source does not have this blob.
    MissingBlob(Digest),
    /// The source's blob does not match its digest.
    DamagedBlob(Digest),
    /// The destination has a record of the same key with other outputs. It was not changed.
    NotReproducible,
}

impl fmt::Display for TransferFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecord => f.write_str("there is no record of it"),
            Self::DamagedRecord => f.write_str("its record is damaged"),
            Self::MissingBlob(digest) => write!(f, "its blob `{}` is missing", digest.short()),
            Self::DamagedBlob(digest) => write!(f, "its blob `{}` is damaged", digest.short()),
            Self::NotReproducible => f.write_str(
                "not reproducible: the store and the remote have different outputs for the same key; neither was changed",
            ),
        }
    }
}

impl TransferReport {
    pub(super) fn add_problem(&mut self, key: Key, failure: TransferFailure) {
        self.problems.push(TransferProblem { key, failure });
    }
}

/// What happened to one blob.
#[derive(Clone, Debug)]
pub(super) enum BlobTransfer {
    /// The blob was copied.
    Copied,
    /// The destination already had the blob, or it was dropped and the destination knows this now.
    NotNeeded,
    /// The blob could not be copied.
    Failed(TransferFailure),
}
