//! Errors of a search.

use dnc_stages::StageError;
use dnc_stages::tables::TableError;

use crate::pages::PagesError;

/// Why a search fails.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The run cannot be searched.
    #[error("Run `{run}` cannot be searched: {reason}")]
    Unsearchable {
        /// The run.
        run: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The vector that is searched for does not fit the run's embeddings.
    #[error("The vector has {found} values, but the embeddings of run `{run}` have {dim}")]
    Dimension {
        /// The run.
        run: String,
        /// Length of the vector.
        found: usize,
        /// Dimension of the embeddings.
        dim: usize,
    },
    /// The weights of the learners do not fit the run's model.
    #[error(
        "{problem}; the model of run `{run}` has {learners} learners, and each needs a weight of at least 0, one of them more"
    )]
    Weights {
        /// The run.
        run: String,
        /// What is wrong.
        problem: String,
        /// Number of learners.
        learners: usize,
    },
    /// A file of the run or of the store cannot be read.
    #[error(transparent)]
    Pages(#[from] PagesError),
    /// A table of the run cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The model cannot be loaded or run.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The neighbours cannot be computed.
    #[error("Cannot search the nearest images")]
    Kernel(#[from] dnc_kernels::Error),
}
