//! What a process writes before it is done: a private folder whose owner's death shows.
//!
//! `tmp/<session>/` holds the files; `tmp/<session>.alive` is locked for as long as the process lives. A folder whose lock
//! is free belonged to a dead process, whatever host or container that ran in, and can go.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use crate::clock;
use crate::error::{CacheError, Result, found};
use crate::lock::LockFile;

/// A process's private folder, removed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    folder: PathBuf,
    named: AtomicU64,
    /// Empty folders that were given back: making and removing folders is slow where it is done by the thousand (3 ms each
    /// on ext4 with `discard`), and renaming them is not.
    spare: Mutex<Vec<PathBuf>>,
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
                Ok(()) => return Ok(Self { folder, named: AtomicU64::new(0), spare: Mutex::default(), _alive: lock }),
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

    /// Puts an empty folder at `to`, where nothing is.
    pub(crate) fn make_folder(&self, to: &Path) -> io::Result<()> {
        match self.spare().pop() {
            Some(spare) => fs::rename(spare, to),
            None => fs::create_dir(to),
        }
    }

    /// Removes a folder with all that it holds, if it is there.
    pub(crate) fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        let Some(mut entries) = found(fs::read_dir(folder))? else { return Ok(()) };
        if entries.next().is_some() {
            return fs::remove_dir_all(folder);
        }
        let spare = self.path("spare");
        fs::rename(folder, &spare)?;
        self.spare().push(spare);
        Ok(())
    }

    fn spare(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.spare.lock().expect("nothing panics while it holds this lock")
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
        let metadata = found(fs::metadata(&alive)).map_err(CacheError::io("read", &alive))?;
        let folder = alive.with_extension("");
        match (lock, metadata) {
            (Some(lock), _) => sessions.push(Found::Dead { folder, _lock: lock }),
            // The file last changed when its holder signed it.
            (None, Some(metadata)) => sessions.push(Found::Alive { folder, since: clock::changed(&metadata) }),
            (None, None) => {}
        }
    }
    Ok(sessions)
}

/// A name that no other session has: process numbers are reused and hosts share stores, so the time is part of it.
fn unique() -> String {
    let since = clock::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
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
    fn folders_are_empty_whoever_had_them_before() {
        let tmp = tempfile::tempdir().unwrap();
        let session = Session::begin(tmp.path()).unwrap();
        let (one, other) = (session.path("one"), session.path("other"));
        session.make_folder(&one).unwrap();
        session.remove_folder(&one).unwrap();
        assert!(!one.exists());
        session.make_folder(&other).unwrap();
        fs::write(other.join("file"), "x").unwrap();
        session.remove_folder(&other).unwrap();
        assert!(!other.exists());
        session.remove_folder(&other).unwrap();
        session.make_folder(&one).unwrap();
        assert_eq!(fs::read_dir(&one).unwrap().count(), 0);
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
