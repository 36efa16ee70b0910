//! Pack: all records of a store in one append-only file.
//!
//! A run looks up or writes thousands of records. With a file per record, that would cost more than everything else that the
//! store does for a trivial task. The pack is a sequence of encoded records (record.rs), so `jq` can read it. Between the
//! records are use notes of the same form, a line of JSON and a checksum line, which say when records were last used:
//! `{"used":<seconds since 1970>,"keys":[…]}`.
//!
//! Processes lock the file to append to it. If a process is killed while it appends, the end of the file is an incomplete pair
//! of lines. It is never read as a record, and the next append truncates it. Records are removed by replacing the whole file
//! while appending is locked out. If a key occurs twice, the later record counts.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufRead, Read as _, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::digest::Key;
use crate::error::{CacheError, Result, found};
use crate::poison;
use crate::record::{unverified_key, verified_body, with_checksum};

/// Start of the second line of each pair.
const CHECKSUM_START: &[u8] = b"\"blake3:";

/// The records in the file at `path`, cached as far as this process has read the file.
#[derive(Debug)]
pub(crate) struct Pack {
    path: PathBuf,
    contents: RwLock<Contents>,
}

/// What this process has read of the file.
#[derive(Debug, Default)]
struct Contents {
    /// Kept open, so that its inode number cannot be reused by another file.
    file: Option<File>,
    /// The file's length when it was read. Anything after `bytes` was an incomplete pair of lines.
    length: u64,
    bytes: Vec<u8>,
    entries: HashMap<Key, Entry>,
    /// Lines that are not part of a valid pair.
    stray_lines: Vec<Range<usize>>,
}

/// A record in the pack. Its checksum is verified when it is decoded.
#[derive(Clone, Debug)]
struct Entry {
    range: Range<usize>,
    /// When the record was last used, in seconds since 1970.
    used: u64,
}

/// The first line of a use note: when these records were used.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UseNote {
    used: u64,
    keys: Vec<Key>,
}

impl Pack {
    /// The pack at `path`. The file need not exist yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, contents: RwLock::default() }
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Finds the record of `key`. Returns the result of `decode` and when the record was last used.
    pub(crate) fn get<T>(&self, key: &Key, decode: impl Fn(&[u8]) -> T) -> Result<Option<(T, SystemTime)>> {
        let get = |contents: &Contents| {
            let entry = contents.entries.get(key)?;
            Some((decode(&contents.bytes[entry.range.clone()]), time(entry.used)))
        };
        if let Some(found) = get(&poison::read(&self.contents)) {
            return Ok(Some(found));
        }
        self.refresh()?;
        Ok(get(&poison::read(&self.contents)))
    }

    /// The keys of all records, sorted, each with the time of its last use.
    pub(crate) fn keys(&self) -> Result<Vec<(Key, SystemTime)>> {
        self.refresh()?;
        let contents = poison::read(&self.contents);
        let mut keys: Vec<_> = contents.entries.iter().map(|(key, entry)| (*key, time(entry.used))).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// Appends encoded records, and a note that the `used` keys were used at `now`. Other processes can find the records from
    /// now on, although they are not yet durable. The caller must hold the store's lock for adding. On an error nothing was
    /// appended.
    pub(crate) fn add(&self, records: &[u8], used: Vec<Key>, now: SystemTime) -> Result<()> {
        let note = UseNote { used: seconds(now), keys: used };
        let addition = [records, &with_checksum(serde_json::to_vec(&note).expect("keys are text"))].concat();
        let append = || -> io::Result<()> {
            let mut file = File::options().append(true).create(true).open(&self.path)?;
            file.lock()?;
            let mut contents = poison::write(&self.contents);
            contents.refresh(&self.path)?;
            let end = contents.bytes.len() as u64;
            if contents.length > end {
                file.set_len(end)?;
            }
            file.write_all(&addition).inspect_err(|_| drop(file.set_len(end)))?;
            contents.bytes.extend_from_slice(&addition);
            contents.length = contents.bytes.len() as u64;
            contents.index_from(end as usize);
            Ok(())
        };
        append().map_err(CacheError::io("write", &self.path))
    }

    /// The contents of a new pack without the records of the keys for which `remove` is true. Returns `None` if a new pack is
    /// not worth writing: no record is removed, nothing is damaged, and at least half of the bytes are in use. Nobody may
    /// append until the new file has replaced the pack.
    pub(crate) fn without(&self, remove: impl Fn(&Key) -> bool) -> Result<Option<Vec<u8>>> {
        self.refresh()?;
        let contents = poison::read(&self.contents);
        let mut kept: Vec<(&Key, &Entry)> = contents.entries.iter().filter(|(key, _)| !remove(key)).collect();
        kept.sort_unstable_by_key(|(_, entry)| entry.range.start);
        let size: usize = kept.iter().map(|(_, entry)| entry.range.len()).sum();
        let in_use = size > contents.bytes.len() / 2;
        if kept.len() == contents.entries.len() && contents.stray_lines.is_empty() && in_use {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(size + size / 4);
        let mut keys_by_use = BTreeMap::<u64, Vec<Key>>::new();
        for (key, Entry { range, used }) in kept {
            bytes.extend_from_slice(&contents.bytes[range.clone()]);
            keys_by_use.entry(*used).or_default().push(*key);
        }
        for (used, keys) in keys_by_use {
            bytes.extend(with_checksum(serde_json::to_vec(&UseNote { used, keys }).expect("keys are text")));
        }
        Ok(Some(bytes))
    }

    /// The lines that belong to no record, each with its offset.
    pub(crate) fn stray_lines(&self) -> Vec<(usize, Vec<u8>)> {
        let contents = poison::read(&self.contents);
        contents.stray_lines.iter().map(|range| (range.start, contents.bytes[range.clone()].to_vec())).collect()
    }

    /// Discards the cached contents, so that the file is read again.
    pub(crate) fn discard_cache(&self) {
        *poison::write(&self.contents) = Contents::default();
    }

    /// Reads what was appended since the last read, or the whole file if it was replaced.
    fn refresh(&self) -> Result<()> {
        let is_current = |contents: &Contents| -> io::Result<bool> {
            let on_disk = found(fs::metadata(&self.path))?;
            let cached = contents.file.as_ref().map(File::metadata).transpose()?;
            Ok(match (on_disk, cached) {
                (None, None) => true,
                (Some(on_disk), Some(cached)) => on_disk.ino() == cached.ino() && on_disk.len() == contents.length,
                _ => false,
            })
        };
        // In most lookups that find nothing the file has not changed, so the write lock is not needed.
        let current = is_current(&poison::read(&self.contents));
        let refreshed = current.and_then(|current| match current {
            true => Ok(()),
            false => poison::write(&self.contents).refresh(&self.path),
        });
        refreshed.map_err(CacheError::io("read", &self.path))
    }
}

impl Contents {
    fn refresh(&mut self, path: &Path) -> io::Result<()> {
        let Some(file) = found(File::open(path))? else {
            *self = Self::default();
            return Ok(());
        };
        let metadata = file.metadata()?;
        let cached = self.file.as_ref().map(File::metadata).transpose()?;
        let was_truncated = metadata.len() < self.bytes.len() as u64;
        if cached.is_none_or(|cached| cached.ino() != metadata.ino()) || was_truncated {
            *self = Self::default();
        }
        let begin = self.bytes.len();
        let more = metadata.len() - begin as u64;
        self.bytes.reserve(usize::try_from(more).unwrap_or(0));
        (&file).seek(SeekFrom::Start(begin as u64))?;
        (&file).take(more).read_to_end(&mut self.bytes)?;
        self.length = self.bytes.len() as u64;
        self.file = Some(file);
        self.index_from(begin);
        Ok(())
    }

    /// Indexes the pairs of lines from offset `begin` on, and discards the bytes after the last complete pair.
    fn index_from(&mut self, begin: usize) {
        let mut pair = begin;
        let mut line = begin;
        loop {
            let length = (&self.bytes[line..]).skip_until(b'\n').expect("bytes in memory can be read");
            let next = line + length;
            if length == 0 || self.bytes[next - 1] != b'\n' {
                break;
            }
            match (line == pair, self.bytes[line..].starts_with(CHECKSUM_START)) {
                // The first line of a pair.
                (true, false) => {}
                (false, true) => {
                    self.index_pair(pair..next);
                    pair = next;
                }
                // A second line without a first, or two first lines in a row.
                (_, _) => {
                    let end = if line == pair { next } else { line };
                    self.stray_lines.push(pair..end);
                    pair = end;
                }
            }
            line = next;
        }
        self.bytes.truncate(pair);
    }

    fn index_pair(&mut self, range: Range<usize>) {
        let pair = &self.bytes[range.clone()];
        if let Some(key) = unverified_key(pair) {
            self.entries.insert(key, Entry { range, used: 0 });
            return;
        }
        match verified_body(pair).and_then(|body| serde_json::from_slice::<UseNote>(body).ok()) {
            Some(UseNote { used, keys }) => {
                for key in keys {
                    self.entries.entry(key).and_modify(|entry| entry.used = used);
                }
            }
            None => self.stray_lines.push(range),
        }
    }
}

fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Record;

    fn record(task: &str) -> Record {
        let fingerprint = serde_json::json!({ "stage": task });
        Record { key: Key::of(task), fingerprint, outputs: BTreeMap::new() }
    }

    fn add(pack: &Pack, tasks: &[&str], now: u64) {
        let bytes: Vec<u8> = tasks.iter().flat_map(|task| record(task).encode()).collect();
        pack.add(&bytes, tasks.iter().map(|task| Key::of(task)).collect(), time(now)).unwrap();
    }

    /// The record that is found for a task, and when it was used.
    fn find(pack: &Pack, task: &str) -> Option<(Option<Record>, u64)> {
        let key = Key::of(task);
        pack.get(&key, |bytes| Record::decode(&key, bytes)).unwrap().map(|(found, used)| (found, seconds(used)))
    }

    #[test]
    fn records_appended_by_one_handle_are_found_by_another() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| Pack::new(folder.path().join("pack")));
        assert_eq!(find(&one, "a"), None);
        add(&one, &["a", "b"], 1);
        add(&other, &["c"], 2);
        add(&one, &["d", "a"], 3);
        for pack in [&one, &other] {
            assert_eq!(pack.keys().unwrap().len(), 4);
            for (task, used) in [("a", 3), ("b", 1), ("c", 2), ("d", 3)] {
                assert_eq!(find(pack, task), Some((Some(record(task)), used)));
            }
        }
        pack_without(&other, &["a", "c"]);
        for (task, found) in [("b", Some((Some(record("b")), 1))), ("e", None), ("d", Some((Some(record("d")), 3)))] {
            assert_eq!(find(&one, task), found);
        }
        assert_eq!(one.keys().unwrap().len(), 2, "a lookup that finds nothing reads the file again");
    }

    fn pack_without(pack: &Pack, tasks: &[&str]) {
        let removed: Vec<Key> = tasks.iter().map(|task| Key::of(task)).collect();
        let bytes = pack.without(|key| removed.contains(key)).unwrap().expect("records are removed");
        let other = pack.path().with_extension("new");
        fs::write(&other, bytes).unwrap();
        fs::rename(other, pack.path()).unwrap();
    }

    #[test]
    fn the_pack_is_rewritten_only_when_it_pays() {
        let folder = tempfile::tempdir().unwrap();
        let pack = Pack::new(folder.path().join("pack"));
        add(&pack, &["a", "b"], 1);
        assert!(pack.without(|_| false).unwrap().is_none());
        for _ in 0..3 {
            add(&pack, &["a", "b"], 1);
        }
        assert!(pack.without(|_| false).unwrap().is_some(), "three of four records are superseded");
    }

    proptest! {
        #[test]
        fn a_damaged_record_is_never_returned(at: prop::sample::Index, bit in 0u8..8) {
            let folder = tempfile::tempdir().unwrap();
            let pack = Pack::new(folder.path().join("pack"));
            let tasks = ["a", "b", "c", "d"];
            add(&pack, &tasks, 1);
            let mut bytes = fs::read(pack.path()).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            fs::write(pack.path(), bytes).unwrap();
            pack.discard_cache();
            let sound = tasks.iter().filter(|task| matches!(find(&pack, task), Some((Some(found), _)) if found == record(task)));
            prop_assert!(sound.count() >= 2, "a flipped bit between two records may damage both");
        }

        #[test]
        fn truncation_loses_only_truncated_records(at: prop::sample::Index) {
            let folder = tempfile::tempdir().unwrap();
            let pack = Pack::new(folder.path().join("pack"));
            add(&pack, &["a"], 1);
            let whole = fs::metadata(pack.path()).unwrap().len();
            add(&pack, &["b", "c"], 2);
            let bytes = fs::read(pack.path()).unwrap();
            let end = whole as usize + at.index(bytes.len() - whole as usize);
            fs::write(pack.path(), &bytes[..end]).unwrap();
            let other = Pack::new(pack.path().to_owned());
            add(&other, &["d"], 3);
            pack.discard_cache();
            for (task, used) in [("a", 1), ("d", 3)] {
                prop_assert_eq!(find(&pack, task), Some((Some(record(task)), used)));
            }
            prop_assert!(["b", "c"].iter().all(|task| find(&pack, task).is_none_or(|(found, _)| found == Some(record(task)))));
            prop_assert!(pack.stray_lines().is_empty());
        }
    }
}
