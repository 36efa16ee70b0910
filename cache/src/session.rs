//! What a process writes before it is done: a private folder whose owner's death shows.
//!
//! `tmp/<session>/` holds the files; `tmp/<session>.alive` is locked for as long as the process lives. A folder whose lock
//! is free belonged to a dead process, whatever host or container that ran in, and can go.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::error::{CacheError, Result, found};
use crate::lock::LockFile;

/// A process's private folder, removed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    folder: PathBuf,
    named: AtomicU64,
    _alive: LockFile,
}

impl Session {
    pub(crate) fn begin(tmp: &Path) -> Result<Self> {
        fs::create_dir_all(tmp).map_err(CacheError::io("create", tmp))?;
        loop {
            let name = unique();
            let alive = tmp.join(format!("{name}.alive"));
            let Some(lock) = LockFile::try_acquire(&alive).map_err(CacheError::io("lock", &alive))? else { continue };
            let folder = tmp.join(name);
            match fs::create_dir(&folder) {
                Ok(()) => return Ok(Self { folder, named: AtomicU64::new(0), _alive: lock }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(CacheError::io("create", folder)(error)),
            }
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path in the folder that was never given out before.
    pub(crate) fn path(&self, stem: &str) -> PathBuf {
        self.folder.join(format!("{stem}-{}", self.named.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What cannot be removed now is removed by gc, which will find the lock free.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A session of a process that is dead, or of one that lives.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nobody holds it; the lock is ours, so that nobody else removes the folder at the same time.
    Dead { folder: PathBuf, _lock: LockFile },
    /// A process that began then is alive.
    Alive { folder: PathBuf, since: SystemTime },
}

/// Every session below `tmp` but for those that end while we look.
pub(crate) fn sessions(tmp: &Path) -> Result<Vec<Found>> {
    let Some(entries) = found(fs::read_dir(tmp)).map_err(CacheError::io("list", tmp))? else { return Ok(Vec::new()) };
    let mut names = BTreeSet::new();
    for entry in entries {
        let path = entry.map_err(CacheError::io("list", tmp))?.path();
        names.insert(path.with_extension("alive"));
    }
    let mut sessions = Vec::new();
    for alive in names {
        let lock = LockFile::try_acquire(&alive).map_err(CacheError::io("lock", &alive))?;
        let since = found(fs::metadata(&alive).and_then(|metadata| metadata.modified()));
        let folder = alive.with_extension("");
        match (lock, since.map_err(CacheError::io("read", &alive))?) {
            (Some(lock), _) => sessions.push(Found::Dead { folder, _lock: lock }),
            (None, Some(since)) => sessions.push(Found::Alive { folder, since }),
            (None, None) => {}
        }
    }
    Ok(sessions)
}

/// A name that no other session has: process numbers are reused and hosts share stores, so the time is part of it.
fn unique() -> String {
    let since = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_nanos());
    format!("{}-{since:x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_without_a_trace() {
        let tmp = tempfile::tempdir().unwrap();
        let session = Session::begin(tmp.path()).unwrap();
        fs::write(session.path("file"), "x").unwrap();
        assert_ne!(session.path("file"), session.path("file"));
        drop(session);
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_living_are_told_from_the_dead() {
        let tmp = tempfile::tempdir().unwrap();
        let _living = Session::begin(tmp.path()).unwrap();
        fs::create_dir(tmp.path().join("1-abc")).unwrap();
        fs::write(tmp.path().join("2-abc.alive"), "2").unwrap();
        let found = sessions(tmp.path()).unwrap();
        let dead = found.iter().filter(|session| matches!(session, Found::Dead { .. })).count();
        let alive = found.iter().filter(|session| matches!(session, Found::Alive { .. })).count();
        assert_eq!((dead, alive), (2, 1));
    }
}
