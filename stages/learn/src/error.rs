//! The errors of this crate.

use std::path::PathBuf;

use crate::fit::Fit;

/// The result of this crate's functions.
pub type Result<T, E = LearnError> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// A tensor operation failed, on this device or for these shapes.
    #[error("A tensor operation failed")]
    Tensor {
        /// The tensor library's error.
        #[from]
        source: candle_core::Error,
    },
    /// A kernel rejected its operands.
    #[error("A kernel failed")]
    Kernel {
        /// The kernel's error.
        #[from]
        source: dnc_kernels::Error,
    },
    /// A layer of a backbone could not be computed.
    #[error("Could not compute the layer `{layer}`")]
    Layer {
        /// The layer: the prefix of its tensors' names.
        layer: String,
        /// The kernel's error.
        source: dnc_kernels::Error,
    },
    /// There is no backbone of this name.
    #[error("There is no backbone `{name}`; choose one of {known}{hint}")]
    UnknownBackbone {
        /// The requested name.
        name: String,
        /// All names, comma separated.
        known: String,
        /// The nearest name as `; did you mean …?`, or empty.
        hint: String,
    },
    /// A tensor that the model needs is not among its parameters.
    #[error("The model has no tensor `{name}`")]
    NoTensor {
        /// The missing tensor.
        name: String,
    },
    /// A tensor does not have the expected shape.
    #[error("`{name}` has shape {found:?}, expected {wanted}")]
    Shape {
        /// The tensor.
        name: String,
        /// The expected shape, in words or numbers.
        wanted: String,
        /// The actual shape.
        found: Vec<usize>,
    },
    /// A set of named tensors does not match what the model expects.
    #[error("The tensors do not match the model: {fit}")]
    Mismatch {
        /// The missing tensors, the unexpected ones and those of another shape.
        fit: Box<Fit>,
    },
    /// A weights file could not be opened, read or written.
    #[error("Could not {doing} the weights file `{path}`")]
    WeightsFile {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A weights file is damaged or of an unsupported format.
    #[error("Could not parse the weights file `{path}`: {problem}")]
    WeightsFormat {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// A computed value is infinite or NaN: the training has diverged, or the input already held such a value.
    #[error("The {what} are not all finite; try a lower learning rate")]
    NotFinite {
        /// What was computed, in the plural.
        what: &'static str,
    },
    /// The mask of a learner is zero everywhere: all of its embeddings are zero, and no gradient can change that.
    #[error(
        "Nothing is left to train: no coordinate of the mask of learner {learner} is above 0; try a lower learning rate of the \
         masks"
    )]
    EmptyMask {
        /// Number of the learner.
        learner: usize,
    },
    /// A hyper-parameter is out of range.
    #[error("`{parameter}` cannot be {value}: {reason}")]
    Config {
        /// Its name in the configuration.
        parameter: &'static str,
        /// The value, as text.
        value: String,
        /// The allowed range, or the conflict with another parameter.
        reason: String,
    },
    /// A hyper-parameter of a table within the configuration is wrong.
    #[error("{error}")]
    Within {
        /// Name of the table.
        table: &'static str,
        /// What is wrong.
        error: Box<LearnError>,
    },
    /// No batch that a metric could be learned from can be drawn from these images.
    #[error("Cannot draw batches from {images} images of {classes} classes: {reason}")]
    Batches {
        /// Number of images.
        images: usize,
        /// Number of classes.
        classes: usize,
        /// What is missing.
        reason: String,
    },
    /// A division has a cluster on which no learner can be trained.
    #[error(
        "No learner can be trained on cluster {cluster} of {clusters}: training needs two classes with two or more images, but \
         among its {images} images there are {classes} such classes (k-means was tried with {tries} seeds)"
    )]
    Cluster {
        /// Number of the cluster.
        cluster: usize,
        /// Number of clusters.
        clusters: usize,
        /// Images in the cluster.
        images: usize,
        /// Classes in the cluster with two or more images.
        classes: usize,
        /// How many seeds k-means was tried with.
        tries: usize,
    },
    /// A cluster that has to be split in two is too small for it.
    #[error(
        "Cluster {cluster} of {clusters} cannot be split in two: each half needs two classes with two or more images, and the \
         cluster has {images} images (k-means was tried with {tries} seeds)"
    )]
    Split {
        /// Number of the cluster.
        cluster: usize,
        /// Number of clusters.
        clusters: usize,
        /// Images in the cluster.
        images: usize,
        /// How many seeds k-means was tried with.
        tries: usize,
    },
    /// A metric is not defined for its input.
    #[error("Cannot compute `{metric}`: {problem}")]
    Metric {
        /// The metric.
        metric: &'static str,
        /// What is wrong with the input, with the sizes.
        problem: String,
    },
    /// k-means, which the caller provides, failed.
    #[error("Could not cluster {points} points into {clusters} clusters")]
    KMeans {
        /// Number of points.
        points: usize,
        /// Number of clusters.
        clusters: usize,
        /// The k-means implementation's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
