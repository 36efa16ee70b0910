//! Errors of the store and of remotes.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Key};

/// The result of every fallible function of this crate.
pub type Result<T, E = CacheError> = std::result::Result<T, E>;

/// Error of the store or of a remote.
///
/// A damaged or missing object that the caller can compute again is not an error but a normal answer ([`crate::Blob`],
/// `None`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The operating system returned an error.
    #[error("Could not {doing} `{}`", path.display())]
    Io {
        /// The failed action, as a verb in the infinitive.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The disk is full or a quota is used up. The partially written file has been removed.
    #[error("No space is left to {doing} `{}`; nothing partial was kept", path.display())]
    Full {
        /// The failed action, as a verb in the infinitive.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The store's folder cannot be written to.
    #[error("The store `{}` is read-only; name a folder that can be written to", path.display())]
    ReadOnly {
        /// The store's folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The store's path exists but is not a folder.
    #[error("The store `{}` is not a folder", path.display())]
    NotAFolder {
        /// The store's path.
        path: PathBuf,
    },
    /// The folder contains files that do not belong to a store. Nothing is written into it.
    #[error("The folder `{}` is not a store and is not empty", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
    },
    /// The store has a format that this version does not know, most likely that of a newer version.
    #[error("The store `{}` has format `{found}`, but this version reads `{known}`", path.display())]
    Format {
        /// The store's folder.
        path: PathBuf,
        /// The line in its `format` file.
        found: String,
        /// The format that this version writes.
        known: &'static str,
    },
    /// The store must be upgraded, but a process of an older version has it open.
    #[error("The store `{}` of format `{format}` is in use by an older version and can be upgraded once that process has ended", path.display())]
    InUse {
        /// The store's folder.
        path: PathBuf,
        /// The line in its `format` file.
        format: String,
    },
    /// A file's size changed while the file was being read.
    #[error("The file `{}` changed while it was being read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A symbolic link points to one of its own parent folders.
    #[error("The link `{}` points to a folder that contains it", path.display())]
    LinkLoop {
        /// The link.
        path: PathBuf,
    },
    /// A file name is not valid UTF-8 and cannot be recorded portably.
    #[error("The name of `{}` is not valid UTF-8", path.display())]
    NotUtf8 {
        /// The file or folder.
        path: PathBuf,
    },
    /// Neither a file nor a folder (for example a socket or device), or a symbolic link in an output folder.
    #[error("`{}` is neither a file nor a folder", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A pipe, device or folder has the name of an object in a remote.
    #[error("The object `{}` of the remote is not a file; remove it", path.display())]
    NotAnObject {
        /// The path.
        path: PathBuf,
    },
    /// The caller cancelled a wait for another process.
    #[error("Waiting for key `{}` was cancelled", key.short())]
    Cancelled {
        /// The key that another process is computing.
        key: Key,
    },
    /// A needed blob is not in the store, or was damaged and is in quarantine now. The caller must compute it again.
    #[error("The blob `{}` is missing from the store", digest.short())]
    Absent {
        /// The blob.
        digest: Digest,
    },
    /// Records that could not be made durable. None of them is in the store.
    #[error("Could not commit {} to the store", match keys.len() { 1 => "1 record".into(), n => format!("{n} records") })]
    Commit {
        /// The keys of the lost records, in the order in which they were committed.
        keys: Vec<Key>,
        /// The first error.
        source: Box<CacheError>,
    },
    /// A bug in this crate. The panic message has been printed.
    #[error("The thread that commits records panicked (this is a bug, please report it)")]
    CommitterPanicked,
    /// A text that is not a normalised relative path.
    #[error("`{text}` is not a valid name of an object or file in a store")]
    InvalidName {
        /// The text.
        text: String,
    },
    /// The URL of a remote has a scheme for which there is no implementation.
    #[error(
        "The remote `{url}` has the unsupported scheme `{scheme}`; use a folder, or a URL with `file://`, `s3://` or `https://`"
    )]
    UnsupportedScheme {
        /// The URL.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// The URL or path of a remote is invalid.
    #[error("The remote `{url}` cannot be used: {problem}")]
    InvalidRemote {
        /// The URL or path.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A request to a remote failed.
    #[error("Could not {doing} `{url}`{hint}")]
    Request {
        /// The failed action, as a verb in the infinitive.
        doing: &'static str,
        /// URL of the remote and name of the object.
        url: Box<str>,
        /// What to do about it, if known; empty or beginning with a semicolon.
        hint: &'static str,
        /// The server's answer, or why there is none.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no remote store at this place, or none yet.
    #[error("There is no remote store at `{url}`; `cache push` creates one")]
    NoRemote {
        /// The remote's URL.
        url: String,
    },
    /// The remote contains objects that do not belong to a remote store. Nothing is written into it.
    #[error("`{url}` is not a remote store and is not empty; it contains `{object}`")]
    NotARemote {
        /// The remote's URL.
        url: String,
        /// One of the objects that do not belong to a remote store.
        object: String,
    },
    /// What a project needs in a remote cannot be read, so gc does not know what to keep.
    #[error(
        "`{object}` in `{url}`, which says what a project needs there, is damaged; delete it, or push from that project again"
    )]
    DamagedRoot {
        /// The remote's URL.
        url: String,
        /// The object.
        object: String,
    },
    /// The remote has a format that this version does not know, most likely that of a newer version.
    #[error("The remote `{url}` has format `{found}`, but this version reads `{known}`")]
    RemoteFormat {
        /// The remote's URL.
        url: String,
        /// The line in its `format` object.
        found: String,
        /// The format that this version writes.
        known: &'static str,
    },
}

impl CacheError {
    /// Converts an `io::Error` inside `map_err`: adds the action and the path, and distinguishes a full disk from other errors.
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

/// Turns "no such file" into `None`.
pub(crate) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
