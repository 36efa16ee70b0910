//! Garbage collection (mark and sweep), for `cache gc`.
//!
//! Records are kept if the caller names them, if the policy does not select them for removal, or if a living process may have
//! used them. All other records are removed, and then all blobs that no remaining record names. Nothing can be added
//! meanwhile (`lock`), so no record ever names a removed blob. A process that looked up a record just before it was removed
//! finds its blobs missing and computes them again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::handle::Store;
use super::lookup::USE_NOTE_INTERVAL;
use super::ls::RecordEntry;
use super::state::StoreState;
use crate::clock;
use crate::digest::{Digest, Key};
use crate::error::{CacheError, Result, found};
use crate::lock::LockFile;
use crate::object::{Object, ObjectName};
use crate::record::Record;
use crate::session::{self, FoundSession};

/// How long the scratch folder of an unfinished task is kept after its last change. A killed task continues from it.
const SCRATCH_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// What to remove. Without an age and a size, everything that is not kept is removed.
#[derive(Clone, Debug, Default)]
pub struct GcPolicy {
    /// Keys whose records are kept with all their blobs.
    pub keep: HashSet<Key>,
    /// Remove those other records whose last use is longer ago than this.
    pub older_than: Option<Duration>,
    /// Remove the least recently used of the other records until the blobs take at most this many bytes.
    pub max_size: Option<u64>,
    /// Also empty the quarantine.
    pub quarantine: bool,
    /// Only report, remove nothing.
    pub dry_run: bool,
}

/// What was removed, or would be removed without `dry_run`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Keys of the removed records, least recently used first.
    pub records: Vec<Key>,
    /// Number of removed blobs.
    pub blobs: u64,
    /// Total size of the removed blobs in bytes.
    pub bytes: u64,
    /// Number of remaining records.
    pub kept_records: u64,
    /// Total size of the remaining blobs in bytes.
    pub kept_bytes: u64,
    /// Number of removed temporary files and folders of dead processes.
    pub temporary: u64,
    /// Number of removed scratch folders of tasks that have succeeded or were abandoned.
    pub scratch: u64,
    /// Number of objects removed from quarantine.
    pub quarantine: u64,
}

impl Store {
    /// Removes what the policy selects.
    ///
    /// Records and blobs that were created or used since the oldest living process opened this store (this process included)
    /// are never removed, nor are temporary files of living processes.
    ///
    /// # Errors
    /// The store cannot be read or written to. If a dead process's files cannot be removed, that error is returned after
    /// everything else has been done.
    pub fn gc(&self, policy: &GcPolicy) -> Result<GcReport> {
        self.flush()?;
        let entries = self.record_entries()?;
        // No rayon from here on: a thread that waits for others may run a job that needs this lock.
        let _lock = if policy.dry_run { self.state.lock_for_adding()? } else { self.state.lock_for_removing()? };
        let entries = self.refreshed(entries)?;
        let mut sweep = Sweep { store: &self.state, policy, report: GcReport::default(), first_error: None };
        let sessions = session::sessions(&self.root().join("tmp"))?;
        let protected = sweep.protected_since(&sessions);
        let blobs = self.state.disk.list("blobs")?;
        let (removed, kept) = partition(entries, policy, &protected, &blobs);
        sweep.remove_records(&removed)?;
        sweep.remove_blobs(blobs, &kept, protected.blobs)?;
        // After the blobs: removing a hard link to a blob from a dead process's folder updates the blob's change time.
        sweep.remove_temporary(&sessions);
        sweep.remove_scratch(&kept)?;
        sweep.remove_claims()?;
        sweep.empty_quarantine()?;
        sweep.remove_copied_indexes()?;
        if !policy.dry_run {
            self.index().gc()?;
        }
        sweep.first_error.map_or(Ok(sweep.report), Err)
    }

    /// The current records and their last uses, given the records that were read before the lock was taken.
    fn refreshed(&self, entries: Vec<RecordEntry>) -> Result<Vec<RecordEntry>> {
        let mut before: HashMap<Key, RecordEntry> =
            entries.into_iter().map(|entry| (entry.record.key, entry)).collect();
        let mut entries = Vec::new();
        for (key, used) in self.state.pack.keys()? {
            entries.extend(match before.remove(&key) {
                Some(entry) => Some(RecordEntry { used, ..entry }),
                None => {
                    let added = self.state.pack.get(&key, |bytes| Record::decode(&key, bytes))?;
                    added.and_then(|(record, used)| Some(RecordEntry::new(record?, used)))
                }
            });
        }
        Ok(entries)
    }
}

/// The times since when records and blobs are protected, because a living process may depend on them.
struct ProtectedSince {
    /// Records used since then are kept.
    records: SystemTime,
    /// Blobs created or sealed since then are kept.
    blobs: SystemTime,
}

/// Splits the records into those to remove, least recently used first, and those to keep.
fn partition(
    mut entries: Vec<RecordEntry>,
    policy: &GcPolicy,
    protected: &ProtectedSince,
    blobs: &[Object],
) -> (Vec<RecordEntry>, Vec<RecordEntry>) {
    entries.sort_by_key(|entry| (entry.used, entry.record.key));
    let oldest = policy.older_than.map(clock::ago);
    let remove_all = oldest.is_none() && policy.max_size.is_none();
    let mut size = TotalSize::of(&entries, blobs);
    entries.into_iter().partition(|entry| {
        if policy.keep.contains(&entry.record.key) || entry.used >= protected.records {
            return false;
        }
        let old = oldest.is_some_and(|oldest| entry.used < oldest);
        let too_much = policy.max_size.is_some_and(|limit| size.bytes > limit);
        let remove = remove_all || old || too_much;
        if remove {
            size.subtract(entry);
        }
        remove
    })
}

/// Total size of the blobs that a set of records names, counting each blob once. One that was dropped takes no space.
struct TotalSize {
    bytes: u64,
    references: HashMap<Digest, u32>,
}

impl TotalSize {
    fn of(entries: &[RecordEntry], blobs: &[Object]) -> Self {
        let present: HashSet<Digest> = blobs.iter().filter_map(|blob| blob.name.digest()).collect();
        let mut size = Self { bytes: 0, references: HashMap::new() };
        let files = entries.iter().flat_map(|entry| entry.record.files());
        for file in files.filter(|file| present.contains(&file.digest)) {
            let references = size.references.entry(file.digest).or_default();
            *references += 1;
            size.bytes += if *references == 1 { file.size } else { 0 };
        }
        size
    }

    fn subtract(&mut self, entry: &RecordEntry) {
        for file in entry.record.files() {
            let Some(references) = self.references.get_mut(&file.digest) else { continue };
            *references -= 1;
            self.bytes -= if *references == 0 { file.size } else { 0 };
        }
    }
}

struct Sweep<'a> {
    store: &'a StoreState,
    policy: &'a GcPolicy,
    report: GcReport,
    /// The first error of removing a file of another process.
    first_error: Option<CacheError>,
}

impl Sweep<'_> {
    /// Protects everything since the oldest living process began.
    fn protected_since(&self, sessions: &[FoundSession]) -> ProtectedSince {
        let now = clock::now();
        let mut protected = ProtectedSince { records: now, blobs: now };
        for session in sessions {
            if let FoundSession::Alive { name, since } = session {
                // Other processes note the use of a record with this lag; we ourselves look nothing up.
                let lag = if name == self.store.disk.session().name() { Duration::ZERO } else { USE_NOTE_INTERVAL };
                protected.records = protected.records.min(clock::earlier(*since, lag));
                protected.blobs = protected.blobs.min(*since);
            }
        }
        protected
    }

    /// Removes the temporary files of dead processes.
    fn remove_temporary(&mut self, sessions: &[FoundSession]) {
        for session in sessions {
            if let FoundSession::Dead { leftovers, .. } = session {
                self.report.temporary += leftovers.iter().filter(|path| self.remove_path(path)).count() as u64;
            }
        }
    }

    fn remove_records(&mut self, removed: &[RecordEntry]) -> Result<()> {
        self.report.records.extend(removed.iter().map(|entry| entry.record.key));
        let removed: HashSet<Key> = self.report.records.iter().copied().collect();
        if self.policy.dry_run { Ok(()) } else { self.store.remove_records(|key| removed.contains(key)) }
    }

    fn remove_blobs(&mut self, blobs: Vec<Object>, kept: &[RecordEntry], since: SystemTime) -> Result<()> {
        self.report.kept_records = kept.len() as u64;
        let named: HashSet<Digest> =
            kept.iter().flat_map(|entry| entry.record.files()).map(|file| file.digest).collect();
        for Object { name, size } in blobs {
            let is_named = name.digest().is_some_and(|digest| named.contains(&digest));
            if is_named || self.changed_since(&self.store.disk.path(&name), since)? {
                self.report.kept_bytes += size;
                continue;
            }
            self.remove_object(&name)?;
            self.report.blobs += 1;
            self.report.bytes += size;
        }
        for Object { name, .. } in self.store.disk.list("dropped")? {
            if name.dropped_digest().is_none_or(|digest| !named.contains(&digest)) {
                self.remove_object(&name)?;
            }
        }
        Ok(())
    }

    fn remove_scratch(&mut self, kept: &[RecordEntry]) -> Result<()> {
        let committed: HashSet<Key> = kept.iter().map(|entry| entry.record.key).collect();
        let age = self.policy.older_than.unwrap_or(SCRATCH_RETENTION);
        let since = clock::ago(age);
        for folder in self.entries("scratch")? {
            let key = folder.file_name().and_then(|name| name.to_str()?.parse::<Key>().ok());
            let Some(key) = key else { continue };
            // A process that computes the key holds its claim.
            let claim = self.store.disk.root().join("claims").join(key.to_string());
            let claim = LockFile::try_acquire(&claim).map_err(CacheError::io("lock", &claim))?;
            if claim.is_some() && (committed.contains(&key) || !self.changed_since(&folder, since)?) {
                self.report.scratch += u64::from(self.remove_path(&folder));
            }
        }
        Ok(())
    }

    /// Removes the claims of dead processes: acquiring a lock file and releasing it removes the file.
    fn remove_claims(&self) -> Result<()> {
        for claim in self.entries("claims")? {
            drop(LockFile::try_acquire(&claim).map_err(CacheError::io("lock", &claim))?);
        }
        Ok(())
    }

    fn empty_quarantine(&mut self) -> Result<()> {
        if self.policy.quarantine {
            for Object { name, .. } in self.store.disk.list("quarantine")? {
                self.remove_object(&name)?;
                self.report.quarantine += 1;
            }
        }
        Ok(())
    }

    /// Removes the copies of indexes of packs: those of a remote that is still used are fetched again.
    fn remove_copied_indexes(&self) -> Result<()> {
        self.store.disk.list("packs")?.iter().try_for_each(|index| self.remove_object(&index.name))
    }

    fn remove_object(&self, name: &ObjectName) -> Result<()> {
        if self.policy.dry_run { Ok(()) } else { self.store.disk.remove(name).map(drop) }
    }

    /// Removes a file or folder of another process and returns whether that succeeded. A failure, as with another user's file,
    /// does not stop the collection.
    fn remove_path(&mut self, path: &Path) -> bool {
        let removed = if self.policy.dry_run { Ok(()) } else { session::remove(path) };
        let error = removed.map_err(CacheError::io("remove", path)).err();
        let is_removed = error.is_none();
        self.first_error = self.first_error.take().or(error);
        is_removed
    }

    fn entries(&self, folder: &str) -> Result<Vec<PathBuf>> {
        let folder = self.store.disk.root().join(folder);
        let entries =
            fs::read_dir(&folder).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
        entries.map_err(CacheError::io("list", folder))
    }

    /// Whether the file was created, moved or sealed since then, judging by its change time, which programs cannot set.
    fn changed_since(&self, path: &Path, since: SystemTime) -> Result<bool> {
        let Some(metadata) = found(fs::metadata(path)).map_err(CacheError::io("read", path))? else { return Ok(false) };
        Ok(clock::changed(&metadata) >= since)
    }
}
