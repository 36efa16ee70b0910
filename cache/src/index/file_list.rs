//! File list: the stored digests of the files below one input path.
//!
//! The list is only a cache. It may be deleted, the last of several writers wins, and a damaged list counts as absent.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::walk::FileStat;
use crate::digest::Digest;
use crate::object::ObjectName;

/// The first bytes of a list. A list of another version counts as absent.
const HEADER: &[u8] = b"dnc-index 1\n";

/// The indexed files below an input path, sorted by path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileList<'a> {
    pub(super) root: PathBuf,
    pub(super) files: Vec<IndexedFile<'a>>,
}

/// A file with its digest, and the metadata that it had when it was hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexedFile<'a> {
    pub(super) path: &'a str,
    pub(super) stat: FileStat,
    pub(super) digest: Digest,
}

impl<'a> FileList<'a> {
    /// Encoding: `HEADER`, the root, the number of files, each file, and the digest of all these bytes. Numbers are
    /// little-endian, and texts are preceded by their length (u32).
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4096 + self.files.len() * 128);
        bytes.extend_from_slice(HEADER);
        put_text(&mut bytes, self.root.as_os_str().as_bytes());
        bytes.extend_from_slice(&(self.files.len() as u64).to_le_bytes());
        for IndexedFile { path, stat, digest } in &self.files {
            put_text(&mut bytes, path.as_bytes());
            bytes.extend_from_slice(&stat.size.to_le_bytes());
            bytes.extend_from_slice(&stat.inode.to_le_bytes());
            bytes.extend_from_slice(&stat.modified.to_le_bytes());
            bytes.extend_from_slice(&stat.changed.to_le_bytes());
            bytes.extend_from_slice(digest.as_bytes());
        }
        let checksum = Digest::of(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }

    /// Decodes a list. Returns `None` if the bytes are damaged, incomplete or of another version.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (bytes, checksum) = bytes.split_last_chunk::<32>()?;
        if Digest::of(bytes) != Digest::from_bytes(*checksum) {
            return None;
        }
        let mut rest = bytes.strip_prefix(HEADER)?;
        let root = PathBuf::from(std::ffi::OsStr::from_bytes(take_text(&mut rest)?));
        let count = u64::from_le_bytes(take(&mut rest)?);
        let mut files = Vec::with_capacity(usize::try_from(count).ok()?.min(bytes.len()));
        for _ in 0..count {
            let path = std::str::from_utf8(take_text(&mut rest)?).ok()?;
            let stat = FileStat {
                size: u64::from_le_bytes(take(&mut rest)?),
                inode: u64::from_le_bytes(take(&mut rest)?),
                modified: i64::from_le_bytes(take(&mut rest)?),
                changed: i64::from_le_bytes(take(&mut rest)?),
            };
            files.push(IndexedFile { path, stat, digest: Digest::from_bytes(take(&mut rest)?) });
        }
        rest.is_empty().then_some(Self { root, files })
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend_from_slice(&u32::try_from(text.len()).expect("paths are shorter than 4 GiB").to_le_bytes());
    bytes.extend_from_slice(text);
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u32::from_le_bytes(take(rest)?)).ok()?;
    rest.split_off(..length)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    rest.split_off(..N)?.try_into().ok()
}

/// The name of the object that holds the list of `root`.
pub(super) fn list_name(root: &Path) -> ObjectName {
    ObjectName::new(format!("index/{}", Digest::of(root.as_os_str().as_bytes())))
        .expect("hexadecimal digits below a folder are a normalised path")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stat() -> impl Strategy<Value = FileStat> {
        any::<(u64, u64, i64, i64)>().prop_map(|(size, inode, modified, changed)| FileStat {
            size,
            inode,
            modified,
            changed,
        })
    }

    proptest! {
        #[test]
        fn encoding_round_trips_and_detects_truncation(files in proptest::collection::vec(("\\PC{0,12}", stat(), any::<[u8; 32]>()), 0..6)) {
            let indexed = files.iter().map(|(path, stat, digest)| IndexedFile { path, stat: *stat, digest: Digest::from_bytes(*digest) });
            let list = FileList { root: "/some/root".into(), files: indexed.collect() };
            let bytes = list.encode();
            prop_assert_eq!(FileList::decode(&bytes), Some(list));
            for cut in 0..bytes.len() {
                prop_assert_eq!(FileList::decode(&bytes[..cut]), None);
            }
        }
    }
}
