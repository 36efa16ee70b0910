//! A file that one process holds. The kernel lets go of it when the holder dies, however it dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::found;

/// The largest process number of any Linux: seconds beyond it are a true time.
const LAST_PROCESS: u32 = 1 << 22;

/// An exclusive lock on a path. The file tells the holder's process number and disappears with the lock.
#[derive(Debug)]
pub(crate) struct LockFile {
    path: PathBuf,
    file: File,
}

impl LockFile {
    /// Takes the lock, or `None` if another handle (of this process or another) holds it.
    pub(crate) fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
                Ok(()) => {}
            }
            // The last holder removes the file while it still holds the lock. Whoever had opened it before gets a lock on
            // a file without a name, which excludes nobody, and must begin again.
            let held = file.metadata()?;
            if found(fs::metadata(path))?.is_some_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())) {
                let lock = Self { path: path.to_owned(), file };
                lock.sign()?;
                return Ok(Some(lock));
            }
        }
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the holder's number for those who wait: as the file's modification time, in seconds since 1970. A file with
    /// bytes would need a block, and taking and freeing blocks is what costs time when claims come by the thousand.
    fn sign(&self) -> io::Result<()> {
        self.file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(std::process::id().into()))
    }

    /// The process that holds the lock, unless it has not signed yet.
    pub(crate) fn holder(path: &Path) -> Option<u32> {
        let signed = u32::try_from(fs::metadata(path).ok()?.mtime()).ok()?;
        (signed <= LAST_PROCESS).then_some(signed)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // A file that stays behind is harmless: the next holder takes it over.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_left() {
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
    fn the_file_of_a_dead_holder_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        File::create(&path).unwrap();
        assert_eq!(LockFile::holder(&path), None);
        let lock = LockFile::try_acquire(&path).unwrap();
        assert!(lock.is_some());
        assert_eq!(LockFile::holder(&path), Some(std::process::id()));
    }

    /// Many threads take and drop the lock as fast as they can: were a removed file ever believed, two would be inside.
    #[test]
    fn removal_never_lets_two_in() {
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
