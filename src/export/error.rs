//! Errors of an export.

use std::io;
use std::path::PathBuf;

use dnc_stages::StageError;
use dnc_stages::tables::TableError;

use crate::pages::PagesError;
use crate::report::stored::StoredError;

/// An error of an export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The run does not have what is exported.
    #[error("{0}")]
    Lacking(String),
    /// An output of a node cannot be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// A file of the run or of the store cannot be read.
    #[error(transparent)]
    Pages(#[from] PagesError),
    /// A table of the run cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The model cannot be converted or run.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A file cannot be written.
    #[error("Cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}
