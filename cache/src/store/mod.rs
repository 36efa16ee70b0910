//! The store: records and blobs in one folder, shared by any number of processes.
//!
//! ```text
//! <root>/format                 the version of all that follows
//!        records/pack           what keys produced, two lines of JSON each (pack.rs)
//!        blobs/a/<digest>       bytes, read-only, sealed (seal.rs)
//!        dropped/a/<digest>     marks of blobs that were dropped on purpose (dropping.rs)
//!        quarantine/…           what was found damaged, under the name it had
//!        tmp/<session>.…        what a living process has not finished
//!        claims/<key>           locked while a process computes the key
//!        scratch/<key>/         what a task keeps across kills, until its record is committed
//!        roots/<digest>         folders whose files name keys (roots.rs)
//!        index/                 digests of unchanged input files (index.rs)
//!        lock                   held shared to add, exclusively to take away
//! ```
//!
//! Invariants. A record never names a blob that was not made durable before it. Nothing is changed in place: blobs come and go
//! by rename, records are added at the pack's end. All that is read is verified; what is damaged moves to `quarantine/` and
//! counts as absent.
//!
//! Reading order: this file, `lookup` (what is there), `claim` and `folders` (before a task), `ingest` and `commit` (after
//! it), then `verify`, `gc`, `ls`, `roots`,
//! `transfer` and `upgrade` (upkeep).

mod claim;
mod commit;
mod dropping;
mod folders;
mod gc;
mod ingest;
mod lookup;
mod ls;
mod roots;
mod seal;
mod transfer;
mod upgrade;
mod verify;

pub use claim::Claim;
pub use folders::TaskFolder;
pub use gc::{GcPolicy, GcReport};
pub use lookup::Blob;
pub use ls::{Listing, RecordEntry};
pub use transfer::TransferReport;
pub use verify::{Dangling, VerifyReport};

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use crate::backend::{Backend, Disk, ObjectName};
use crate::clock;
use crate::digest::{Digest, Key};
use crate::error::{CacheError, Result, found};
use crate::index::Index;
use crate::pack::Pack;
use crate::record::Record;
use commit::Committer;
use seal::Stamp;

/// The line in the `format` file of every store that this version reads and writes.
const FORMAT: &str = "dnc-store 3";

/// What may lie in a folder that is on its way to become a store.
const OWN: [&str; 11] =
    ["format", "records", "blobs", "dropped", "quarantine", "tmp", "claims", "scratch", "roots", "index", "lock"];

/// The store in one folder. Share it between threads by reference; between processes by opening it in each.
///
/// Dropping the store waits for its commits but cannot tell their errors: call [`Store::flush`] before.
#[derive(Debug)]
pub struct Store {
    inner: Arc<Inner>,
    committer: Committer,
}

/// What the committer's thread shares with the store.
#[derive(Debug)]
struct Inner {
    disk: Arc<Disk>,
    pack: Pack,
    opened: SystemTime,
    /// Blobs that this process has hashed, as they were then.
    verified: Mutex<HashMap<Digest, Stamp>>,
    set_aside: Mutex<Vec<ObjectName>>,
    /// Cleared by the first file that the file system cannot clone.
    reflinks: AtomicBool,
}

impl Store {
    /// Opens the store in `root`, which is made if it is not there.
    ///
    /// # Errors
    /// If `root` is not a folder, cannot be written to, is not empty and no store, or holds a store of another format.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        prepare(&root).map_err(|error| explain(error, &root))?;
        let disk = Disk::open(&root).map_err(|error| explain(error, &root))?;
        let inner = Arc::new(Inner {
            pack: Pack::new(disk.path(&ObjectName::pack())),
            disk: Arc::new(disk),
            opened: clock::now(),
            verified: Mutex::default(),
            set_aside: Mutex::default(),
            reflinks: AtomicBool::new(true),
        });
        Ok(Self { committer: Committer::new(Arc::clone(&inner)), inner })
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        self.inner.disk.root()
    }

    /// The index of input files that lies in this store.
    pub fn index(&self) -> Index {
        Index::new(Arc::clone(&self.inner.disk))
    }

    /// The objects that were found damaged and set aside since the last call, for the caller to tell.
    pub fn set_aside(&self) -> Vec<ObjectName> {
        std::mem::take(&mut *self.inner.set_aside.lock().expect("nothing panics while it holds this lock"))
    }
}

impl Inner {
    /// Held while objects are added, so that nobody takes away what they rest on.
    fn adding(&self) -> Result<File> {
        self.locked(File::lock_shared)
    }

    /// Held while objects are taken away.
    fn taking(&self) -> Result<File> {
        self.locked(File::lock)
    }

    fn locked(&self, lock: impl FnOnce(&File) -> io::Result<()>) -> Result<File> {
        let path = self.disk.root().join("lock");
        let file = File::open(&path).map_err(CacheError::io("open", &path))?;
        lock(&file).map_err(CacheError::io("lock", &path))?;
        Ok(file)
    }

    /// Moves an object to quarantine, unless somebody has replaced it since it was `seen`.
    fn quarantine(&self, name: ObjectName, seen: Stamp) -> Result<()> {
        let _taking = self.taking()?;
        let path = self.disk.path(&name);
        let now = found(fs::metadata(&path)).map_err(CacheError::io("read", &path))?;
        if now.is_some_and(|metadata| Stamp::of(&metadata) == seen) { self.set_aside(name) } else { Ok(()) }
    }

    fn set_aside(&self, name: ObjectName) -> Result<()> {
        if self.disk.quarantine(&name)? {
            self.note_set_aside(name);
        }
        Ok(())
    }

    /// Reads the whole pack, moves all that is damaged in it to quarantine, and says how many records were read.
    fn set_aside_damaged_records(&self) -> Result<u64> {
        let _taking = self.taking()?;
        self.pack.forget();
        let mut damaged = HashMap::new();
        let keys = self.pack.keys()?;
        for &(key, _) in &keys {
            let bytes = self.pack.get(&key, |bytes| Record::decode(&key, bytes).is_none().then(|| bytes.to_vec()))?;
            damaged.extend(bytes.and_then(|(bytes, _)| Some((key, bytes?))));
        }
        let strays = self.pack.strays();
        let records = damaged.iter().map(|(key, bytes)| (ObjectName::record(key), bytes));
        for (name, bytes) in records.chain(strays.iter().map(|(place, bytes)| (ObjectName::stray(*place), bytes))) {
            self.disk.put(&name.quarantined(), bytes)?;
            self.note_set_aside(name);
        }
        if !damaged.is_empty() || !strays.is_empty() {
            self.take_away(|key| damaged.contains_key(key))?;
        }
        Ok(keys.len() as u64)
    }

    /// Takes the records of these keys away, and whatever else the pack can do without. The caller holds what
    /// [`Inner::taking`] gives.
    fn take_away(&self, go: impl Fn(&Key) -> bool) -> Result<()> {
        match self.pack.without(go)? {
            Some(bytes) => self.disk.put_open_ended(&ObjectName::pack(), &bytes),
            None => Ok(()),
        }
    }

    fn note_set_aside(&self, name: ObjectName) {
        self.set_aside.lock().expect("nothing panics while it holds this lock").push(name);
    }
}

/// Sees to it that `root` is a store of our format.
fn prepare(root: &Path) -> Result<()> {
    if root.exists() && !root.is_dir() {
        return Err(CacheError::NotAFolder { path: root.to_owned() });
    }
    fs::create_dir_all(root).map_err(CacheError::io("create", root))?;
    match format_of(root)?.as_deref() {
        // Where a store was copied, empty folders may have stayed behind.
        Some(FORMAT) => return make_folders(root),
        Some(line) if upgrade::FROM.contains(&line) => {
            make_folders(root)?;
            return upgrade::upgrade(root);
        }
        Some(line) => {
            return Err(CacheError::Format { path: root.to_owned(), found: line.to_owned(), known: FORMAT });
        }
        None => {}
    }
    for entry in fs::read_dir(root).map_err(CacheError::io("list", root))? {
        let name = entry.map_err(CacheError::io("list", root))?.file_name();
        if !OWN.iter().any(|own| name == *own) {
            return Err(CacheError::NotAStore { path: root.to_owned() });
        }
    }
    make_folders(root)?;
    // The format comes last: a folder that has it has all the rest.
    write_format(&Disk::open(root)?, FORMAT)
}

fn make_folders(root: &Path) -> Result<()> {
    for folder in ["records", "blobs", "claims", "scratch", "index", "tmp"] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).map_err(CacheError::io("create", folder))?;
    }
    let lock = root.join("lock");
    File::options().append(true).create(true).open(&lock).map_err(CacheError::io("create", lock)).map(drop)
}

/// The line in the store's `format` file, if there is one.
fn format_of(root: &Path) -> Result<Option<String>> {
    let format = root.join("format");
    let text = found(fs::read_to_string(&format)).map_err(CacheError::io("read", &format))?;
    Ok(text.map(|text| text.lines().next().unwrap_or_default().trim_end().to_owned()))
}

fn write_format(disk: &Disk, format: &str) -> Result<()> {
    let line = ObjectName::new("format").expect("a plain name");
    disk.put(&line, format!("{format}\n").as_bytes())
}

/// A refusal to write while opening means that the folder as a whole is not ours to write.
fn explain(error: CacheError, root: &Path) -> CacheError {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match error {
        CacheError::Io { source, .. } if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem) => {
            CacheError::ReadOnly { path: root.to_owned(), source }
        }
        other => other,
    }
}
