//! How a report is made.

use std::path::PathBuf;

use super::budget::Budget;

/// How a report is made.
#[derive(Clone, Debug)]
pub struct ReportOptions {
    /// The file [default: `report.html` in the folder of the run].
    pub output: Option<PathBuf>,
    /// Size that the file must not exceed.
    pub budget: Budget,
    /// Number of queries that the gallery shows in all of its lists together.
    pub queries: usize,
    /// Whether near-duplicates across training and evaluation are sought in a data set of any size.
    pub leaks: bool,
    /// The store, if it is not the one that the run used.
    pub store: Option<PathBuf>,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self { output: None, budget: Budget::default(), queries: 200, leaks: false, store: None }
    }
}
