//! Artifact: one named output of a task, as a list of files and their facets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher};
use crate::error::{CacheError, Result};

/// One file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Path relative to the artifact's folder, with `/` as the separator.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest of the file's bytes.
    pub digest: Digest,
}

/// A named output of a task: its files, sorted by path, and its facets.
///
/// A **facet** is a named digest of a logical part of the artifact, such as the decoded values of one column of a table. The
/// cache stores facets on behalf of its callers and attaches no meaning to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedArtifact")]
pub struct Artifact {
    files: Vec<FileEntry>,
    facets: BTreeMap<String, Digest>,
}

impl Artifact {
    /// Creates an artifact from its files, given in any order.
    ///
    /// # Errors
    /// A path is absolute, leaves the folder, is not normalised, or occurs twice.
    pub fn new(mut files: Vec<FileEntry>, facets: BTreeMap<String, Digest>) -> Result<Self> {
        files.sort_unstable();
        let invalid = files.iter().find(|file| !is_normalised_path(&file.path));
        let duplicate = files.windows(2).find(|pair| pair[0].path == pair[1].path).map(|pair| &pair[1]);
        match invalid.or(duplicate) {
            Some(file) => Err(CacheError::InvalidName { text: file.path.clone() }),
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

    /// Total size of the files in bytes.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Digest of the files without the facets; see [`digest_of_files`].
    pub fn digest(&self) -> Digest {
        digest_of_files(self.files.iter().map(|file| (file.path.as_str(), file.size, file.digest)))
    }
}

/// Digest of a folder's files, given in the order of their paths. It does not depend on the folder's location.
///
/// Encoding: for each file the length of its path (u64, little-endian), the path, its size (u64, little-endian) and the
/// 32 bytes of its digest. Every part has a known length, so different lists of files have different encodings.
pub(crate) fn digest_of_files<'a>(files: impl Iterator<Item = (&'a str, u64, Digest)>) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update_text("dnc-cache files 1");
    for (path, size, digest) in files {
        hasher.update_text(path).update(&size.to_le_bytes()).update(digest.as_bytes());
    }
    hasher.finish()
}

/// Whether `path` is relative, stays below its folder, and is normalised: no empty, `.` or `..` parts, and no backslashes.
pub(crate) fn is_normalised_path(path: &str) -> bool {
    !path.contains(['\\', '\0']) && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// An artifact as it was deserialised, before its paths are checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedArtifact {
    files: Vec<FileEntry>,
    facets: BTreeMap<String, Digest>,
}

impl TryFrom<UncheckedArtifact> for Artifact {
    type Error = CacheError;

    fn try_from(unchecked: UncheckedArtifact) -> Result<Self> {
        Self::new(unchecked.files, unchecked.facets)
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
            let result = Artifact::new(vec![entry(path, b"")], BTreeMap::new());
            assert!(matches!(result, Err(CacheError::InvalidName { .. })), "{path:?}");
        }
        for path in ["a", "a/b", "..a", "a b/ü.arrow"] {
            assert!(Artifact::new(vec![entry(path, b"")], BTreeMap::new()).is_ok(), "{path:?}");
        }
    }

    #[test]
    fn a_path_that_occurs_twice_is_refused() {
        assert!(Artifact::new(vec![entry("a", b"1"), entry("a", b"2")], BTreeMap::new()).is_err());
    }

    #[test]
    fn the_digest_covers_paths_and_bytes_but_not_facets() {
        let of = |path, bytes| Artifact::new(vec![entry(path, bytes)], BTreeMap::new()).unwrap();
        assert_ne!(of("a", b"1").digest(), of("b", b"1").digest());
        assert_ne!(of("a", b"1").digest(), of("a", b"2").digest());
        let facets = BTreeMap::from([("id".to_owned(), Digest::of(b"ids"))]);
        assert_eq!(of("a", b"1").digest(), Artifact::new(vec![entry("a", b"1")], facets).unwrap().digest());
    }

    proptest! {
        #[test]
        fn the_digest_does_not_depend_on_the_order_of_the_files(
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
