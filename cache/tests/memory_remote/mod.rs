//! A remote in memory, as a test double whose objects can be damaged.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use dnc_cache::{CacheError, ConditionalPut, ObjectListing, ObjectName, Remote, RemoteObject, Result};

/// A remote whose objects exist as long as the value.
#[derive(Debug, Default)]
pub(crate) struct MemoryRemote {
    objects: Mutex<BTreeMap<ObjectName, Vec<u8>>>,
    /// When each object was written.
    times: Mutex<BTreeMap<ObjectName, SystemTime>>,
    /// How far the clock of the server is ahead.
    ahead: Mutex<Duration>,
    /// Held during a conditional put.
    conditional: Mutex<()>,
    requests: AtomicUsize,
    /// The number of objects that can still be written, plus one; unlimited if it is zero.
    writes: AtomicUsize,
    /// Where all who write their first pack wait for each other.
    gate: Mutex<Option<std::sync::Arc<Barrier>>>,
}

impl MemoryRemote {
    pub(crate) fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectName, Vec<u8>>> {
        lock(&self.objects)
    }

    /// Takes the number of requests since the last call.
    pub(crate) fn take_requests(&self) -> usize {
        self.requests.swap(0, Ordering::Relaxed)
    }

    /// Sets the clock of the server forward.
    pub(crate) fn wait(&self, time: Duration) {
        *lock(&self.ahead) += time;
    }

    /// Refuses all writes after this many, as if the process were killed. `None` ends that.
    pub(crate) fn stop_after(&self, writes: Option<usize>) {
        self.writes.store(writes.map_or(0, |writes| writes + 1), Ordering::Relaxed);
    }

    /// Makes the next `processes` that write a pack wait for each other first.
    pub(crate) fn gather(&self, processes: usize) {
        *lock(&self.gate) = Some(std::sync::Arc::new(Barrier::new(processes)));
    }

    /// Damages the only pack.
    pub(crate) fn spoil_pack(&self, spoil: impl FnOnce(&mut Vec<u8>)) -> ObjectName {
        let mut objects = self.objects();
        let mut packs = objects.iter_mut().filter(|(name, _)| name.as_str().starts_with("packs/"));
        let (name, bytes) = packs.next().expect("a pack was pushed");
        assert!(packs.next().is_none(), "there is one pack");
        spoil(bytes);
        name.clone()
    }

    fn count(&self, requests: usize) {
        self.requests.fetch_add(requests, Ordering::Relaxed);
    }

    fn write(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        let gate = lock(&self.gate).clone();
        if let Some(gate) = gate.filter(|_| name.as_str().starts_with("packs/")) {
            gate.wait();
            *lock(&self.gate) = None;
        }
        match self.writes.load(Ordering::Relaxed) {
            0 => {}
            1 => return Err(io_error("write", Path::new("memory"))(io::Error::other("stopped"))),
            _ => drop(self.writes.fetch_sub(1, Ordering::Relaxed)),
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + *lock(&self.ahead);
        lock(&self.times).insert(name.clone(), now);
        self.objects().insert(name.clone(), bytes.to_vec());
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remote for MemoryRemote {
    fn url(&self) -> &str {
        "memory://"
    }

    fn concurrent_requests(&self) -> usize {
        4
    }

    fn sizes(&self, names: &[ObjectName]) -> Result<Vec<Option<u64>>> {
        self.count(names.len());
        let objects = self.objects();
        Ok(names.iter().map(|name| objects.get(name).map(|bytes| bytes.len() as u64)).collect())
    }

    fn get(&self, name: &ObjectName) -> Result<Option<Vec<u8>>> {
        self.count(1);
        Ok(self.objects().get(name).cloned())
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Option<Vec<u8>>> {
        let Some(bytes) = self.get(name)? else { return Ok(None) };
        let at = |offset: u64| bytes.len().min(usize::try_from(offset).expect("it is small"));
        Ok(Some(bytes[at(range.start)..at(range.end)].to_vec()))
    }

    fn get_to_file(&self, name: &ObjectName, to: &Path) -> Result<bool> {
        let Some(bytes) = self.get(name)? else { return Ok(false) };
        fs::write(to, bytes).map_err(io_error("write", to))?;
        Ok(true)
    }

    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.count(1);
        self.write(name, bytes)
    }

    fn remove(&self, names: &[ObjectName]) -> Result<()> {
        self.count(names.len().div_ceil(1000));
        let mut objects = self.objects();
        names.iter().for_each(|name| drop(objects.remove(name)));
        Ok(())
    }

    fn put_from_file(&self, name: &ObjectName, file: &Path) -> Result<()> {
        let bytes = fs::read(file).map_err(io_error("read", file))?;
        self.put(name, &bytes)
    }

    fn put_if_absent(&self, name: &ObjectName, bytes: &[u8]) -> Result<ConditionalPut> {
        self.count(1);
        let _together = lock(&self.conditional);
        let existing = self.objects().get(name).cloned();
        match existing {
            Some(existing) => Ok(ConditionalPut::Existed(existing)),
            None => self.write(name, bytes).map(|()| ConditionalPut::Created),
        }
    }

    fn list(&self, folder: &str) -> ObjectListing<'_> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let times = lock(&self.times);
        let time = |name| times.get(name).copied().unwrap_or(SystemTime::UNIX_EPOCH);
        let mut objects: Vec<_> = self
            .objects()
            .iter()
            .map(|(name, bytes)| RemoteObject { name: name.clone(), size: bytes.len() as u64, modified: time(name) })
            .collect();
        objects.retain(|object| object.name.as_str().starts_with(&prefix));
        // A server lists a thousand objects a request.
        self.count(objects.len().div_ceil(1000).max(1));
        Box::new(objects.into_iter().map(Ok))
    }
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    move |source| CacheError::Io { doing, path: path.to_owned(), source }
}
