//! What a process writes before it is done: private paths whose owner's death shows.
//!
//! `tmp/<session>.alive` is locked for as long as the process lives, and all that it writes is called `tmp/<session>.…`. What
//! bears the name of a session whose lock is free belonged to a dead process, whatever host or container that ran in, and
//! can go.
//!
//! What a session claims is a further name of one more locked file of its own. A file for each would be made and removed by the
//! thousand, and ext4 searches long for an inode that has not just become free; each would also stay open, and starting a
//! program takes the longer the more files are.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use crate::clock;
use crate::error::{CacheError, Result, found};
use crate::lock::LockFile;

/// The name of the file that shows whether its session is alive.
const ALIVE: &str = "alive";

/// A process's private paths. What is left of them is removed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    tmp: PathBuf,
    name: String,
    named: AtomicU64,
    /// Empty folders that were given back, by what they are for: making and removing folders is slow where it is done by the
    /// thousand (3 ms each on ext4 with `discard`).
    spare: Mutex<[Vec<PathBuf>; 2]>,
    /// What all claims are names of; made for the first.
    claims: Mutex<Option<LockFile>>,
    _alive: LockFile,
}

/// What a folder is for. It is never used for the other: what a program left running may still write to where it worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It becomes an artifact.
    Output,
    /// A program works in it.
    Work,
}

/// A path that nobody else can claim until the value is dropped or the process dies.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// A further name of the session's file.
    Name(PathBuf),
    /// A file of its own, where the file system gives a file but one name.
    File { _lock: LockFile },
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Self::Name(path) = self {
            // A name that stays behind excludes others until this process ends.
            let _ = fs::remove_file(path);
        }
    }
}

impl Session {
    pub(crate) fn begin(tmp: &Path) -> Result<Self> {
        fs::create_dir_all(tmp).map_err(CacheError::io("create", tmp))?;
        loop {
            let name = unique();
            let alive = tmp.join(format!("{name}.{ALIVE}"));
            if let Some(lock) = LockFile::try_acquire(&alive).map_err(CacheError::io("lock", &alive))? {
                return Ok(Self {
                    tmp: tmp.to_owned(),
                    name,
                    named: AtomicU64::new(0),
                    spare: Mutex::default(),
                    claims: Mutex::default(),
                    _alive: lock,
                });
            }
        }
    }

    /// A path that was never given out before.
    pub(crate) fn path(&self, stem: &str) -> PathBuf {
        self.tmp.join(format!("{}.{stem}-{}", self.name, self.named.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the path is at or below one that was given out.
    pub(crate) fn owns(&self, path: &Path) -> bool {
        let below = path.strip_prefix(&self.tmp).ok().and_then(|below| below.iter().next()?.to_str());
        below.is_some_and(|below| session_of(below) == self.name)
    }

    /// An empty folder of a name that no other had, until it is given back or the session ends.
    pub(crate) fn folder(&self, purpose: Purpose) -> Result<PathBuf> {
        let folder = self.path("task");
        let spare = self.spare()[purpose as usize].pop();
        match &spare {
            // Whoever still knows the old name does not find it.
            Some(spare) => fs::rename(spare, &folder),
            None => fs::create_dir(&folder),
        }
        .map_err(CacheError::io("create", &folder))?;
        Ok(folder)
    }

    /// Takes back what [`Session::folder`] gave, with all that it holds.
    pub(crate) fn give_back(&self, folder: &Path, purpose: Purpose) -> io::Result<()> {
        if empty(folder)? {
            self.spare()[purpose as usize].push(folder.to_owned());
        }
        Ok(())
    }

    /// Removes a folder elsewhere with all that it holds, if it is there.
    pub(crate) fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        if !empty(folder)? {
            return Ok(());
        }
        let spare = self.path("task");
        fs::rename(folder, &spare)?;
        self.spare()[Purpose::Work as usize].push(spare);
        Ok(())
    }

    /// Claims a path, or says `None` if somebody has claimed it, as [`LockFile::try_acquire`] does.
    pub(crate) fn claim(&self, path: &Path) -> io::Result<Option<Claimed>> {
        let mut claims = self.claims.lock().expect("nothing panics while it holds this lock");
        if claims.is_none() {
            *claims = LockFile::try_acquire(&self.path("claims"))?;
        }
        let own = claims.as_ref().expect("nobody else is given this path").path();
        loop {
            match fs::hard_link(own, path) {
                Ok(()) => return Ok(Some(Claimed::Name(path.to_owned()))),
                // Of a dead process all claims are one file; it is not taken over, so that each can go to another.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match LockFile::try_acquire(path)? {
                    Some(left) => drop(left),
                    None => return Ok(None),
                },
                Err(_) => return Ok(LockFile::try_acquire(path)?.map(|lock| Claimed::File { _lock: lock })),
            }
        }
    }

    fn spare(&self) -> MutexGuard<'_, [Vec<PathBuf>; 2]> {
        self.spare.lock().expect("nothing panics while it holds this lock")
    }
}

/// Removes all that a folder holds; `false` if there is no such folder.
fn empty(folder: &Path) -> io::Result<bool> {
    permitting(folder, || {
        let Some(entries) = found(fs::read_dir(folder))? else { return Ok(false) };
        for entry in entries {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        Ok(true)
    })
}

/// Does `remove`, and does it again where a program left folders below `path` that may not be changed.
fn permitting<T>(path: &Path, remove: impl Fn() -> io::Result<T>) -> io::Result<T> {
    fn permit(folder: &Path) -> io::Result<()> {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                permit(&entry.path())?;
            }
        }
        Ok(())
    }
    match remove() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => permit(path).and_then(|()| remove()),
        other => other,
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What cannot be removed now is removed by gc, which will find the lock free.
        for path in fs::read_dir(&self.tmp).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if self.owns(&path) && path.extension().is_none_or(|extension| extension != ALIVE) {
                let _ = remove(&path);
            }
        }
    }
}

/// A session of a process that is dead, or of one that lives.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nobody holds it; the lock is ours, so that nobody else removes the rest at the same time.
    Dead { rest: Vec<PathBuf>, _lock: LockFile },
    /// A process that began then is alive.
    Alive { name: String, since: SystemTime },
}

/// Every session below `tmp` but for those that end while we look.
pub(crate) fn sessions(tmp: &Path) -> Result<Vec<Found>> {
    let mut paths = BTreeMap::<String, Vec<PathBuf>>::new();
    for entry in fs::read_dir(tmp).map_err(CacheError::io("list", tmp))? {
        let entry = entry.map_err(CacheError::io("list", tmp))?;
        let of_session = paths.entry(session_of(&entry.file_name().to_string_lossy()).to_owned()).or_default();
        of_session.push(entry.path());
    }
    let mut sessions = Vec::new();
    for (name, mut rest) in paths {
        let alive = tmp.join(format!("{name}.{ALIVE}"));
        rest.retain(|path| *path != alive);
        let lock = LockFile::try_acquire(&alive).map_err(CacheError::io("lock", &alive))?;
        let metadata = found(fs::metadata(&alive)).map_err(CacheError::io("read", &alive))?;
        match (lock, metadata) {
            (Some(lock), _) => sessions.push(Found::Dead { rest, _lock: lock }),
            // The file last changed when its holder signed it.
            (None, Some(metadata)) => sessions.push(Found::Alive { name, since: clock::changed(&metadata) }),
            (None, None) => {}
        }
    }
    Ok(sessions)
}

/// Removes a file, or a folder with all that it holds, if it is there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match found(fs::symlink_metadata(path))? {
        Some(metadata) if metadata.is_dir() => found(permitting(path, || fs::remove_dir_all(path))).map(drop),
        Some(_) => found(fs::remove_file(path)).map(drop),
        None => Ok(()),
    }
}

/// The session that a file in `tmp` belongs to.
fn session_of(name: &str) -> &str {
    name.split_once('.').map_or(name, |(session, _)| session)
}

/// A name that no other session has: process numbers are reused and hosts share stores, so the time is part of it.
fn unique() -> String {
    let since = clock::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{}-{since:x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_session_ends_without_a_trace() {
        let tmp = tempfile::tempdir().unwrap();
        let session = Session::begin(tmp.path()).unwrap();
        let path = session.path("file");
        fs::write(&path, "x").unwrap();
        assert!(session.owns(&path) && session.owns(&path.join("below")));
        assert!(!session.owns(tmp.path()) && !session.owns(&tmp.path().join("1-abc.file-0")));
        assert_ne!(session.path("file"), session.path("file"));
        drop(session);
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0);
    }

    #[test]
    fn folders_are_empty_whoever_had_them_before() {
        let tmp = tempfile::tempdir().unwrap();
        let session = Session::begin(tmp.path()).unwrap();
        use Purpose::{Output, Work};
        let (one, other) = (session.folder(Output).unwrap(), session.folder(Work).unwrap());
        assert_ne!(one, other);
        let inode = |folder: &Path| fs::metadata(folder).unwrap().ino();
        let before = [inode(&one), inode(&other)];
        for (folder, purpose) in [(&one, Output), (&other, Work)] {
            fs::create_dir_all(folder.join("deep/er")).unwrap();
            fs::write(folder.join("file"), "x").unwrap();
            for closed in [folder.join("deep"), folder.clone()] {
                fs::set_permissions(closed, Permissions::from_mode(0o500)).unwrap();
            }
            session.give_back(folder, purpose).unwrap();
        }
        let again = [Output, Work].map(|purpose| session.folder(purpose).unwrap());
        assert_eq!(again.each_ref().map(|folder| inode(folder)), before, "each for what it was for");
        assert!(!one.exists() && !other.exists());
        session.give_back(&again[0], Output).unwrap();
        let elsewhere = tmp.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("file"), "x").unwrap();
        session.remove_folder(&elsewhere).unwrap();
        session.remove_folder(&elsewhere).unwrap();
        assert!(!elsewhere.exists());
        for purpose in [Output, Output, Work, Work] {
            assert_eq!(fs::read_dir(session.folder(purpose).unwrap()).unwrap().count(), 0);
        }
    }

    #[test]
    fn claims_exclude_within_a_session_and_between_two() {
        let tmp = tempfile::tempdir().unwrap();
        let (one, other) = (Session::begin(tmp.path()).unwrap(), Session::begin(tmp.path()).unwrap());
        let path = tmp.path().join("claim");
        for (first, second) in [(&one, &other), (&other, &one), (&one, &one)] {
            let claimed = first.claim(&path).unwrap().expect("nobody has it");
            assert!(matches!(claimed, Claimed::Name(_)));
            assert_eq!(LockFile::holder(&path), Some(std::process::id()));
            assert!(second.claim(&path).unwrap().is_none() && LockFile::try_acquire(&path).unwrap().is_none());
            drop(claimed);
            assert!(!path.exists());
        }
        let second = tmp.path().join("second");
        fs::write(&path, "left by a dead process").unwrap();
        fs::hard_link(&path, &second).unwrap();
        let claimed =
            [one.claim(&path), other.claim(&second)].map(|claimed| claimed.unwrap().expect("its holder is dead"));
        assert!(other.claim(&path).unwrap().is_none() && one.claim(&second).unwrap().is_none());
        drop(claimed);
        assert!(!path.exists() && !second.exists());
    }

    #[test]
    fn the_living_are_told_from_the_dead() {
        let tmp = tempfile::tempdir().unwrap();
        let _living = Session::begin(tmp.path()).unwrap();
        fs::create_dir(tmp.path().join("1-abc.task-0")).unwrap();
        fs::write(tmp.path().join("1-abc.record-1"), "half").unwrap();
        fs::write(tmp.path().join("2-abc.alive"), "2").unwrap();
        let found = sessions(tmp.path()).unwrap();
        let dead = found.iter().filter(|session| matches!(session, Found::Dead { .. })).count();
        let alive = found.iter().filter(|session| matches!(session, Found::Alive { .. })).count();
        assert_eq!((dead, alive), (2, 1));
    }
}
