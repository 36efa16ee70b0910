//! `cache gc`: takes away what no kept run names.
//!
//! Marked are the records that the caller keeps, that the policy does not condemn, or that a living process may have used;
//! swept are the other records, and then all blobs that no record names any more. While it sweeps nothing can be added
//! (`lock`), so no record ever names a blob that was swept. A process that looked up a condemned record in the same instant
//! finds its blobs missing and computes them again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::lookup::USE_IS_NOTED_EVERY;
use super::ls::RecordEntry;
use super::{Inner, Store};
use crate::backend::{Backend, Object, ObjectName};
use crate::clock;
use crate::digest::{Digest, Key};
use crate::error::{CacheError, Result, found};
use crate::lock::LockFile;
use crate::record::Record;
use crate::session::{self, Found};

/// A scratch folder without a record is what a killed task goes on from. If nobody has come back to it for a week, nobody
/// will.
const SCRATCH_IS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is to be removed. With neither an age nor a size, everything that is not kept is.
#[derive(Clone, Debug, Default)]
pub struct GcPolicy {
    /// Records that stay, with all their blobs.
    pub keep: HashSet<Key>,
    /// Blobs that stay even if no record names them.
    pub keep_blobs: HashSet<Digest>,
    /// Of the other records, remove those that were last used longer ago than this.
    pub older_than: Option<Duration>,
    /// Of the other records, remove the least recently used until the blobs take at most so many bytes.
    pub max_size: Option<u64>,
    /// Empty the quarantine as well.
    pub quarantine: bool,
    /// Remove nothing, only report.
    pub dry_run: bool,
}

/// What was removed, or with `dry_run` would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// The keys whose records were removed, least recently used first.
    pub records: Vec<Key>,
    /// How many blobs were removed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many records remain.
    pub kept_records: u64,
    /// How many bytes of blobs remain.
    pub kept_bytes: u64,
    /// Temporary files and folders of dead processes.
    pub temporary: u64,
    /// Scratch folders of tasks that succeeded, or that nobody went on with.
    pub scratch: u64,
    /// Objects removed from quarantine.
    pub quarantine: u64,
}

impl Store {
    /// Removes what the policy condemns.
    ///
    /// Never removed are records and blobs that were made or used since the oldest living process opened this store (this
    /// one included), and what such a process has under way.
    ///
    /// # Errors
    /// The store cannot be read or written. What a dead process left and cannot be removed is told when all else is done.
    pub fn gc(&self, policy: &GcPolicy) -> Result<GcReport> {
        self.flush()?;
        let entries = self.record_entries()?;
        // No rayon from here: a thread that waits for others may pick up work that needs this very lock.
        let _lock = if policy.dry_run { self.inner.adding()? } else { self.inner.taking()? };
        let entries = self.as_of_now(entries)?;
        let mut sweep = Sweep { inner: &self.inner, policy, report: GcReport::default(), failed: None };
        let sessions = session::sessions(&self.root().join("tmp"))?;
        let spare = sweep.spare(&sessions);
        let (condemned, kept) = judge(entries, policy, &spare);
        sweep.records(&condemned)?;
        sweep.blobs(&kept, spare.blobs)?;
        // After the blobs: a blob that loses a further name in a dead process's folder has changed.
        sweep.temporary(&sessions);
        sweep.scratch(&kept)?;
        sweep.claims()?;
        sweep.quarantine()?;
        if !policy.dry_run {
            self.index().gc()?;
        }
        sweep.failed.map_or(Ok(sweep.report), Err)
    }

    /// The records that are there now, and when they were last used, given those that were there a moment ago.
    fn as_of_now(&self, entries: Vec<RecordEntry>) -> Result<Vec<RecordEntry>> {
        let mut known: HashMap<Key, RecordEntry> = entries.into_iter().map(|entry| (entry.record.key, entry)).collect();
        let mut entries = Vec::new();
        for (key, used) in self.inner.pack.keys()? {
            entries.extend(match known.remove(&key) {
                Some(entry) => Some(RecordEntry { used, ..entry }),
                None => {
                    let added = self.inner.pack.get(&key, |bytes| Record::decode(&key, bytes))?;
                    added.and_then(|(record, used)| Some(RecordEntry::new(record?, used)))
                }
            });
        }
        Ok(entries)
    }
}

/// Since when things are spared because a living process may rest on them.
struct Spare {
    /// Records used since then.
    records: SystemTime,
    /// Blobs made or sealed since then.
    blobs: SystemTime,
}

/// Parts the records into those that go, least recently used first, and those that stay.
fn judge(mut entries: Vec<RecordEntry>, policy: &GcPolicy, spare: &Spare) -> (Vec<RecordEntry>, Vec<RecordEntry>) {
    entries.sort_by_key(|entry| (entry.used, entry.record.key));
    let oldest = policy.older_than.map(clock::ago);
    let anything_goes = oldest.is_none() && policy.max_size.is_none();
    let mut size = Size::of(&entries);
    entries.into_iter().partition(|entry| {
        if policy.keep.contains(&entry.record.key) || entry.used >= spare.records {
            return false;
        }
        let old = oldest.is_some_and(|oldest| entry.used < oldest);
        let too_much = policy.max_size.is_some_and(|most| size.bytes > most);
        let goes = anything_goes || old || too_much;
        if goes {
            size.take_away(entry);
        }
        goes
    })
}

/// The bytes of the blobs that a set of records names, each blob once.
struct Size {
    bytes: u64,
    names: HashMap<Digest, u32>,
}

impl Size {
    fn of(entries: &[RecordEntry]) -> Self {
        let mut size = Self { bytes: 0, names: HashMap::new() };
        for file in entries.iter().flat_map(|entry| entry.record.files()) {
            let names = size.names.entry(file.digest).or_default();
            *names += 1;
            size.bytes += if *names == 1 { file.size } else { 0 };
        }
        size
    }

    fn take_away(&mut self, entry: &RecordEntry) {
        for file in entry.record.files() {
            let names = self.names.get_mut(&file.digest).expect("the record was counted");
            *names -= 1;
            self.bytes -= if *names == 0 { file.size } else { 0 };
        }
    }
}

struct Sweep<'a> {
    inner: &'a Inner,
    policy: &'a GcPolicy,
    report: GcReport,
    /// Why the first of the paths that could not be removed could not.
    failed: Option<CacheError>,
}

impl Sweep<'_> {
    /// Since when the living live.
    fn spare(&self, sessions: &[Found]) -> Spare {
        let now = clock::now();
        let mut spare = Spare { records: now, blobs: now };
        for session in sessions {
            if let Found::Alive { name, since } = session {
                // We ourselves look nothing up; the use that others make is noted with this lag.
                let lag = if name == self.inner.disk.session().name() { Duration::ZERO } else { USE_IS_NOTED_EVERY };
                spare.records = spare.records.min(clock::earlier(*since, lag));
                spare.blobs = spare.blobs.min(*since);
            }
        }
        spare
    }

    /// Removes what dead processes left.
    fn temporary(&mut self, sessions: &[Found]) {
        for session in sessions {
            if let Found::Dead { rest, .. } = session {
                self.report.temporary += rest.iter().filter(|path| self.remove_path(path)).count() as u64;
            }
        }
    }

    fn records(&mut self, condemned: &[RecordEntry]) -> Result<()> {
        self.report.records.extend(condemned.iter().map(|entry| entry.record.key));
        let condemned: HashSet<Key> = self.report.records.iter().copied().collect();
        if self.policy.dry_run { Ok(()) } else { self.inner.take_away(|key| condemned.contains(key)) }
    }

    fn blobs(&mut self, kept: &[RecordEntry], since: SystemTime) -> Result<()> {
        self.report.kept_records = kept.len() as u64;
        let named: HashSet<Digest> =
            kept.iter().flat_map(|entry| entry.record.files()).map(|file| file.digest).collect();
        for Object { name, size } in self.inner.disk.list("blobs/")? {
            let stays =
                name.digest().is_some_and(|digest| named.contains(&digest) || self.policy.keep_blobs.contains(&digest));
            if stays || self.changed_since(&self.inner.disk.path(&name), since)? {
                self.report.kept_bytes += size;
                continue;
            }
            self.remove_object(&name)?;
            self.report.blobs += 1;
            self.report.bytes += size;
        }
        for Object { name, .. } in self.inner.disk.list("dropped/")? {
            if name.dropped_digest().is_none_or(|digest| !named.contains(&digest)) {
                self.remove_object(&name)?;
            }
        }
        Ok(())
    }

    fn scratch(&mut self, kept: &[RecordEntry]) -> Result<()> {
        let committed: HashSet<Key> = kept.iter().map(|entry| entry.record.key).collect();
        let age = self.policy.older_than.unwrap_or(SCRATCH_IS_KEPT);
        let since = clock::ago(age);
        for folder in self.entries("scratch")? {
            let key = folder.file_name().and_then(|name| name.to_str()?.parse::<Key>().ok());
            let Some(key) = key else { continue };
            // Whoever computes the key holds its claim.
            let claim = self.inner.disk.root().join("claims").join(key.to_string());
            let claim = LockFile::try_acquire(&claim).map_err(CacheError::io("lock", &claim))?;
            if claim.is_some() && (committed.contains(&key) || !self.changed_since(&folder, since)?) {
                self.report.scratch += u64::from(self.remove_path(&folder));
            }
        }
        Ok(())
    }

    /// Claims of dead processes: taking one over and letting go of it removes its file.
    fn claims(&self) -> Result<()> {
        for claim in self.entries("claims")? {
            drop(LockFile::try_acquire(&claim).map_err(CacheError::io("lock", &claim))?);
        }
        Ok(())
    }

    fn quarantine(&mut self) -> Result<()> {
        if self.policy.quarantine {
            for Object { name, .. } in self.inner.disk.list("quarantine/")? {
                self.remove_object(&name)?;
                self.report.quarantine += 1;
            }
        }
        Ok(())
    }

    fn remove_object(&self, name: &ObjectName) -> Result<()> {
        if self.policy.dry_run { Ok(()) } else { self.inner.disk.remove(name).map(drop) }
    }

    /// Removes a file or folder of another process. One that cannot be removed, such as another user's, does not keep the
    /// rest from being.
    fn remove_path(&mut self, path: &Path) -> bool {
        let removed = if self.policy.dry_run { Ok(()) } else { session::remove(path) };
        let failed = removed.map_err(CacheError::io("remove", path)).err();
        let is_removed = failed.is_none();
        self.failed = self.failed.take().or(failed);
        is_removed
    }

    fn entries(&self, folder: &str) -> Result<Vec<PathBuf>> {
        let folder = self.inner.disk.root().join(folder);
        let entries =
            fs::read_dir(&folder).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
        entries.map_err(CacheError::io("list", folder))
    }

    /// Whether the file was made, moved or sealed since then: no program can set this time.
    fn changed_since(&self, path: &Path, since: SystemTime) -> Result<bool> {
        let Some(metadata) = found(fs::metadata(path)).map_err(CacheError::io("read", path))? else { return Ok(false) };
        Ok(clock::changed(&metadata) >= since)
    }
}
