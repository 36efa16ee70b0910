//! Committer: a thread that makes records durable in batches, always the blobs before the record.
//!
//! Making data durable takes milliseconds, whether it is one file or a thousand, and the file system delays the creation of
//! files meanwhile. One thread therefore takes all waiting records, makes their blobs durable together, and only then appends
//! the records to the pack. The pack is made durable with the next batch, or at once if no record waits. When records arrive
//! in quick succession, the thread waits for a short time to collect more of them.

use std::collections::{BTreeMap, HashMap};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::blobs::UnsyncedBlob;
use super::claim::Claim;
use super::state::StoreState;
use crate::clock;
use crate::digest::{Digest, Key};
use crate::durable;
use crate::error::{CacheError, Result};
use crate::poison;
use crate::record::Record;

/// Maximum number of records that are not yet committed. A commit beyond it waits.
const MAX_PENDING: usize = 256;

/// Number of waiting records at which a batch starts without delay.
const FULL_BATCH: usize = MAX_PENDING / 2;

/// Minimum time between two batches, unless a caller waits for the commits.
const BATCH_DELAY: Duration = Duration::from_millis(100);

/// The committing thread and its queue. The thread is started by the first commit.
#[derive(Debug)]
pub(super) struct Committer {
    store: Arc<StoreState>,
    queue: Arc<Queue>,
    thread: OnceLock<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: Vec<(Claim, Record)>,
    /// Keys of records whose use is to be noted.
    used: Vec<Key>,
    /// All records that are not yet committed, for lookups.
    pending: HashMap<Key, Record>,
    failures: Failures,
    /// Whether the thread is working on a batch or has one to complete.
    busy: bool,
    /// Number of callers that wait until everything is durable, or until there is room in the queue.
    waiters: usize,
    closed: bool,
}

impl QueueState {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.used.is_empty() && !self.busy
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        poison::lock(&self.state)
    }

    fn wait_while(&self, busy: impl Fn(&QueueState) -> bool) -> MutexGuard<'_, QueueState> {
        poison::ignore(self.changed.wait_while(self.state(), |state| busy(state)))
    }

    /// Like [`Queue::wait_while`], and makes the thread start batches without delay meanwhile.
    fn wait_urgently_while(&self, busy: impl Fn(&QueueState) -> bool) -> MutexGuard<'_, QueueState> {
        let mut state = self.state();
        if busy(&state) {
            state.waiters += 1;
            self.changed.notify_all();
            drop(state);
            state = self.wait_while(busy);
            state.waiters -= 1;
        }
        state
    }

    /// Waits until there is work, and then for the delay, unless a caller waits or a batch is full.
    fn wait_for_batch(&self, delay: impl FnOnce() -> Duration) -> MutexGuard<'_, QueueState> {
        let state = self.wait_while(|state| state.is_idle() && !state.closed);
        let may_wait = |state: &mut QueueState| state.waiters == 0 && !state.closed && state.waiting.len() < FULL_BATCH;
        poison::ignore(self.changed.wait_timeout_while(state, delay(), may_wait)).0
    }
}

impl Committer {
    pub(super) fn new(store: Arc<StoreState>) -> Self {
        Self { store, queue: Arc::default(), thread: OnceLock::new() }
    }

    /// The record of `key`, if it is not yet committed.
    pub(super) fn pending(&self, key: &Key) -> Option<Record> {
        self.queue.state().pending.get(key).cloned()
    }

    /// Adds a record to the queue. Waits if the queue is full.
    pub(super) fn push(&self, claim: Claim, record: Record) -> Result<()> {
        let mut state = self.queue.wait_urgently_while(|state| state.pending.len() >= MAX_PENDING);
        self.start()?;
        state.pending.insert(record.key, record.clone());
        state.waiting.push((claim, record));
        // The thread only needs to know of the first record of a batch and of the one that fills it.
        if state.waiting.len() == 1 || state.waiting.len() == FULL_BATCH {
            self.queue.changed.notify_all();
        }
        Ok(())
    }

    /// Notes for gc that a record is in use. If that fails, the record only appears older than it is.
    pub(super) fn note_use(&self, key: Key) {
        let mut state = self.queue.state();
        if self.start().is_ok() {
            state.used.push(key);
            self.queue.changed.notify_all();
        }
    }

    /// Starts the thread, if it has not been started. The caller holds the queue's lock.
    fn start(&self) -> Result<()> {
        if self.thread.get().is_none() {
            let (store, queue) = (Arc::clone(&self.store), Arc::clone(&self.queue));
            let thread = thread::Builder::new().name("committer".into()).spawn(move || {
                run(&queue, |batch, used, appended| commit(&store, batch, used, appended));
            });
            let thread = thread.map_err(CacheError::io("start the committing thread of", self.store.disk.root()))?;
            self.thread.set(thread).expect("it is only set here, under the lock of the queue");
        }
        Ok(())
    }

    /// Waits until every record is durable or has failed. The failures are left for [`flush`](Self::flush).
    pub(super) fn settle(&self) {
        drop(self.queue.wait_urgently_while(|state| !state.is_idle()));
    }

    /// Waits until all records are durable. Returns the failures since the last call.
    pub(super) fn flush(&self) -> Result<()> {
        let mut state = self.queue.wait_urgently_while(|state| !state.is_idle());
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
            // The message of a panic has been printed, and a destructor cannot return an error.
            let _ = thread.join();
        }
    }
}

/// The committing thread: commits batches until the store is dropped and no record waits.
///
/// `commit` is the function [`commit`] except in tests. If it panics, all records that it was given have failed, as if they
/// could not be written, and no caller waits forever.
fn run(queue: &Queue, mut commit: impl FnMut(Vec<(Claim, Record)>, Vec<Key>, &mut Vec<Claim>) -> Failures) {
    let mut appended = Vec::new();
    let mut ended: Option<Instant> = None;
    loop {
        let delay = || ended.map_or(Duration::ZERO, |ended| BATCH_DELAY.saturating_sub(ended.elapsed()));
        let mut state = queue.wait_for_batch(delay);
        if state.closed && state.is_idle() {
            return;
        }
        let (batch, used) = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.used));
        state.busy = true;
        drop(state);

        let keys: Vec<Key> = batch.iter().map(|(_, record)| record.key).collect();
        let before: Vec<Key> = appended.iter().map(Claim::key).copied().collect();
        let committed = panic::catch_unwind(AssertUnwindSafe(|| commit(batch, used, &mut appended)));
        let failures = committed.unwrap_or_else(|_| {
            appended.clear();
            Failures { keys: keys.iter().copied().chain(before).collect(), first: Some(CacheError::CommitterPanicked) }
        });

        let mut state = queue.state();
        keys.iter().for_each(|key| drop(state.pending.remove(key)));
        state.failures.add(failures.keys, failures.first);
        state.busy = !appended.is_empty();
        ended = Some(Instant::now());
        queue.changed.notify_all();
    }
}

/// Commits a batch, and completes the previous one, whose claims are in `appended`: its records are in the pack but not yet
/// durable. After an empty batch `appended` is empty.
///
/// Nothing here may hash: the threads that hash files may all be waiting for this thread.
fn commit(store: &StoreState, batch: Vec<(Claim, Record)>, used: Vec<Key>, appended: &mut Vec<Claim>) -> Failures {
    let mut failures = Failures::default();
    let before = std::mem::take(appended);
    let claims = before.iter().chain(batch.iter().map(|(claim, _)| claim));
    let keys: Vec<Key> = claims.map(Claim::key).copied().collect();
    match sync_and_append(store, batch, used, !before.is_empty(), &mut failures) {
        Ok(claims) => *appended = claims,
        Err(error) => {
            failures.add(keys, Some(error));
            return failures;
        }
    }
    // The tasks of the previous batch are durably done and need their scratch folders no more. Their claims end afterwards,
    // with `before`.
    for claim in &before {
        let scratch = store.disk.root().join("scratch").join(claim.key().to_string());
        let removed = store.disk.session().remove_folder(&scratch).map_err(CacheError::io("remove", &scratch));
        failures.keep(claim.key(), removed);
    }
    failures
}

/// Makes the blobs of a batch durable, together with the pack if the previous batch `has_appended` to it, and then appends the
/// records to the pack: a record must never name a blob that is not durable. Returns the claims of the appended records. An
/// error concerns the whole batch.
fn sync_and_append(
    store: &StoreState,
    batch: Vec<(Claim, Record)>,
    used: Vec<Key>,
    has_appended: bool,
    failures: &mut Failures,
) -> Result<Vec<Claim>> {
    let root = store.disk.root();
    let _lock = store.lock_for_adding()?;
    let mut blobs = BTreeMap::<Digest, UnsyncedBlob>::new();
    let mut ready = Vec::with_capacity(batch.len());
    for (claim, record) in batch {
        if let Some(unsynced) = failures.keep(&record.key, store.blobs_to_sync(&record, false)) {
            blobs.extend(unsynced.into_iter().map(|blob| (blob.digest, blob)));
            ready.push((claim, record.encode()));
        }
    }
    let pack = store.pack.path();
    let files: Vec<&Path> =
        blobs.values().map(|blob| blob.path.as_path()).chain(has_appended.then_some(pack)).collect();
    durable::sync_with_names(root, &files)?;
    blobs.values().try_for_each(UnsyncedBlob::seal_durable)?;
    append(store, ready, used, failures)
}

/// Appends records to the pack: all at once, or one by one if that fails, because a nearly full disk may have room for some.
fn append(
    store: &StoreState,
    ready: Vec<(Claim, Vec<u8>)>,
    used: Vec<Key>,
    failures: &mut Failures,
) -> Result<Vec<Claim>> {
    if ready.is_empty() && used.is_empty() {
        return Ok(Vec::new());
    }
    let now = clock::now();
    let all: Vec<u8> = ready.iter().map(|(_, bytes)| bytes.as_slice()).collect::<Vec<_>>().concat();
    let keys = ready.iter().map(|(claim, _)| *claim.key()).chain(used).collect();
    if store.pack.add(&all, keys, now).is_ok() {
        return Ok(ready.into_iter().map(|(claim, _)| claim).collect());
    }
    let one_by_one = ready.into_iter().filter_map(|(claim, bytes)| {
        let result = store.pack.add(&bytes, vec![*claim.key()], now);
        failures.keep(claim.key(), result).map(|()| claim)
    });
    Ok(one_by_one.collect())
}

/// The keys that could not be committed, and the first error.
#[derive(Debug, Default)]
struct Failures {
    keys: Vec<Key>,
    first: Option<CacheError>,
}

impl Failures {
    /// Records an error, and passes a success on.
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
    use super::super::handle::Store;
    use super::*;

    #[test]
    fn a_panic_fails_its_batch_and_releases_all_waiters() {
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
                    key if *key == keys[0] => panic!("intended by the test"),
                    _ => Failures::default(),
                });
            });
            push(keys[0]);
            let failures = flushed();
            assert_eq!(failures.keys, [keys[0]]);
            assert!(matches!(failures.first, Some(CacheError::CommitterPanicked)));
            assert!(store.try_claim(&keys[0]).unwrap().is_some(), "the claim was dropped with the batch");
            push(keys[1]);
            assert!(flushed().first.is_none(), "the next batch is committed");
            queue.state().closed = true;
            queue.changed.notify_all();
        });
    }
}
