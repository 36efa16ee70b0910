//! Session: the temporary files and claims of one process that uses a store.
//!
//! `tmp/<session>.alive` is locked while the process lives, and all its temporary files and folders are named
//! `tmp/<session>.…`. If the lock of a session is free, its process is dead, on whatever host or in whatever container it
//! ran, and its files can be removed.
//!
//! A claim is a hard link to one locked file of the session, not a file of its own. Thousands of claims would otherwise create
//! and remove thousands of files, which is slow because ext4 avoids inodes that were freed recently. Each file would also stay
//! open, and starting a program takes longer the more files are open.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::clock;
use crate::error::{CacheError, Result, found};
use crate::lock::LockFile;
use crate::poison;

/// Extension of the file that is locked while its session is alive.
const ALIVE: &str = "alive";

/// The private paths of a process. Remaining files are removed when the session is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    tmp: PathBuf,
    name: String,
    next_path: AtomicU64,
    /// Returned empty folders by purpose, for reuse: creating and removing a folder takes 3 ms on ext4 with `discard`.
    spare_folders: Mutex<[Vec<PathBuf>; 2]>,
    /// The file that all claims are hard links to. Created for the first claim.
    claim_file: Mutex<Option<LockFile>>,
    _alive: LockFile,
}

/// What a folder is used for. A folder is never reused for the other purpose, because a process that outlives its program may
/// still write to the program's working folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FolderPurpose {
    /// A task writes an output to it, which becomes an artifact.
    Output,
    /// A program uses it as its working folder.
    Work,
}

/// A claim on a path. It excludes all other claims until it is dropped or the process dies.
#[derive(Debug)]
pub(crate) enum PathClaim {
    /// A hard link to the session's claim file.
    Link(PathBuf),
    /// A lock file of its own, on file systems without hard links.
    File { _lock: LockFile },
}

impl Drop for PathClaim {
    fn drop(&mut self) {
        if let Self::Link(path) = self {
            // A link that cannot be removed excludes others until this process ends.
            let _ = fs::remove_file(path);
        }
    }
}

impl Session {
    pub(crate) fn begin(tmp: &Path) -> Result<Self> {
        fs::create_dir_all(tmp).map_err(CacheError::io("create", tmp))?;
        loop {
            let name = unique_name();
            let alive = tmp.join(format!("{name}.{ALIVE}"));
            if let Some(lock) = LockFile::try_acquire(&alive).map_err(CacheError::io("lock", &alive))? {
                return Ok(Self {
                    tmp: tmp.to_owned(),
                    name,
                    next_path: AtomicU64::new(0),
                    spare_folders: Mutex::default(),
                    claim_file: Mutex::default(),
                    _alive: lock,
                });
            }
        }
    }

    /// A new path, different from all that this session has returned before.
    pub(crate) fn path(&self, stem: &str) -> PathBuf {
        self.tmp.join(format!("{}.{stem}-{}", self.name, self.next_path.fetch_add(1, Ordering::Relaxed)))
    }

    /// The session's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether `path` is a path of this session or lies below one.
    pub(crate) fn owns(&self, path: &Path) -> bool {
        let first = path.strip_prefix(&self.tmp).ok().and_then(|below| below.iter().next()?.to_str());
        first.is_some_and(|first| session_of(first) == self.name)
    }

    /// An empty folder with a new name. It belongs to the caller until it is returned or the session ends.
    pub(crate) fn folder(&self, purpose: FolderPurpose) -> Result<PathBuf> {
        let folder = self.path("task");
        let spare = poison::lock(&self.spare_folders)[purpose as usize].pop();
        match &spare {
            // A process that still uses the old name no longer finds the folder.
            Some(spare) => fs::rename(spare, &folder),
            None => fs::create_dir(&folder),
        }
        .map_err(CacheError::io("create", &folder))?;
        Ok(folder)
    }

    /// Empties a folder from [`Session::folder`] and keeps it for reuse.
    pub(crate) fn return_folder(&self, folder: &Path, purpose: FolderPurpose) -> io::Result<()> {
        if clear_folder(folder)? {
            poison::lock(&self.spare_folders)[purpose as usize].push(folder.to_owned());
        }
        Ok(())
    }

    /// Removes another folder and its contents, if it exists. The empty folder is kept for reuse.
    pub(crate) fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        if !clear_folder(folder)? {
            return Ok(());
        }
        let spare = self.path("task");
        fs::rename(folder, &spare)?;
        poison::lock(&self.spare_folders)[FolderPurpose::Work as usize].push(spare);
        Ok(())
    }

    /// Claims a path. Returns `None` if it is already claimed.
    pub(crate) fn claim(&self, path: &Path) -> io::Result<Option<PathClaim>> {
        let mut claim_file = poison::lock(&self.claim_file);
        if claim_file.is_none() {
            *claim_file = LockFile::try_acquire(&self.path("claims"))?;
        }
        let own = claim_file.as_ref().expect("the path is new, so nobody else has locked it").path();
        loop {
            match fs::hard_link(own, path) {
                Ok(()) => return Ok(Some(PathClaim::Link(path.to_owned()))),
                // All claims of a dead process are links to one file. The link is removed and not taken over, so that
                // different processes can take different claims.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match LockFile::try_acquire(path)? {
                    Some(abandoned) => drop(abandoned),
                    None => return Ok(None),
                },
                Err(_) => return Ok(LockFile::try_acquire(path)?.map(|lock| PathClaim::File { _lock: lock })),
            }
        }
    }
}

/// Removes the contents of a folder. Returns `false` if the folder does not exist.
fn clear_folder(folder: &Path) -> io::Result<bool> {
    retry_with_permissions(folder, || {
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

/// Calls `remove`. If that is denied because a program left read-only folders below `path`, makes them writable and retries.
fn retry_with_permissions<T>(path: &Path, remove: impl Fn() -> io::Result<T>) -> io::Result<T> {
    fn make_writable(folder: &Path) -> io::Result<()> {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                make_writable(&entry.path())?;
            }
        }
        Ok(())
    }
    match remove() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => make_writable(path).and_then(|()| remove()),
        other => other,
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What cannot be removed now is removed by a later gc, which finds the session's lock free.
        for path in fs::read_dir(&self.tmp).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if self.owns(&path) && path.extension().is_none_or(|extension| extension != ALIVE) {
                let _ = remove(&path);
            }
        }
    }
}

/// A session in a store, with the state of its process.
#[derive(Debug)]
pub(crate) enum FoundSession {
    /// The process is dead. We hold the session's lock, so that no other process removes the leftovers at the same time.
    Dead { leftovers: Vec<PathBuf>, _lock: LockFile },
    /// The process is alive.
    Alive { name: String, since: SystemTime },
}

/// All sessions in the folder `tmp`, except those that end during the call.
pub(crate) fn sessions(tmp: &Path) -> Result<Vec<FoundSession>> {
    let mut paths = BTreeMap::<String, Vec<PathBuf>>::new();
    for entry in fs::read_dir(tmp).map_err(CacheError::io("list", tmp))? {
        let entry = entry.map_err(CacheError::io("list", tmp))?;
        let of_session = paths.entry(session_of(&entry.file_name().to_string_lossy()).to_owned()).or_default();
        of_session.push(entry.path());
    }
    let mut sessions = Vec::new();
    for (name, mut leftovers) in paths {
        let alive = tmp.join(format!("{name}.{ALIVE}"));
        leftovers.retain(|path| *path != alive);
        let lock = LockFile::try_acquire(&alive).map_err(CacheError::io("lock", &alive))?;
        let metadata = found(fs::metadata(&alive)).map_err(CacheError::io("read", &alive))?;
        match (lock, metadata) {
            (Some(lock), _) => sessions.push(FoundSession::Dead { leftovers, _lock: lock }),
            // The file last changed when its holder was recorded.
            (None, Some(metadata)) => sessions.push(FoundSession::Alive { name, since: clock::changed(&metadata) }),
            (None, None) => {}
        }
    }
    Ok(sessions)
}

/// Removes a file, or a folder and its contents, if it exists.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match found(fs::symlink_metadata(path))? {
        Some(metadata) if metadata.is_dir() => {
            found(retry_with_permissions(path, || fs::remove_dir_all(path))).map(drop)
        }
        Some(_) => found(fs::remove_file(path)).map(drop),
        None => Ok(()),
    }
}

/// The session that an entry of `tmp` belongs to, given the entry's name.
fn session_of(name: &str) -> &str {
    name.split_once('.').map_or(name, |(session, _)| session)
}

/// A new session name. It contains the time, because process numbers are reused and several hosts may share a store.
fn unique_name() -> String {
    let since = clock::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{}-{since:x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_session_removes_its_files_when_it_ends() {
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
    fn reused_folders_are_empty() {
        let tmp = tempfile::tempdir().unwrap();
        let session = Session::begin(tmp.path()).unwrap();
        use FolderPurpose::{Output, Work};
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
            session.return_folder(folder, purpose).unwrap();
        }
        let again = [Output, Work].map(|purpose| session.folder(purpose).unwrap());
        assert_eq!(again.each_ref().map(|folder| inode(folder)), before, "each is reused for its own purpose");
        assert!(!one.exists() && !other.exists());
        session.return_folder(&again[0], Output).unwrap();
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
            let claimed = first.claim(&path).unwrap().expect("it is free");
            assert!(matches!(claimed, PathClaim::Link(_)));
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
    fn living_and_dead_sessions_are_distinguished() {
        let tmp = tempfile::tempdir().unwrap();
        let _alive = Session::begin(tmp.path()).unwrap();
        fs::create_dir(tmp.path().join("1-abc.task-0")).unwrap();
        fs::write(tmp.path().join("1-abc.record-1"), "half").unwrap();
        fs::write(tmp.path().join("2-abc.alive"), "2").unwrap();
        let found = sessions(tmp.path()).unwrap();
        let dead = found.iter().filter(|session| matches!(session, FoundSession::Dead { .. })).count();
        let alive = found.iter().filter(|session| matches!(session, FoundSession::Alive { .. })).count();
        assert_eq!((dead, alive), (2, 1));
    }
}
