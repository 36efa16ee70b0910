//! The seal: how a blob shows at a glance that nobody has written to it since it was hashed.
//!
//! The microseconds of a blob's modification time are set to a number that follows from its digest. Writing to the file, or
//! putting another in its place, sets another time and so breaks the seal; looking at it costs one `stat`. The last bit
//! tells whether the bytes had been made durable as well.
//!
//! A seal says that nobody *wrote*; it cannot see a disk that rots. Therefore it only answers whether a blob is there, and
//! bytes that are read are hashed regardless. Where a file system does not keep microseconds no seal holds, and blobs are
//! hashed once per process instead: slower, not wrong.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use crate::clock;
use crate::digest::Digest;

/// What a blob's modification time tells. The later, the more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seal {
    /// Somebody has written to the file, or the seal was never set.
    Broken,
    /// The bytes had this digest and nobody has written since.
    Verified,
    /// Moreover they are on stable storage.
    Durable,
}

impl Seal {
    /// The seal of a blob with this digest.
    pub(super) fn of(metadata: &Metadata, digest: &Digest) -> Self {
        let nanoseconds = u32::try_from(metadata.mtime_nsec()).ok();
        [Self::Durable, Self::Verified]
            .into_iter()
            .find(|seal| nanoseconds == Some(seal.nanoseconds(digest)))
            .unwrap_or(Self::Broken)
    }

    /// Sets this seal. A file of another user cannot be sealed, which is no failure: it will be hashed instead.
    pub(super) fn set(self, file: &File, digest: &Digest) -> io::Result<()> {
        // The seconds stay true: a blob's age can still be seen, and outputs that are hard links keep their date.
        let seconds = clock::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, self.nanoseconds(digest));
        match file.set_modified(time) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            other => other,
        }
    }

    fn nanoseconds(self, digest: &Digest) -> u32 {
        let [a, b, c, d, ..] = *digest.as_bytes();
        let microseconds = u32::from_le_bytes([a, b, c, d]) % 500_000 * 2 + u32::from(self == Self::Durable);
        microseconds * 1000
    }
}

/// A file as it was seen: while its stamp is unchanged, so are its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    inode: u64,
    modified: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), inode: metadata.ino(), modified: (metadata.mtime(), metadata.mtime_nsec()) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_seal_holds_until_the_file_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        fs::write(&path, "bytes").unwrap();
        let digest = Digest::of(b"bytes");
        let seal = |digest: &Digest| Seal::of(&fs::metadata(&path).unwrap(), digest);
        assert_eq!(seal(&digest), Seal::Broken);
        for set in [Seal::Verified, Seal::Durable, Seal::Verified] {
            set.set(&File::open(&path).unwrap(), &digest).unwrap();
            assert_eq!(seal(&digest), set);
            assert_eq!(seal(&Digest::of(b"other")), Seal::Broken);
        }
        let age = fs::metadata(&path).unwrap().modified().unwrap().elapsed().unwrap_or_default();
        assert!(age < Duration::from_secs(60));
        fs::write(&path, "bytez").unwrap();
        assert_eq!(seal(&digest), Seal::Broken);
    }
}
