//! The digest of a file, read by all threads at once.
//!
//! BLAKE3 is a tree: the file is cut where the tree is cut, each thread reads and hashes its own pieces, and the values
//! are joined upwards. The digest is the one that reading from front to back gives, for any number of threads.
//!
//! Bytes are read, not mapped: a file that another process truncates is then an error instead of a signal that ends us.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

use crate::digest::Digest;
use crate::error::{CacheError, Result};

/// What one thread reads at once. A power of two, as every left subtree of BLAKE3 is; small enough to stay in the
/// second-level cache between being read and being hashed.
const PIECE: u64 = 512 * 1024;

/// Who is told the bytes that were read, from several threads at once.
pub(crate) type Watch<'a> = &'a (dyn Fn(u64) -> io::Result<()> + Sync);

impl Digest {
    /// The digest of a file's bytes.
    ///
    /// # Errors
    /// If the file cannot be read, or its length changes meanwhile.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(CacheError::io("open", path))?;
        Self::of_open_file(&file, path)
    }

    /// As [`Digest::of_file`]; `path` is for messages.
    pub(crate) fn of_open_file(file: &File, path: &Path) -> Result<Self> {
        Self::of_watched_file(file, path, &|_| Ok(()))
    }

    /// As [`Digest::of_open_file`]; `watch` is told the bytes of each piece that was read, and its error ends the reading.
    pub(crate) fn of_watched_file(file: &File, path: &Path, watch: Watch<'_>) -> Result<Self> {
        let length = file.metadata().map_err(CacheError::io("read", path))?.len();
        let digest = match whole(file, length, watch) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(CacheError::Changed { path: path.into() });
            }
            other => other.map_err(CacheError::io("read", path))?,
        };
        match file.metadata().map_err(CacheError::io("read", path))?.len() == length {
            true => Ok(digest),
            false => Err(CacheError::Changed { path: path.into() }),
        }
    }
}

fn whole(file: &File, length: u64, watch: Watch<'_>) -> io::Result<Digest> {
    if length <= PIECE {
        return with_piece(file, 0, length, watch, |bytes| blake3::hash(bytes).into());
    }
    let (left, right) = halves(file, 0, length, watch)?;
    Ok(merge_subtrees_root(&left, &right, Mode::Hash).into())
}

/// The two subtrees below the node that covers `length` bytes from `offset`.
fn halves(file: &File, offset: u64, length: u64, watch: Watch<'_>) -> io::Result<(ChainingValue, ChainingValue)> {
    let left = left_subtree_len(length);
    let (a, b) =
        rayon::join(|| subtree(file, offset, left, watch), || subtree(file, offset + left, length - left, watch));
    Ok((a?, b?))
}

fn subtree(file: &File, offset: u64, length: u64, watch: Watch<'_>) -> io::Result<ChainingValue> {
    if length <= PIECE {
        return with_piece(file, offset, length, watch, |bytes| {
            blake3::Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root()
        });
    }
    let (left, right) = halves(file, offset, length, watch)?;
    Ok(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

fn with_piece<T>(
    file: &File,
    offset: u64,
    bytes: u64,
    watch: Watch<'_>,
    hash: impl FnOnce(&[u8]) -> T,
) -> io::Result<T> {
    thread_local!(static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    let length = usize::try_from(bytes).expect("a piece is at most 512 KiB");
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        file.read_exact_at(&mut buffer[..length], offset)?;
        watch(bytes)?;
        Ok(hash(&buffer[..length]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_digest_of_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let piece = usize::try_from(PIECE).unwrap();
        for length in [0, 1, piece - 1, piece, piece + 1, 2 * piece, 3 * piece + 7, 5 * piece + 1024, 8 * piece] {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 31 % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Digest::of_file(&path).unwrap(), Digest::of(&bytes), "{length}");
        }
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"short").unwrap();
        let error = whole(&File::open(&path).unwrap(), 6, &|_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Digest::of_file("/nowhere/at/all").unwrap_err();
        assert_eq!(error.to_string(), "Could not open `/nowhere/at/all`");
    }
}
