//! What can go wrong in this crate.

use std::path::PathBuf;

use crate::weights::Fit;

/// The result of this crate's functions.
pub type Result<T, E = LearnError> = std::result::Result<T, E>;

/// What can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// An operation on tensors failed, on this device or for these shapes.
    #[error("A tensor operation failed")]
    Tensor {
        /// What the tensor library says.
        #[from]
        source: candle_core::Error,
    },
    /// A kernel refused its operands.
    #[error("A kernel failed")]
    Kernel {
        /// What the kernel says.
        #[from]
        source: dnc_kernels::Error,
    },
    /// A layer of a backbone could not be computed.
    #[error("Could not compute the layer `{layer}`")]
    Layer {
        /// The layer, as its tensors' names begin.
        layer: String,
        /// What the kernel says.
        source: dnc_kernels::Error,
    },
    /// No backbone has this name.
    #[error("There is no backbone `{name}`; there are {known}{hint}")]
    UnknownBackbone {
        /// The name that was asked for.
        name: String,
        /// All names, comma separated.
        known: String,
        /// The nearest name as `; did you mean …?`, or empty.
        hint: String,
    },
    /// A tensor that the model reads is not among its parameters.
    #[error("The model has no tensor `{name}`")]
    NoTensor {
        /// The missing tensor.
        name: String,
    },
    /// A tensor has another shape than its reader needs.
    #[error("`{name}` has shape {found:?}, but {wanted} is wanted")]
    Shape {
        /// Which tensor.
        name: String,
        /// The shape that is wanted, in words or numbers.
        wanted: String,
        /// The shape that it has.
        found: Vec<usize>,
    },
    /// A set of named tensors is not what the model wants.
    #[error("The tensors do not fit the model: {fit}")]
    Misfit {
        /// What is missing, superfluous and misshapen.
        fit: Fit,
    },
    /// A weights file could not be opened, read or written.
    #[error("Could not {doing} the weights file `{path}`")]
    WeightsFile {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A weights file is damaged, or of a kind that is not read.
    #[error("Could not understand the weights file `{path}`: {problem}")]
    WeightsFormat {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// A computed number is infinite or no number: the training has diverged, or an input held such a number.
    #[error("The {what} are not all finite; a lower learning rate may help")]
    NotFinite {
        /// What was computed, in the plural.
        what: &'static str,
    },
    /// A parameter's value cannot be meant.
    #[error("`{parameter}` cannot be {value}: {reason}")]
    Config {
        /// Its name in the configuration.
        parameter: &'static str,
        /// The value, as text.
        value: String,
        /// Why not.
        reason: String,
    },
    /// There are images from which no batch can be drawn that a metric could be learned from.
    #[error("Cannot draw batches from {images} images of {classes} classes: {reason}")]
    Batches {
        /// How many images there are.
        images: usize,
        /// Of how many classes.
        classes: usize,
        /// What is missing.
        reason: String,
    },
    /// A division leaves a cluster on which no learner can be trained.
    #[error(
        "No learner can be trained on cluster {cluster} of {clusters}: it has {images} images, and {classes} of its \
         classes have two or more where two such classes are needed (k-means was tried with {tries} seeds)"
    )]
    Cluster {
        /// The cluster's number.
        cluster: usize,
        /// How many clusters there are.
        clusters: usize,
        /// How many images it has.
        images: usize,
        /// How many of its classes have two images or more.
        classes: usize,
        /// How many seeds k-means was given.
        tries: usize,
    },
    /// A division leaves a cluster that is to be split in two, but is too small.
    #[error(
        "Cluster {cluster} of {clusters} cannot be split in two: it has {images} images, and each half needs two of its classes \
         with two images or more (k-means was tried with {tries} seeds)"
    )]
    Split {
        /// The cluster's number.
        cluster: usize,
        /// How many clusters there are.
        clusters: usize,
        /// How many images it has.
        images: usize,
        /// How many seeds k-means was given.
        tries: usize,
    },
    /// A metric was given what it is not defined for.
    #[error("Cannot compute `{metric}`: {problem}")]
    Metric {
        /// The metric.
        metric: &'static str,
        /// What does not fit, with the sizes.
        problem: String,
    },
    /// k-means, which the caller provides, failed.
    #[error("Could not cluster {points} points into {clusters}")]
    KMeans {
        /// How many points there are.
        points: usize,
        /// How many clusters were asked for.
        clusters: usize,
        /// What the library says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
