//! Store handle: opening a store, claiming keys and committing records.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, io};

use tempfile::TempDir;

use super::claim::Claim;
use super::committer::Committer;
use super::format::{FORMAT, read_format, write_format};
use super::state::StoreState;
use super::upgrade::{self, upgrade};
use crate::digest::Key;
use crate::disk::Disk;
use crate::error::{CacheError, Result};
use crate::index::Index;
use crate::object::ObjectName;
use crate::poison;
use crate::record::Record;

/// What a folder may contain that is only partly set up as a store.
const STORE_ENTRIES: [&str; 12] = [
    "format",
    "records",
    "blobs",
    "dropped",
    "quarantine",
    "tmp",
    "claims",
    "scratch",
    "packs",
    "roots",
    "index",
    "lock",
];

/// A store in one folder. Threads share it by reference; each process opens it for itself.
///
/// Dropping the store waits for its commits but cannot report their errors, so call [`Store::flush`] before.
#[derive(Debug)]
pub struct Store {
    pub(super) state: Arc<StoreState>,
    pub(super) committer: Committer,
    /// Removed after everything else.
    _temporary: Option<TempDir>,
}

impl Store {
    /// Opens the store in `root` and creates it if it does not exist. A store of an older format is upgraded.
    ///
    /// # Errors
    /// `root` is not a folder, cannot be written to, is neither empty nor a store, or contains a store of a newer format.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        prepare(&root).map_err(|error| read_only_if_denied(error, &root))?;
        let disk = Disk::open(&root).map_err(|error| read_only_if_denied(error, &root))?;
        let state = Arc::new(StoreState::new(disk));
        Ok(Self { committer: Committer::new(Arc::clone(&state)), state, _temporary: None })
    }

    /// Opens the store in `root`. If `root` does not exist, it is not created: the store is then an empty one in a temporary
    /// folder, which is removed with it.
    ///
    /// # Errors
    /// See [`Store::open`], or there is no place for temporary folders.
    pub fn open_or_empty(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        if root.try_exists().map_err(CacheError::io("find", &root))? {
            return Self::open(root);
        }
        let temporary = tempfile::tempdir().map_err(CacheError::io("create a folder in", env::temp_dir()))?;
        let store = Self::open(temporary.path())?;
        Ok(Self { _temporary: Some(temporary), ..store })
    }

    /// What the folder `root` is. Nothing is created or upgraded.
    ///
    /// # Errors
    /// The `format` file cannot be read.
    pub fn format_of(root: &Path) -> Result<StoreFormat> {
        Ok(match read_format(root)? {
            None => StoreFormat::Absent,
            Some(format) if format == FORMAT => StoreFormat::Current(format),
            Some(format) if upgrade::OLDER_FORMATS.contains(&format.as_str()) => StoreFormat::Older(format),
            Some(format) => StoreFormat::Unknown(format),
        })
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        self.state.disk.root()
    }

    /// The index of input files, which is part of the store.
    pub fn index(&self) -> Index {
        Index::new(Arc::clone(&self.state.disk))
    }

    /// The objects that were found damaged and quarantined since the last call, for the caller to report.
    pub fn take_quarantined(&self) -> Vec<ObjectName> {
        std::mem::take(&mut *poison::lock(&self.state.quarantined))
    }

    /// Waits until no other process or thread computes `key`, and claims it. **Look up the record again afterwards**: the
    /// previous holder of the claim has probably committed it.
    ///
    /// `waiting` is called with the process number of the holder, if known, when the wait begins and whenever the holder
    /// changes. `cancelled` is called repeatedly during the wait.
    ///
    /// # Errors
    /// [`CacheError::Cancelled`] once `cancelled` returns true; any other error if the claim's file cannot be created.
    pub fn claim(
        &self,
        key: &Key,
        cancelled: &dyn Fn() -> bool,
        waiting: &mut dyn FnMut(Option<u32>),
    ) -> Result<Claim> {
        self.state.claim(key, cancelled, waiting)
    }

    /// Claims `key`. Returns `None` if it is already claimed.
    pub fn try_claim(&self, key: &Key) -> Result<Option<Claim>> {
        self.state.try_claim(key)
    }

    /// The process number of the claim's holder, if the key is claimed and the number is known.
    pub fn holder(&self, key: &Key) -> Option<u32> {
        self.state.claim_holder(key)
    }

    /// Commits the record that the holder of `claim` computed. This process can look up the record at once, other processes
    /// once it is durable. Until then the claim is kept, so that no one else computes the key; afterwards the key's scratch
    /// folder is removed.
    ///
    /// # Errors
    /// The committing thread cannot be started. Later errors are returned by [`Store::flush`].
    ///
    /// # Panics
    /// The record has another key than the claim.
    pub fn commit(&self, claim: Claim, record: Record) -> Result<()> {
        assert_eq!(*claim.key(), record.key, "a claim only permits to commit the record of its own key");
        self.committer.push(claim, record)
    }

    /// Waits until all commits are durable.
    ///
    /// # Errors
    /// [`CacheError::Commit`] with the keys of all records that failed since the last call, and the first of the errors.
    pub fn flush(&self) -> Result<()> {
        self.committer.flush()
    }

    /// Waits until every commit is durable or has failed. A later [`flush`](Self::flush) still returns the failures: a run learns from
    /// it which nodes are not recorded, whatever else uses the store meanwhile.
    pub(super) fn settle(&self) {
        self.committer.settle();
    }
}

/// What a folder is, as far as its `format` file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreFormat {
    /// Not a store, or not yet.
    Absent,
    /// A store of this version's format.
    Current(String),
    /// A store of an older format, which is upgraded when it is opened.
    Older(String),
    /// A store of a format that this version does not know.
    Unknown(String),
}

/// Makes sure that `root` contains a store of the current format.
fn prepare(root: &Path) -> Result<()> {
    if root.exists() && !root.is_dir() {
        return Err(CacheError::NotAFolder { path: root.to_owned() });
    }
    fs::create_dir_all(root).map_err(CacheError::io("create", root))?;
    match read_format(root)?.as_deref() {
        // A copied store may lack its empty folders.
        Some(FORMAT) => return create_folders(root),
        Some(format) if upgrade::OLDER_FORMATS.contains(&format) => {
            create_folders(root)?;
            return upgrade(root);
        }
        Some(format) => {
            return Err(CacheError::Format { path: root.to_owned(), found: format.to_owned(), known: FORMAT });
        }
        None => {}
    }
    for entry in fs::read_dir(root).map_err(CacheError::io("list", root))? {
        let name = entry.map_err(CacheError::io("list", root))?.file_name();
        if !STORE_ENTRIES.iter().any(|known| name == *known) {
            return Err(CacheError::NotAStore { path: root.to_owned() });
        }
    }
    create_folders(root)?;
    // The format file is written last: a folder that has one is completely set up.
    write_format(&Disk::open(root)?, FORMAT)
}

fn create_folders(root: &Path) -> Result<()> {
    for folder in ["records", "blobs", "claims", "scratch", "index", "tmp"] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).map_err(CacheError::io("create", folder))?;
    }
    let lock = root.join("lock");
    File::options().append(true).create(true).open(&lock).map_err(CacheError::io("create", lock)).map(drop)
}

/// Turns a refusal to write during opening into the error that the whole store is read-only.
fn read_only_if_denied(error: CacheError, root: &Path) -> CacheError {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match error {
        CacheError::Io { source, .. } if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem) => {
            CacheError::ReadOnly { path: root.to_owned(), source }
        }
        other => other,
    }
}
