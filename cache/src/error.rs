//! Everything that can go wrong between bytes and their names.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Key};

/// The result of every fallible call of this crate.
pub type Result<T, E = CacheError> = std::result::Result<T, E>;

/// Why the cache could not do what it was asked to.
///
/// A rotten or missing object is not in this list where the caller can compute it again: those are ordinary answers
/// ([`crate::Blob`], `None`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The operating system refused.
    #[error("Could not {doing} `{}`", path.display())]
    Io {
        /// What was being done, as a verb in the infinitive.
        doing: &'static str,
        /// The file or folder it was done to.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// No space (or quota) is left; what was being written has been removed again.
    #[error("No space is left to {doing} `{}`; nothing partial was kept", path.display())]
    Full {
        /// What was being done, as a verb in the infinitive.
        doing: &'static str,
        /// The file or folder it was done to.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// The store's folder cannot be written to.
    #[error("The store `{}` is read-only; name a folder that can be written to", path.display())]
    ReadOnly {
        /// The store's folder.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// The store's path names something else than a folder.
    #[error("The store `{}` is not a folder", path.display())]
    NotAFolder {
        /// The store's path.
        path: PathBuf,
    },
    /// The folder holds files that are not a store's: writing into it would litter.
    #[error("The folder `{}` is not a store and is not empty", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
    },
    /// The store was written by another version of the format.
    #[error("The store `{}` has format `{found}`, but this version reads `{known}`", path.display())]
    Format {
        /// The store's folder.
        path: PathBuf,
        /// The line in its `format` file.
        found: String,
        /// The line that this version writes.
        known: &'static str,
    },
    /// The store is to be upgraded, but a process of an older version has it open.
    #[error("The store `{}` of format `{format}` is in use by an older version; it is upgraded once that has ended", path.display())]
    InUse {
        /// The store's folder.
        path: PathBuf,
        /// The line in its `format` file.
        format: String,
    },
    /// A file became shorter or longer while its bytes were being read.
    #[error("The file `{}` changed while it was being read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A symbolic link leads back to one of its own parent folders.
    #[error("The link `{}` leads back to a folder that holds it", path.display())]
    LinkLoop {
        /// The link.
        path: PathBuf,
    },
    /// A name that cannot be written down portably.
    #[error("The name of `{}` is not valid UTF-8", path.display())]
    NotUtf8 {
        /// The file or folder.
        path: PathBuf,
    },
    /// Neither a file nor a folder (a socket, a device), or a symbolic link in an output folder.
    #[error("`{}` is neither a file nor a folder", path.display())]
    NotAFile {
        /// The thing.
        path: PathBuf,
    },
    /// The caller asked to stop while it was waiting for another process.
    #[error("Waiting for key `{}` was cancelled", key.short())]
    Cancelled {
        /// The key that another process is computing.
        key: Key,
    },
    /// A blob that the caller needs is not in the store, or was rotten and has been set aside: compute it again.
    #[error("The blob `{}` is missing from the store", digest.short())]
    Absent {
        /// The blob.
        digest: Digest,
    },
    /// Records that could not be made durable. None of them is in the store.
    #[error("Could not commit {} to the store", match keys.len() { 1 => "1 record".into(), n => format!("{n} records") })]
    Commit {
        /// The keys whose records are lost, in the order in which they were committed.
        keys: Vec<Key>,
        /// What the first of them failed from.
        source: Box<CacheError>,
    },
    /// A defect of this crate; the panic has been printed.
    #[error("The thread that commits records panicked (a defect, please report it)")]
    CommitterPanicked,
    /// A text that is not the 64 hexadecimal digits of a digest or key.
    #[error("`{text}` is not a digest of 64 hexadecimal digits")]
    NotADigest {
        /// The text.
        text: String,
    },
    /// A name that no object of a store may bear.
    #[error("`{text}` cannot name an object of a store")]
    NotAName {
        /// The text.
        text: String,
    },
}

impl CacheError {
    /// Adapts an `io::Error` for `map_err`: names the deed and the path, and tells a full disk from other failures.
    pub(crate) fn io(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        move |source| {
            let path = path.as_ref().to_path_buf();
            match source.kind() {
                StorageFull | QuotaExceeded | FileTooLarge => Self::Full { doing, path, source },
                _ => Self::Io { doing, path, source },
            }
        }
    }
}

/// Turns "there is no such file" into `None`.
pub(crate) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
