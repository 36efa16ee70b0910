//! Why an attempt failed.

use dnc_cache::CacheError;
use dnc_stages::StageError;

/// Why an attempt failed.
pub(super) enum Failure {
    /// The store failed.
    Cache(CacheError),
    /// The stage failed.
    Stage(StageError),
    /// Anything else.
    Message(String),
}

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Self {
        Failure::Cache(error)
    }
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        Failure::Stage(error)
    }
}
