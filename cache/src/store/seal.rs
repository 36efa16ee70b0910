//! Seal: shows with one `stat` that a blob has not been written to since it was hashed.
//!
//! The microseconds of a blob's modification time are set to a number derived from its digest. Writing to the file or
//! replacing it sets another time and so breaks the seal. The last bit of the number says whether the bytes were also made
//! durable.
//!
//! A seal shows that nobody *wrote* to the file, but it cannot detect bit rot. It is therefore only used to decide whether a
//! blob is present; bytes that are read are always hashed. On file systems that do not store microseconds every seal is
//! broken, and blobs are hashed once per process instead, which is slower but not wrong.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, futimens, utimensat};

use crate::digest::Digest;
use crate::disk::make_read_only;

/// What a blob's modification time says about its bytes. Later variants are stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seal {
    /// The file was written to, or was never sealed.
    Broken,
    /// The bytes matched the digest, and the file has not been written to since.
    Verified,
    /// Like `Verified`, and the bytes are durable.
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

    /// Sets this seal on the file at `path`, whose metadata is given. Not being permitted to seal another user's file is not an
    /// error: the blob is hashed instead.
    pub(super) fn set(self, path: &Path, metadata: &Metadata, digest: &Digest) -> io::Result<()> {
        ignore_denied(utimensat(CWD, path, &self.times(metadata, digest), AtFlags::empty()))
    }

    fn times(self, metadata: &Metadata, digest: &Digest) -> Timestamps {
        Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            // The seconds keep their meaning, so that outputs that are hard links keep their date.
            last_modification: Timespec { tv_sec: metadata.mtime(), tv_nsec: self.nanoseconds(digest).into() },
        }
    }

    fn nanoseconds(self, digest: &Digest) -> u32 {
        let [a, b, c, d, ..] = *digest.as_bytes();
        let microseconds = u32::from_le_bytes([a, b, c, d]) % 500_000 * 2 + u32::from(self == Self::Durable);
        microseconds * 1000
    }
}

fn ignore_denied(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => Ok(()),
        other => Ok(other?),
    }
}

/// Makes a file read-only and sets [`Seal::Verified`]. The caller has just verified that its bytes match the digest.
pub(super) fn protect(file: &File, digest: &Digest) -> io::Result<Stamp> {
    make_read_only(file)?;
    ignore_denied(futimens(file, &Seal::Verified.times(&file.metadata()?, digest)))?;
    Ok(Stamp::of(&file.metadata()?))
}

/// Metadata that identify a file's contents: while the stamp is the same, so are the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    inode: u64,
    /// Seconds and units of two microseconds, so that a blob keeps its stamp when it is sealed as durable.
    modified: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), inode: metadata.ino(), modified: (metadata.mtime(), metadata.mtime_nsec() / 2000) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_seal_holds_until_the_file_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        fs::write(&path, "bytes").unwrap();
        let digest = Digest::of(b"bytes");
        let seal = |digest: &Digest| Seal::of(&fs::metadata(&path).unwrap(), digest);
        assert_eq!(seal(&digest), Seal::Broken);
        let stamp = || Stamp::of(&fs::metadata(&path).unwrap());
        let set = |seal: Seal| seal.set(&path, &fs::metadata(&path).unwrap(), &digest).unwrap();
        set(Seal::Verified);
        let sealed = stamp();
        for next in [Seal::Verified, Seal::Durable, Seal::Verified] {
            set(next);
            assert_eq!(seal(&digest), next);
            assert_eq!(seal(&Digest::of(b"other")), Seal::Broken);
            assert_eq!(stamp(), sealed);
        }
        let age = fs::metadata(&path).unwrap().modified().unwrap().elapsed().unwrap_or_default();
        assert!(age < Duration::from_secs(60));
        fs::write(&path, "bytez").unwrap();
        assert_eq!(seal(&digest), Seal::Broken);
        assert_ne!(stamp(), sealed);
    }
}
