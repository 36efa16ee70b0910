//! Errors of making a report.

use std::io;
use std::path::PathBuf;

use dnc_cache::CacheError;
use dnc_stages::tables::TableError;

use super::budget::Budget;
use crate::report::error::ReportError;

/// An error of making a report.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// A table of a run could not be read.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] CacheError),
    /// A table in the store is damaged.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A file of a run could not be read.
    #[error("Cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("Cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A costly part of the report could not be computed.
    #[error("Cannot compute {what} for the report")]
    Derive {
        /// What was computed.
        what: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The report does not fit in its budget even without gallery and map.
    #[error(
        "Without gallery and map the report takes {needed}, which is more than `--budget {budget}`; raise the budget"
    )]
    OverBudget {
        /// Bytes without gallery and map.
        needed: Budget,
        /// The budget.
        budget: Budget,
    },
}

impl PagesError {
    /// Turns the cause of a failed computation into an error that says what was computed.
    pub(crate) fn deriving<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        what: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| PagesError::Derive { what, source: source.into() }
    }
}
