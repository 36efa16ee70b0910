//! Lock file: a file that is locked by one process at a time. The kernel releases the lock when the process dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::found;

/// The largest process number on Linux. A modification time with more seconds is a real time.
const MAX_PROCESS: u32 = 1 << 22;

/// An exclusive lock on a path. The file records the holder's process number and is removed when the lock is released.
#[derive(Debug)]
pub(crate) struct LockFile {
    path: PathBuf,
    file: File,
}

impl LockFile {
    /// Takes the lock. Returns `None` if another handle, of this process or another, holds it.
    pub(crate) fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
                Ok(()) => {}
            }
            // The previous holder removes the file before it releases the lock. If we had opened the file by then, our lock
            // is on a deleted file and excludes nobody, so we must start again.
            let held = file.metadata()?;
            if found(fs::metadata(path))?.is_some_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())) {
                let lock = Self { path: path.to_owned(), file };
                lock.record_holder()?;
                return Ok(Some(lock));
            }
        }
    }

    /// The path of the lock file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Records the holder's process number for waiting processes as the file's modification time, in seconds since 1970. File
    /// contents would need a disk block, and allocating and freeing blocks is the main cost of thousands of claims.
    fn record_holder(&self) -> io::Result<()> {
        self.file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(std::process::id().into()))
    }

    /// The process number of the lock's holder, if it has been recorded.
    pub(crate) fn holder(path: &Path) -> Option<u32> {
        let recorded = u32::try_from(fs::metadata(path).ok()?.mtime()).ok()?;
        (recorded <= MAX_PROCESS).then_some(recorded)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // A file that is left behind is harmless: the next holder reuses it.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn the_lock_is_exclusive_and_its_file_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = LockFile::try_acquire(&path).unwrap().unwrap();
        assert_eq!(LockFile::holder(&path), Some(std::process::id()));
        assert!(LockFile::try_acquire(&path).unwrap().is_none());
        drop(first);
        assert!(!path.exists());
        assert!(LockFile::try_acquire(&path).unwrap().is_some());
    }

    #[test]
    fn the_file_of_a_dead_holder_is_reused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        File::create(&path).unwrap();
        assert_eq!(LockFile::holder(&path), None);
        let lock = LockFile::try_acquire(&path).unwrap();
        assert!(lock.is_some());
        assert_eq!(LockFile::holder(&path), Some(std::process::id()));
    }

    /// Many threads take and release the lock. If a lock on a removed file ever counted, two threads would be inside at once.
    #[test]
    fn removing_the_file_never_admits_two_holders() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let inside = AtomicU32::new(0);
        let taken = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while taken.load(Ordering::SeqCst) < 2000 {
                        if let Some(lock) = LockFile::try_acquire(&path).unwrap() {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            taken.fetch_add(1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
    }
}
