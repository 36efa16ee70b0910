//! Parallel hashing of a file.
//!
//! BLAKE3 is a tree hash: the file is split along the tree, each thread reads and hashes its own pieces, and the chaining
//! values are merged upwards. The digest equals that of sequential hashing for any number of threads.
//!
//! The file is read and not memory-mapped, so that truncation by another process gives an error instead of a fatal signal.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

use crate::digest::Digest;
use crate::error::{CacheError, Result};

/// Bytes that one thread reads at a time. A power of two, like every left subtree of BLAKE3, and small enough for the bytes to
/// stay in the L2 cache between reading and hashing.
const PIECE: u64 = 512 * 1024;

/// Callback that receives the number of bytes of each piece after it was read. It is called from several threads at once.
pub(crate) type OnBytesRead<'a> = &'a (dyn Fn(u64) -> io::Result<()> + Sync);

impl Digest {
    /// Hashes the bytes of a file.
    ///
    /// # Errors
    /// The file cannot be read, or its size changes during the reading.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(CacheError::io("open", path))?;
        Self::of_open_file(&file, path)
    }

    /// Like [`Digest::of_file`]; `path` is used in messages.
    pub(crate) fn of_open_file(file: &File, path: &Path) -> Result<Self> {
        Self::of_file_with_progress(file, path, &|_| Ok(()))
    }

    /// Like [`Digest::of_open_file`], with a callback. An error of the callback stops the reading.
    pub(crate) fn of_file_with_progress(file: &File, path: &Path, on_read: OnBytesRead<'_>) -> Result<Self> {
        let length = file.metadata().map_err(CacheError::io("read", path))?.len();
        let digest = match hash_whole(file, length, on_read) {
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

fn hash_whole(file: &File, length: u64, on_read: OnBytesRead<'_>) -> io::Result<Digest> {
    if length <= PIECE {
        return with_piece(file, 0, length, on_read, |bytes| blake3::hash(bytes).into());
    }
    let (left, right) = halves(file, 0, length, on_read)?;
    Ok(merge_subtrees_root(&left, &right, Mode::Hash).into())
}

/// The chaining values of the two subtrees of the node that covers `length` bytes from `offset`.
fn halves(
    file: &File,
    offset: u64,
    length: u64,
    on_read: OnBytesRead<'_>,
) -> io::Result<(ChainingValue, ChainingValue)> {
    let left = left_subtree_len(length);
    let (a, b) =
        rayon::join(|| subtree(file, offset, left, on_read), || subtree(file, offset + left, length - left, on_read));
    Ok((a?, b?))
}

fn subtree(file: &File, offset: u64, length: u64, on_read: OnBytesRead<'_>) -> io::Result<ChainingValue> {
    if length <= PIECE {
        return with_piece(file, offset, length, on_read, |bytes| {
            blake3::Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root()
        });
    }
    let (left, right) = halves(file, offset, length, on_read)?;
    Ok(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

fn with_piece<T>(
    file: &File,
    offset: u64,
    bytes: u64,
    on_read: OnBytesRead<'_>,
    hash: impl FnOnce(&[u8]) -> T,
) -> io::Result<T> {
    thread_local!(static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    let length = usize::try_from(bytes).expect("a piece is at most 512 KiB");
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        file.read_exact_at(&mut buffer[..length], offset)?;
        on_read(bytes)?;
        Ok(hash(&buffer[..length]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_digest_of_its_bytes() {
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
        let error = hash_whole(&File::open(&path).unwrap(), 6, &|_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_error_names_a_missing_file() {
        let error = Digest::of_file("/nowhere/at/all").unwrap_err();
        assert_eq!(error.to_string(), "Could not open `/nowhere/at/all`");
    }
}
