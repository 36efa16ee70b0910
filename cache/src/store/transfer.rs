//! Report of a transfer to or from a remote.

use std::collections::BTreeSet;
use std::fmt;

use crate::digest::{Digest, Key};
use crate::object::ObjectName;

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
