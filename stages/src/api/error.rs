//! Why a stage failed.

use std::path::{Path, PathBuf};

use dnc_learn::weights::Fit;
use dnc_tables::{Split, TableError};

/// Any error of a library, boxed.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a stage failed. The message says what was being done and to which file; the source is the answer of the system or a
/// library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// The user asked to stop.
    #[error("Cancelled")]
    Cancelled,
    /// Reading or writing a file failed.
    #[error("Cannot {action} `{}`", path.display())]
    File {
        /// What was being done: `read`, `write`, `decode` …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The answer of the system or library.
        #[source]
        source: Cause,
    },
    /// A folder for outputs or temporary files could not be created.
    #[error("Cannot create a folder in the store")]
    Folder {
        /// The answer of the system.
        #[source]
        source: std::io::Error,
    },
    /// A table could not be read or written.
    #[error(transparent)]
    Table(#[from] TableError),
    /// An error type of the stage's own.
    #[error(transparent)]
    Other(Cause),
    /// An input that the parameters require is not connected.
    #[error("The input `{port}` is not connected, but it is needed to {purpose}")]
    InputNotConnected {
        /// The input, as under `in` in the manifest.
        port: &'static str,
        /// What it is needed for, an infinitive with its object.
        purpose: String,
    },
    /// Two inputs belong together and only one is connected.
    #[error("The inputs `{first}` and `{second}` belong together, but only one of them is connected")]
    UnpairedInput {
        /// One of them.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// There are no images in the split `train`.
    #[error("There are no training images to {purpose}; check the splits that `decode` makes")]
    NoTrainingImages {
        /// What they are needed for, an infinitive with its object.
        purpose: &'static str,
    },
    /// There is nothing to search.
    #[error("There are {count} embeddings, but an index needs at least 2")]
    TooFewToIndex {
        /// Number of embeddings.
        count: usize,
    },
    /// The metric that a stage decides by was not computed.
    #[error("The metrics have no `{metric}` for the split `{split}`; {}", available_metrics(available))]
    MetricNotFound {
        /// The metric, with its k where it has one: `recall@1`.
        metric: String,
        /// The split.
        split: Split,
        /// The metrics that the split has.
        available: Vec<String>,
    },
    /// An image is in a cluster that no learner has.
    #[error("Image {id} is in cluster {cluster}, but the learners are numbered from 0 to {}", learners.saturating_sub(1))]
    ClusterOutOfRange {
        /// The image's id.
        id: u32,
        /// Its cluster.
        cluster: usize,
        /// The number of learners.
        learners: usize,
    },
    /// A weights file lacks tensors of the backbone, or has them in other shapes.
    #[error("The weights file `{}` does not fit `{backbone}`: {fit}", path.display())]
    WeightsMismatch {
        /// The file.
        path: PathBuf,
        /// The backbone.
        backbone: String,
        /// The tensors that are missing, unexpected or of another shape.
        fit: Box<Fit>,
    },
    /// Models that are to be merged have different architectures.
    #[error("The model of `{node}` has another architecture than the other learners' models")]
    ArchitectureMismatch {
        /// The node that trained it.
        node: String,
    },
    /// A merged embedding needs masks that the model does not have.
    #[error("The model has no masks, which `merged = \"masks\"` and `merged = \"normalised_masks\"` need")]
    NoMasks,
    /// The device does not have this precision.
    #[error("`precision = \"{precision}\"` needs a GPU; on a CPU use \"f32\", the default, or leave it out")]
    PrecisionNeedsGpu {
        /// The precision, as in the manifest.
        precision: &'static str,
    },
    /// The GPU has too little memory for the node.
    #[error("The GPU ran out of memory; {remedy}")]
    OutOfMemory {
        /// What to lower: parameters of the stage.
        remedy: &'static str,
        /// What was being done.
        #[source]
        source: Box<StageError>,
    },
    /// A stage asked for something that it did not declare. It is a defect of the stage.
    #[error("The stage used {what} without declaring it (a defect of the stage; please report it)")]
    Undeclared {
        /// What it asked for.
        what: String,
    },
    /// A computation failed.
    #[error("Cannot {action}")]
    Compute {
        /// What was being done.
        action: String,
        /// The answer of the library.
        #[source]
        source: Cause,
    },
}

impl StageError {
    /// A failed `action` (an infinitive such as `read`) on the file at `path`.
    pub fn file(action: &'static str, path: impl AsRef<Path>, source: impl Into<Cause>) -> Self {
        StageError::File { action, path: path.as_ref().to_path_buf(), source: source.into() }
    }

    /// The same error; if a GPU ran out of memory, with what to lower.
    #[must_use]
    pub(crate) fn with_memory_remedy(self, remedy: &'static str) -> Self {
        if dnc_kernels::is_out_of_memory(&self) {
            StageError::OutOfMemory { remedy, source: Box::new(self) }
        } else {
            self
        }
    }

    /// A failed computation; `action` is an infinitive with its object: `embed the images`.
    pub fn compute(action: impl Into<String>, source: impl Into<Cause>) -> Self {
        StageError::Compute { action: action.into(), source: source.into() }
    }
}

fn available_metrics(available: &[String]) -> String {
    match available {
        [] => "it has none: reserve classes for it in `decode`, and let `evaluate` include it".to_owned(),
        _ => format!("it has {}", available.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhausted_memory_of_a_gpu_says_what_to_lower() {
        let of = |text: &str| StageError::compute("embed images", text.to_owned()).with_memory_remedy("lower `batch`");
        let error = of("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")");
        assert_eq!(error.to_string(), "The GPU ran out of memory; lower `batch`");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("Cannot embed images"));
        assert_eq!(of("another error").to_string(), "Cannot embed images");
    }
}
