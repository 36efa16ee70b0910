//! Errors of reading and writing the tables of runs, and of comparing runs.

use std::io;
use std::path::PathBuf;

use arrow::error::ArrowError;
use dnc_cache::CacheError;
use dnc_stages::ArtifactKind;
use dnc_stages::tables::TableError;
use parquet::errors::ParquetError;

/// An error of reading or writing the tables of runs, or of comparing runs.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A table in a run folder could not be read.
    #[error("Cannot read `{}`", path.display())]
    ReadTable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: TableFault,
    },
    /// A table in a run folder could not be written.
    #[error("Cannot write `{}`", path.display())]
    WriteTable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A table could not be read from the store.
    #[error("Cannot read the {kind} of node `{node}` from the store")]
    ReadArtifact {
        /// The kind of the artifact.
        kind: ArtifactKind,
        /// The node that wrote it.
        node: String,
        /// The cause.
        source: TableFault,
    },
    /// The `manifest.toml` or `run.json` of a run could not be read.
    #[error("Cannot read `{}`", path.display())]
    ReadRunFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A comparison asks for a node without metrics.
    #[error("Run `{run}` has no metrics of node `{node}`")]
    NoMetrics {
        /// The run.
        run: String,
        /// The node.
        node: String,
    },
    /// A comparison could not be written as Parquet.
    #[error("Cannot write the comparison as Parquet")]
    WriteComparison(#[source] TableFault),
}

/// What is wrong with a table.
#[derive(Debug, thiserror::Error)]
pub enum TableFault {
    /// The file could not be opened.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file is not valid Parquet, or could not be written.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    /// The columns do not form a table, or could not be decoded.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] CacheError),
    /// The table of an artifact could not be read.
    #[error(transparent)]
    Artifact(#[from] Box<TableError>),
    /// A column is missing.
    #[error("Column `{0}` is missing")]
    MissingColumn(&'static str),
    /// A column has another type than expected.
    #[error("Column `{column}` is not of type {expected}")]
    ColumnType {
        /// The column.
        column: &'static str,
        /// The expected type.
        expected: &'static str,
    },
    /// A file of the artifact is not in the store.
    #[error("Blob {0} is missing from the store or damaged; run again to restore it")]
    MissingBlob(String),
}
