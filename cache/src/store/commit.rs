//! Commits: blobs first, record last, and many at once.
//!
//! Making something durable takes a disk milliseconds, whether it is one file or a thousand. So one thread takes all
//! records that wait, makes their blobs and (under private names) the records themselves durable in one go, and only then
//! renames the records into place. The names are made durable together with the next batch, or when none waits.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::{self, JoinHandle};

use tempfile::TempPath;

use super::seal::Seal;
use super::{Claim, Inner, Store};
use crate::backend::ObjectName;
use crate::digest::{Digest, Key};
use crate::durable;
use crate::error::{CacheError, Result};
use crate::record::Record;

/// How many records may wait or be in the making. Each holds an open file, its claim, and systems allow few of these.
const BACKLOG: usize = 128;

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
    /// What waits or is in the making, for look-ups.
    pending: HashMap<Key, Record>,
    failures: Failures,
    /// The thread has something to do that is not in `waiting`.
    busy: bool,
    closed: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    fn wait_while(&self, busy: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.state(), |state| busy(state)).expect("nothing panics while it holds this lock")
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
        let mut state = self.queue.wait_while(|state| state.pending.len() >= BACKLOG);
        if self.thread.get().is_none() {
            let (inner, queue) = (Arc::clone(&self.inner), Arc::clone(&self.queue));
            let thread = thread::Builder::new().name("committer".into()).spawn(move || {
                run(&queue, |batch, named| commit(&inner, batch, named));
            });
            let thread = thread.map_err(CacheError::io("start the committer of", self.inner.disk.root()))?;
            self.thread.set(thread).expect("it is only set here, under the queue's lock");
        }
        state.pending.insert(record.key, record.clone());
        state.waiting.push((claim, record));
        self.queue.changed.notify_all();
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let mut state = self.queue.wait_while(|state| state.busy || !state.waiting.is_empty());
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
fn run(queue: &Queue, mut commit: impl FnMut(Vec<(Claim, Record)>, &mut Vec<Named>) -> Failures) {
    let mut named = Vec::new();
    loop {
        let mut state = queue.wait_while(|state| state.waiting.is_empty() && !state.busy && !state.closed);
        let batch = std::mem::take(&mut state.waiting);
        if batch.is_empty() && !state.busy {
            return;
        }
        state.busy = true;
        drop(state);

        let keys: Vec<Key> = batch.iter().map(|(_, record)| record.key).collect();
        let before: Vec<Key> = named.iter().map(|named: &Named| *named.claim.key()).collect();
        let ended = panic::catch_unwind(AssertUnwindSafe(|| commit(batch, &mut named)));
        let failures = ended.unwrap_or_else(|_| {
            named.clear();
            Failures { keys: keys.iter().copied().chain(before).collect(), first: Some(CacheError::CommitterPanicked) }
        });

        let mut state = queue.state();
        keys.iter().for_each(|key| drop(state.pending.remove(key)));
        state.failures.add(failures.keys, failures.first);
        state.busy = !named.is_empty();
        queue.changed.notify_all();
    }
}

/// A record under a private name, which goes with the value.
struct Written {
    claim: Claim,
    file: TempPath,
    /// Those of its blobs that are not known to be durable.
    blobs: Vec<(PathBuf, Digest)>,
}

/// A record in its place, whose name is not yet durable.
struct Named {
    claim: Claim,
    path: PathBuf,
}

/// Commits a batch, and completes those whose names the batch before left in `named`. After an empty batch none is left.
///
/// Nothing here hashes: the threads that would are free only when nobody waits for us.
fn commit(inner: &Inner, batch: Vec<(Claim, Record)>, named: &mut Vec<Named>) -> Failures {
    let mut failures = Failures::default();
    let before = std::mem::take(named);
    let keys: Vec<Key> = before
        .iter()
        .map(|named| &named.claim)
        .chain(batch.iter().map(|(claim, _)| claim))
        .map(Claim::key)
        .copied()
        .collect();
    match place(inner, batch, &before, &mut failures) {
        Ok(placed) => *named = placed,
        Err(error) => {
            failures.add(keys, Some(error));
            return failures;
        }
    }
    // A task that succeeded durably has nothing to go on with. Its claim ends after its scratch folder, with `before`.
    for Named { claim, .. } in &before {
        let scratch = inner.disk.root().join("scratch").join(claim.key().to_string());
        let removed = inner.disk.session().remove_folder(&scratch).map_err(CacheError::io("remove", &scratch));
        failures.keep(claim.key(), removed);
    }
    failures
}

/// Law 4: writes the records, makes everything durable, and names the records. An error is one of all.
fn place(inner: &Inner, batch: Vec<(Claim, Record)>, before: &[Named], failures: &mut Failures) -> Result<Vec<Named>> {
    let root = inner.disk.root();
    let _adding = inner.adding()?;
    let mut written = Vec::new();
    for (claim, record) in batch {
        written.extend(failures.keep(&record.key, write(inner, claim, &record)));
    }
    let blobs: BTreeMap<&Path, &Digest> =
        written.iter().flat_map(|written| &written.blobs).map(|(path, digest)| (path.as_path(), digest)).collect();
    let renamed = before.iter().map(|named| named.path.as_path()).chain(blobs.keys().copied());
    let mut unsynced = durable::folders_of(root, renamed);
    unsynced.extend(blobs.keys().map(|path| path.to_path_buf()));
    unsynced.extend(written.iter().map(|written| written.file.to_path_buf()));
    durable::sync(root, &unsynced)?;
    for (path, digest) in blobs {
        let sealed = File::open(path).and_then(|blob| Seal::Durable.set(&blob, digest));
        sealed.map_err(CacheError::io("seal", path))?;
    }
    let mut named = Vec::new();
    for Written { claim, file, .. } in written {
        let key = *claim.key();
        let path = failures.keep(&key, inner.disk.adopt(&ObjectName::record(&key), &file));
        named.extend(path.map(|path| Named { claim, path }));
    }
    Ok(named)
}

/// Writes a record under a private name, if all its blobs are there and nobody has written to them.
fn write(inner: &Inner, claim: Claim, record: &Record) -> Result<Written> {
    let mut blobs = Vec::new();
    for file in record.files() {
        let there = inner.blob_metadata(&file.digest)?.filter(|(_, metadata)| inner.is_believed(file, metadata));
        let Some((path, metadata)) = there else { return Err(CacheError::Absent { digest: file.digest }) };
        if Seal::of(&metadata, &file.digest) < Seal::Durable {
            blobs.push((path, file.digest));
        }
    }
    let file = inner.disk.write_temporary("record", record.encode().as_slice())?;
    Ok(Written { claim, file, blobs })
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
                run(&queue, |batch, _| match batch[0].0.key() {
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
