//! The pack: all records of a store in one file, to which records are only added.
//!
//! Records come by the thousand: looked up when nothing is to be done, written when everything is. A file for each would
//! cost more than all else that the store does for a trivial task. The pack is records as they are (record.rs), one behind the
//! other, so that `jq` reads it. Between them stand pairs of lines of the same form that tell when records were last used:
//! `{"used":<seconds since 1970>,"keys":[…]}`.
//!
//! Whoever adds locks the file. What a process that was killed meanwhile leaves at its end is no whole pair of lines; nobody
//! takes it for a record, and the next who adds cuts it off. Whoever takes away puts another file in its place, and sees to
//! it that nobody adds. Of a key that stands in it twice the later counts.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufRead, Read as _, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::digest::Key;
use crate::error::{CacheError, Result, found};
use crate::record::{key_of_body, seal_body, sound_body};

/// How the second line of each pair begins.
const CHECKSUM: &[u8] = b"\"blake3:";

/// The records in the file at `path`, as far as this process has read it.
#[derive(Debug)]
pub(crate) struct Pack {
    path: PathBuf,
    read: RwLock<Read>,
}

/// What was read of the file.
#[derive(Debug, Default)]
struct Read {
    /// Held open, so that no other file can get its number.
    file: Option<File>,
    /// How long the file was then. What is beyond `bytes` was no whole pair of lines.
    length: u64,
    bytes: Vec<u8>,
    entries: HashMap<Key, Entry>,
    /// Lines that belong to no pair.
    strays: Vec<Range<usize>>,
}

/// A record in the pack; whether it is whole shows when it is decoded.
#[derive(Clone, Debug)]
struct Entry {
    place: Range<usize>,
    /// When it was last used, in seconds since 1970.
    used: u64,
}

/// The first of two lines that say when records were used.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Use {
    used: u64,
    keys: Vec<Key>,
}

impl Pack {
    /// The pack at `path`, which need not be there yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, read: RwLock::default() }
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What `decode` makes of the record of `key`, and when that was last used.
    pub(crate) fn get<T>(&self, key: &Key, decode: impl Fn(&[u8]) -> T) -> Result<Option<(T, SystemTime)>> {
        let get = |read: &Read| {
            let entry = read.entries.get(key)?;
            Some((decode(&read.bytes[entry.place.clone()]), time(entry.used)))
        };
        if let Some(found) = get(&self.read()) {
            return Ok(Some(found));
        }
        self.read_on()?;
        Ok(get(&self.read()))
    }

    /// The keys of all records, each with when it was last used, sorted by key.
    pub(crate) fn keys(&self) -> Result<Vec<(Key, SystemTime)>> {
        self.read_on()?;
        let read = self.read();
        let mut keys: Vec<_> = read.entries.iter().map(|(key, entry)| (*key, time(entry.used))).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// Adds encoded records, which others find from now on though they are not yet durable, and says that these keys were
    /// used `now`. Nobody may take away meanwhile. On an error nothing was added.
    pub(crate) fn add(&self, records: &[u8], used: Vec<Key>, now: SystemTime) -> Result<()> {
        let used = Use { used: seconds(now), keys: used };
        let addition = [records, &seal_body(serde_json::to_vec(&used).expect("keys are text"))].concat();
        let adding = || -> io::Result<()> {
            let mut file = File::options().append(true).create(true).open(&self.path)?;
            file.lock()?;
            let mut read = self.write();
            read.read_on(&self.path)?;
            let end = read.bytes.len() as u64;
            if read.length > end {
                file.set_len(end)?;
            }
            file.write_all(&addition).inspect_err(|_| drop(file.set_len(end)))?;
            read.bytes.extend_from_slice(&addition);
            read.length = read.bytes.len() as u64;
            read.take_in(end as usize);
            Ok(())
        };
        adding().map_err(CacheError::io("write", &self.path))
    }

    /// Everything but the records of the keys that are to `go`, as another file is to hold it; `None` where it is not worth
    /// writing one: nothing goes, nothing is damaged, and less than half of the bytes are of no use. Nobody may add until
    /// that file is in the pack's place.
    pub(crate) fn without(&self, go: impl Fn(&Key) -> bool) -> Result<Option<Vec<u8>>> {
        self.read_on()?;
        let read = self.read();
        let mut stay: Vec<(&Key, &Entry)> = read.entries.iter().filter(|(key, _)| !go(key)).collect();
        stay.sort_unstable_by_key(|(_, entry)| entry.place.start);
        let size: usize = stay.iter().map(|(_, entry)| entry.place.len()).sum();
        if stay.len() == read.entries.len() && read.strays.is_empty() && size > read.bytes.len() / 2 {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(size + size / 4);
        let mut uses = BTreeMap::<u64, Vec<Key>>::new();
        for (key, Entry { place, used }) in stay {
            bytes.extend_from_slice(&read.bytes[place.clone()]);
            uses.entry(*used).or_default().push(*key);
        }
        for (used, keys) in uses {
            bytes.extend(seal_body(serde_json::to_vec(&Use { used, keys }).expect("keys are text")));
        }
        Ok(Some(bytes))
    }

    /// The lines that belong to no record, with the place of each.
    pub(crate) fn strays(&self) -> Vec<(usize, Vec<u8>)> {
        let read = self.read();
        read.strays.iter().map(|place| (place.start, read.bytes[place.clone()].to_vec())).collect()
    }

    /// Forgets what was read, so that it is read again.
    pub(crate) fn forget(&self) {
        *self.write() = Read::default();
    }

    /// Reads what was added since, or all of it if another file has come in its place.
    fn read_on(&self) -> Result<()> {
        let known = |read: &Read| -> io::Result<bool> {
            let there = found(fs::metadata(&self.path))?;
            let known = read.file.as_ref().map(File::metadata).transpose()?;
            Ok(match (there, known) {
                (None, None) => true,
                (Some(there), Some(known)) => there.ino() == known.ino() && there.len() == read.length,
                _ => false,
            })
        };
        // Most look-ups that find nothing find the file as it was.
        let is_known = known(&self.read());
        let read_on = is_known.and_then(|is_known| if is_known { Ok(()) } else { self.write().read_on(&self.path) });
        read_on.map_err(CacheError::io("read", &self.path))
    }

    fn read(&self) -> RwLockReadGuard<'_, Read> {
        self.read.read().expect("nothing panics while it holds this lock")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Read> {
        self.read.write().expect("nothing panics while it holds this lock")
    }
}

impl Read {
    fn read_on(&mut self, path: &Path) -> io::Result<()> {
        let Some(file) = found(File::open(path))? else {
            *self = Self::default();
            return Ok(());
        };
        let metadata = file.metadata()?;
        let known = self.file.as_ref().map(File::metadata).transpose()?;
        let begin = self.bytes.len();
        if known.is_none_or(|known| known.ino() != metadata.ino()) || metadata.len() < begin as u64 {
            *self = Self::default();
        }
        let begin = self.bytes.len();
        let more = metadata.len() - begin as u64;
        self.bytes.reserve(usize::try_from(more).unwrap_or(0));
        (&file).seek(SeekFrom::Start(begin as u64))?;
        (&file).take(more).read_to_end(&mut self.bytes)?;
        self.length = self.bytes.len() as u64;
        self.file = Some(file);
        self.take_in(begin);
        Ok(())
    }

    /// Notes the pairs of lines from `begin` on, and forgets what follows the last of them.
    fn take_in(&mut self, begin: usize) {
        let mut pair = begin;
        let mut line = begin;
        loop {
            let length = (&self.bytes[line..]).skip_until(b'\n').expect("bytes in memory can be read");
            let next = line + length;
            if length == 0 || self.bytes[next - 1] != b'\n' {
                break;
            }
            match (line == pair, self.bytes[line..].starts_with(CHECKSUM)) {
                // The first of two.
                (true, false) => {}
                (false, true) => {
                    self.take_pair(pair..next);
                    pair = next;
                }
                // The second without a first, or a first after a first.
                (_, _) => {
                    let end = if line == pair { next } else { line };
                    self.strays.push(pair..end);
                    pair = end;
                }
            }
            line = next;
        }
        self.bytes.truncate(pair);
    }

    fn take_pair(&mut self, place: Range<usize>) {
        let pair = &self.bytes[place.clone()];
        if let Some(key) = key_of_body(pair) {
            self.entries.insert(key, Entry { place, used: 0 });
            return;
        }
        match sound_body(pair).and_then(|body| serde_json::from_slice::<Use>(body).ok()) {
            Some(Use { used, keys }) => {
                for key in keys {
                    self.entries.entry(key).and_modify(|entry| entry.used = used);
                }
            }
            None => self.strays.push(place),
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

    /// The record of a task as it is found, and when it was used.
    fn find(pack: &Pack, task: &str) -> Option<(Option<Record>, u64)> {
        let key = Key::of(task);
        pack.get(&key, |bytes| Record::decode(&key, bytes)).unwrap().map(|(found, used)| (found, seconds(used)))
    }

    #[test]
    fn what_one_adds_another_finds() {
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
        assert_eq!(one.keys().unwrap().len(), 2, "whoever looks for what is not there sees what has gone");
    }

    fn pack_without(pack: &Pack, tasks: &[&str]) {
        let go: Vec<Key> = tasks.iter().map(|task| Key::of(task)).collect();
        let bytes = pack.without(|key| go.contains(key)).unwrap().expect("there is something to take away");
        let other = pack.path().with_extension("new");
        fs::write(&other, bytes).unwrap();
        fs::rename(other, pack.path()).unwrap();
    }

    #[test]
    fn only_what_is_worth_it_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let pack = Pack::new(folder.path().join("pack"));
        add(&pack, &["a", "b"], 1);
        assert!(pack.without(|_| false).unwrap().is_none());
        for _ in 0..3 {
            add(&pack, &["a", "b"], 1);
        }
        assert!(pack.without(|_| false).unwrap().is_some(), "three of four records are of no use");
    }

    proptest! {
        #[test]
        fn no_damage_is_taken_for_a_record(at: prop::sample::Index, bit in 0u8..8) {
            let folder = tempfile::tempdir().unwrap();
            let pack = Pack::new(folder.path().join("pack"));
            let tasks = ["a", "b", "c", "d"];
            add(&pack, &tasks, 1);
            let mut bytes = fs::read(pack.path()).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            fs::write(pack.path(), bytes).unwrap();
            pack.forget();
            let sound = tasks.iter().filter(|task| matches!(find(&pack, task), Some((Some(found), _)) if found == record(task)));
            prop_assert!(sound.count() >= 2, "a bit between two records may cost both");
        }

        #[test]
        fn a_cut_costs_what_it_cuts_and_nothing_that_is_added_later(at: prop::sample::Index) {
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
            pack.forget();
            for (task, used) in [("a", 1), ("d", 3)] {
                prop_assert_eq!(find(&pack, task), Some((Some(record(task)), used)));
            }
            prop_assert!(["b", "c"].iter().all(|task| find(&pack, task).is_none_or(|(found, _)| found == Some(record(task)))));
            prop_assert!(pack.strays().is_empty());
        }
    }
}
