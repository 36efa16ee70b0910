//! Commits: blobs first, record last, and many at once.
//!
//! Making something durable takes a disk milliseconds, whether it is one file or a thousand, and the file system holds up
//! whoever makes files meanwhile. So one thread takes all records that wait, makes their blobs durable in one go, and only
//! then adds the records to the pack. The pack is made durable together with the next batch, or when none waits. Records that
//! come one upon the other are left to gather for a while.

use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::seal::Seal;
use super::{Claim, Inner, Store};
use crate::clock;
use crate::digest::{Digest, Key};
use crate::durable;
use crate::error::{CacheError, Result};
use crate::record::Record;

/// How many records may wait or be in the making.
const BACKLOG: usize = 256;

/// So many records are committed without waiting for more.
const ENOUGH: usize = BACKLOG / 2;

/// How long after a batch the next one begins, unless somebody waits for it.
const GATHERING: Duration = Duration::from_millis(100);

impl Store {
    /// Hands over what the holder of `claim` computed. The record can be looked up in this process at once, in others as
    /// soon as it is durable; the claim is held until then, so that nobody computes the key again, and then the key's
    /// scratch folder is removed.
    ///
    /// # Errors
    /// Only if the committing thread cannot be started. What fails later is told by [`Store::flush`].
    ///
    /// # Panics
    /// If the record answers another key than the one that is claimed.
    pub fn commit(&self, claim: Claim, record: Record) -> Result<()> {
        assert_eq!(*claim.key(), record.key, "a claim allows to commit the record of its own key");
        self.committer.push(claim, record)
    }

    /// Waits until all commits are durable.
    ///
    /// # Errors
    /// [`CacheError::Commit`] with the keys of all records that failed since the last call, and the first of the reasons.
    pub fn flush(&self) -> Result<()> {
        self.committer.flush()
    }
}

/// The queue to the committing thread, which is started by the first commit.
#[derive(Debug)]
pub(super) struct Committer {
    inner: Arc<Inner>,
    queue: Arc<Queue>,
    thread: OnceLock<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<(Claim, Record)>,
    /// Records to be noted as used.
    used: Vec<Key>,
    /// What waits or is in the making, for look-ups.
    pending: HashMap<Key, Record>,
    failures: Failures,
    /// The thread has something to do that is not in `waiting`.
    busy: bool,
    /// How many wait until all is durable, or until there is room.
    awaited: usize,
    closed: bool,
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.used.is_empty() && !self.busy
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    fn wait_while(&self, busy: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.state(), |state| busy(state)).expect("nothing panics while it holds this lock")
    }

    /// As [`Queue::wait_while`], and lets nothing gather meanwhile.
    fn await_while(&self, busy: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.state();
        if busy(&state) {
            state.awaited += 1;
            self.changed.notify_all();
            drop(state);
            state = self.wait_while(busy);
            state.awaited -= 1;
        }
        state
    }

    /// Waits for something to do, and until so much time has passed, unless somebody waits or much has gathered.
    fn gather(&self, pause: impl FnOnce() -> Duration) -> MutexGuard<'_, State> {
        let state = self.wait_while(|state| state.is_idle() && !state.closed);
        let may_gather = |state: &mut State| state.awaited == 0 && !state.closed && state.waiting.len() < ENOUGH;
        let gathered = self.changed.wait_timeout_while(state, pause(), may_gather);
        gathered.expect("nothing panics while it holds this lock").0
    }
}

impl Committer {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner, queue: Arc::default(), thread: OnceLock::new() }
    }

    pub(super) fn pending(&self, key: &Key) -> Option<Record> {
        self.queue.state().pending.get(key).cloned()
    }

    fn push(&self, claim: Claim, record: Record) -> Result<()> {
        let mut state = self.queue.await_while(|state| state.pending.len() >= BACKLOG);
        self.start()?;
        state.pending.insert(record.key, record.clone());
        state.waiting.push((claim, record));
        // While records gather, the thread is woken by the first and by the one with which enough have.
        if state.waiting.len() == 1 || state.waiting.len() == ENOUGH {
            self.queue.changed.notify_all();
        }
        Ok(())
    }

    /// Has it noted for gc that a record is in use. Where that fails nothing is lost but its age.
    pub(super) fn note_use(&self, key: Key) {
        let mut state = self.queue.state();
        if self.start().is_ok() {
            state.used.push(key);
            self.queue.changed.notify_all();
        }
    }

    /// Starts the thread if that was not yet done. The caller holds the queue's lock.
    fn start(&self) -> Result<()> {
        if self.thread.get().is_none() {
            let (inner, queue) = (Arc::clone(&self.inner), Arc::clone(&self.queue));
            let thread = thread::Builder::new().name("committer".into()).spawn(move || {
                run(&queue, |batch, used, added| commit(&inner, batch, used, added));
            });
            let thread = thread.map_err(CacheError::io("start the committer of", self.inner.disk.root()))?;
            self.thread.set(thread).expect("it is only set here, under the queue's lock");
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let mut state = self.queue.await_while(|state| !state.is_idle());
        match std::mem::take(&mut state.failures) {
            Failures { keys, first: Some(source) } => Err(CacheError::Commit { keys, source: Box::new(source) }),
            Failures { first: None, .. } => Ok(()),
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.queue.state().closed = true;
        self.queue.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; there is nobody here to whom to hand it on.
            let _ = thread.join();
        }
    }
}

/// The committing thread: batch after batch until the store is dropped and nothing waits.
///
/// `commit` is [`commit`]. If it panics, what it was given has failed like what cannot be written: nobody waits in vain.
fn run(queue: &Queue, mut commit: impl FnMut(Vec<(Claim, Record)>, Vec<Key>, &mut Vec<Claim>) -> Failures) {
    let mut added = Vec::new();
    let mut ended: Option<Instant> = None;
    loop {
        let pause = || ended.map_or(Duration::ZERO, |ended| GATHERING.saturating_sub(ended.elapsed()));
        let mut state = queue.gather(pause);
        if state.closed && state.is_idle() {
            return;
        }
        let (batch, used) = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.used));
        state.busy = true;
        drop(state);

        let keys: Vec<Key> = batch.iter().map(|(_, record)| record.key).collect();
        let before: Vec<Key> = added.iter().map(Claim::key).copied().collect();
        let committed = panic::catch_unwind(AssertUnwindSafe(|| commit(batch, used, &mut added)));
        let failures = committed.unwrap_or_else(|_| {
            added.clear();
            Failures { keys: keys.iter().copied().chain(before).collect(), first: Some(CacheError::CommitterPanicked) }
        });

        let mut state = queue.state();
        keys.iter().for_each(|key| drop(state.pending.remove(key)));
        state.failures.add(failures.keys, failures.first);
        state.busy = !added.is_empty();
        ended = Some(Instant::now());
        queue.changed.notify_all();
    }
}

/// Commits a batch, and completes those that the batch before left in `added`: in the pack, but not yet durable. After an
/// empty batch none is left.
///
/// Nothing here hashes: the threads that would are free only when nobody waits for us.
fn commit(inner: &Inner, batch: Vec<(Claim, Record)>, used: Vec<Key>, added: &mut Vec<Claim>) -> Failures {
    let mut failures = Failures::default();
    let before = std::mem::take(added);
    let claims = before.iter().chain(batch.iter().map(|(claim, _)| claim));
    let keys: Vec<Key> = claims.map(Claim::key).copied().collect();
    match place(inner, batch, used, !before.is_empty(), &mut failures) {
        Ok(placed) => *added = placed,
        Err(error) => {
            failures.add(keys, Some(error));
            return failures;
        }
    }
    // A task that succeeded durably has nothing to go on with. Its claim ends after its scratch folder, with `before`.
    for claim in &before {
        let scratch = inner.disk.root().join("scratch").join(claim.key().to_string());
        let removed = inner.disk.session().remove_folder(&scratch).map_err(CacheError::io("remove", &scratch));
        failures.keep(claim.key(), removed);
    }
    failures
}

/// Law 4: makes the blobs durable, with what the batch before added to the pack if it `has_added` anything, and adds the
/// records. An error is one of all.
fn place(
    inner: &Inner,
    batch: Vec<(Claim, Record)>,
    used: Vec<Key>,
    has_added: bool,
    failures: &mut Failures,
) -> Result<Vec<Claim>> {
    let root = inner.disk.root();
    let _adding = inner.adding()?;
    let mut blobs = BTreeMap::new();
    let mut ready = Vec::with_capacity(batch.len());
    for (claim, record) in batch {
        if let Some(unsynced) = failures.keep(&record.key, unsynced_blobs(inner, &record)) {
            blobs.extend(unsynced);
            ready.push((claim, record.encode()));
        }
    }
    let pack = inner.pack.path();
    let files: Vec<&Path> = blobs.keys().map(PathBuf::as_path).chain(has_added.then_some(pack)).collect();
    durable::sync_with_names(root, &files)?;
    for (path, (metadata, digest)) in blobs {
        Seal::Durable.set(&path, &metadata, &digest).map_err(CacheError::io("seal", path))?;
    }
    add(inner, ready, used, failures)
}

/// Adds records to the pack: all at once, or one by one if that fails, as where the disk has room for some.
fn add(inner: &Inner, ready: Vec<(Claim, Vec<u8>)>, used: Vec<Key>, failures: &mut Failures) -> Result<Vec<Claim>> {
    if ready.is_empty() && used.is_empty() {
        return Ok(Vec::new());
    }
    let now = clock::now();
    let all: Vec<u8> = ready.iter().map(|(_, bytes)| bytes.as_slice()).collect::<Vec<_>>().concat();
    let keys = ready.iter().map(|(claim, _)| *claim.key()).chain(used).collect();
    if inner.pack.add(&all, keys, now).is_ok() {
        return Ok(ready.into_iter().map(|(claim, _)| claim).collect());
    }
    let one_by_one = ready.into_iter().filter_map(|(claim, bytes)| {
        let added = inner.pack.add(&bytes, vec![*claim.key()], now);
        failures.keep(claim.key(), added).map(|()| claim)
    });
    Ok(one_by_one.collect())
}

/// Those of a record's blobs that are not known to be durable, if all of them are there and nobody has written to them.
fn unsynced_blobs(inner: &Inner, record: &Record) -> Result<Vec<(PathBuf, (Metadata, Digest))>> {
    let mut blobs = Vec::new();
    for file in record.files() {
        let there = inner.blob_metadata(&file.digest)?.filter(|(_, metadata)| inner.is_believed(file, metadata));
        let Some((path, metadata)) = there else { return Err(CacheError::Absent { digest: file.digest }) };
        if Seal::of(&metadata, &file.digest) < Seal::Durable {
            blobs.push((path, (metadata, file.digest)));
        }
    }
    Ok(blobs)
}

/// The keys that could not be committed, and why the first of them could not.
#[derive(Debug, Default)]
struct Failures {
    keys: Vec<Key>,
    first: Option<CacheError>,
}

impl Failures {
    /// Takes note of an error, and lets a success pass.
    fn keep<T>(&mut self, key: &Key, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.add([*key], Some(error))).ok()
    }

    fn add(&mut self, keys: impl IntoIterator<Item = Key>, error: Option<CacheError>) {
        for key in keys {
            if !self.keys.contains(&key) {
                self.keys.push(key);
            }
        }
        self.first = self.first.take().or(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_fails_its_batch_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let keys = ["panics", "does not"].map(Key::of);
        let queue = Queue::default();
        let push = |key: Key| {
            let claim = store.claim(&key, &|| false, &mut |_| ()).unwrap();
            let record = Record { key, fingerprint: serde_json::Value::Null, outputs: BTreeMap::new() };
            queue.state().pending.insert(key, record.clone());
            queue.state().waiting.push((claim, record));
            queue.changed.notify_all();
        };
        let flushed = || std::mem::take(&mut queue.wait_while(|state| !state.pending.is_empty()).failures);
        thread::scope(|scope| {
            scope.spawn(|| {
                run(&queue, |batch, _, _| match batch[0].0.key() {
                    key if *key == keys[0] => panic!("as the test wants it"),
                    _ => Failures::default(),
                });
            });
            push(keys[0]);
            let failures = flushed();
            assert_eq!(failures.keys, [keys[0]]);
            assert!(matches!(failures.first, Some(CacheError::CommitterPanicked)));
            assert!(store.try_claim(&keys[0]).unwrap().is_some(), "the claim went with the batch");
            push(keys[1]);
            assert!(flushed().first.is_none(), "the next batch is committed");
            queue.state().closed = true;
            queue.changed.notify_all();
        });
    }
}
