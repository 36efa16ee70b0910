//! An artifact: the files that a task left as one named output, and the facets in which they can be compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher};
use crate::error::{CacheError, Result};

/// One file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Where the file lies in the artifact's folder: relative, parted by `/`.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// A named output of a task: its files by path, and its facets.
///
/// A **facet** is a named digest of some logical part of the artifact (for a table: the decoded values of a column). The
/// cache keeps facets for those who compute them and attaches no meaning to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Artifact {
    files: Vec<FileEntry>,
    facets: BTreeMap<String, Digest>,
}

impl Artifact {
    /// An artifact of these files, in any order.
    ///
    /// # Errors
    /// If a path is absolute, leaves the folder, is not in its plain form, or is named twice.
    pub fn new(mut files: Vec<FileEntry>, facets: BTreeMap<String, Digest>) -> Result<Self> {
        files.sort_unstable();
        let refused = files.iter().find(|file| !is_plain(&file.path));
        let twice = files.windows(2).find(|pair| pair[0].path == pair[1].path).map(|pair| &pair[1]);
        match refused.or(twice) {
            Some(file) => Err(CacheError::NotAName { text: file.path.clone() }),
            None => Ok(Self { files, facets }),
        }
    }

    /// The files, sorted by path.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// The facets by name.
    pub fn facets(&self) -> &BTreeMap<String, Digest> {
        &self.facets
    }

    /// The sum of the files' lengths in bytes.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// The digest of the files alone: [`digest_of_files`].
    pub fn digest(&self) -> Digest {
        digest_of_files(self.files.iter().map(|file| (file.path.as_str(), file.size, file.digest)))
    }
}

/// The digest of a folder's files, given in the order of their paths. It does not depend on where the folder lies.
///
/// Encoding: for each file the length of its path (u64, little-endian), the path, its size (u64, little-endian) and the
/// 32 bytes of its digest. No two lists of files share an encoding, because every part has a known length.
pub(crate) fn digest_of_files<'a>(files: impl Iterator<Item = (&'a str, u64, Digest)>) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update_text("dnc-cache files 1");
    for (path, size, digest) in files {
        hasher.update_text(path).update(&size.to_le_bytes()).update(digest.as_bytes());
    }
    hasher.finish()
}

/// Whether `path` is relative, stays below its folder, and is written in the one way that we write it.
pub(crate) fn is_plain(path: &str) -> bool {
    !path.contains(['\\', '\0']) && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// The form on disk, before it has been checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    files: Vec<FileEntry>,
    facets: BTreeMap<String, Digest>,
}

impl TryFrom<Written> for Artifact {
    type Error = CacheError;

    fn try_from(written: Written) -> Result<Self> {
        Self::new(written.files, written.facets)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(path: &str, bytes: &[u8]) -> FileEntry {
        FileEntry { path: path.into(), size: bytes.len() as u64, digest: Digest::of(bytes) }
    }

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        for path in ["", "/etc/passwd", "../up", "a/../b", "a//b", "./a", "a/", "a\\b", "a\0b"] {
            let refused = Artifact::new(vec![entry(path, b"")], BTreeMap::new());
            assert!(matches!(refused, Err(CacheError::NotAName { .. })), "{path:?}");
        }
        for path in ["a", "a/b", "..a", "a b/ü.arrow"] {
            assert!(Artifact::new(vec![entry(path, b"")], BTreeMap::new()).is_ok(), "{path:?}");
        }
    }

    #[test]
    fn one_path_cannot_have_two_contents() {
        assert!(Artifact::new(vec![entry("a", b"1"), entry("a", b"2")], BTreeMap::new()).is_err());
    }

    #[test]
    fn digest_sees_paths_and_bytes_but_no_facets() {
        let of = |path, bytes| Artifact::new(vec![entry(path, bytes)], BTreeMap::new()).unwrap();
        assert_ne!(of("a", b"1").digest(), of("b", b"1").digest());
        assert_ne!(of("a", b"1").digest(), of("a", b"2").digest());
        let facets = BTreeMap::from([("id".to_owned(), Digest::of(b"ids"))]);
        assert_eq!(of("a", b"1").digest(), Artifact::new(vec![entry("a", b"1")], facets).unwrap().digest());
    }

    proptest! {
        #[test]
        fn digest_does_not_depend_on_the_order_of_files(
            files in proptest::collection::btree_map("[a-z]{1,4}(/[a-z]{1,4})?", any::<[u8; 4]>(), 0..8),
            turn in 0usize..8,
        ) {
            let mut files: Vec<_> = files.iter().map(|(path, bytes)| entry(path, bytes)).collect();
            let sorted = Artifact::new(files.clone(), BTreeMap::new()).unwrap();
            let turn = turn % files.len().max(1);
            files.rotate_left(turn);
            prop_assert_eq!(Artifact::new(files, BTreeMap::new()).unwrap().digest(), sorted.digest());
        }

        #[test]
        fn different_files_have_different_digests(
            a in proptest::collection::btree_map("[ab]{1,3}", any::<[bool; 2]>(), 0..3),
            b in proptest::collection::btree_map("[ab]{1,3}", any::<[bool; 2]>(), 0..3),
        ) {
            let artifact = |files: &BTreeMap<String, [bool; 2]>| {
                let entries = files.iter().map(|(path, [long, byte])| entry(path, &vec![u8::from(*byte); usize::from(*long)]));
                Artifact::new(entries.collect(), BTreeMap::new()).unwrap()
            };
            let (a, b) = (artifact(&a), artifact(&b));
            prop_assert_eq!(a == b, a.digest() == b.digest());
        }
    }
}
