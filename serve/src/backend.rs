//! What is served: the trait that answers requests, and the requests.

use crate::answers::{Embedding, Found, Labels, Metrics, RunState, Runs};

/// Answers requests. Its methods run on a few threads at a time and may take long.
pub trait Backend: Send + Sync + 'static {
    /// All runs.
    ///
    /// # Errors
    /// They cannot be listed.
    fn runs(&self) -> Result<Runs, Refusal>;

    /// How far a run is.
    ///
    /// # Errors
    /// There is no such run.
    fn state(&self, run: Option<&str>) -> Result<RunState, Refusal>;

    /// The metrics of a run.
    ///
    /// # Errors
    /// There is no such run, or it has no metrics.
    fn metrics(&self, run: Option<&str>) -> Result<Metrics, Refusal>;

    /// The nearest images.
    ///
    /// # Errors
    /// There is no such run, the image cannot be decoded, or a parameter is out of range.
    fn search(&self, request: &SearchRequest) -> Result<Found, Refusal>;

    /// The embedding of an image.
    ///
    /// # Errors
    /// As for [`search`](Self::search).
    fn embed(&self, request: &ImageRequest) -> Result<Embedding, Refusal>;

    /// An image of a run.
    ///
    /// # Errors
    /// There is no such run or image.
    fn image(&self, run: Option<&str>, id: u32, size: Size) -> Result<Picture, Refusal>;

    /// The report of a run as HTML that loads nothing.
    ///
    /// # Errors
    /// There is no such run, or its report cannot be made.
    fn report(&self, run: Option<&str>) -> Result<String, Refusal>;

    /// The corrected labels of a run.
    ///
    /// # Errors
    /// There is no such run.
    fn labels(&self, run: Option<&str>) -> Result<Labels, Refusal>;

    /// Corrects the label of an image; without a class, takes the correction back.
    ///
    /// # Errors
    /// There is no such run or image, or nothing may be changed.
    fn correct(&self, run: Option<&str>, id: u32, class: Option<&str>) -> Result<Labels, Refusal>;
}

/// An image to embed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageRequest {
    /// The run whose model is used; the first one that is served if there is none.
    pub run: Option<String>,
    /// The file of the image.
    pub image: Vec<u8>,
    /// The part of it that is meant: left, top, width and height in pixels.
    pub crop: Option<[usize; 4]>,
}

/// What to search for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchRequest {
    /// The run that is searched; the first one that is served if there is none.
    pub run: Option<String>,
    /// The file of an image.
    pub image: Option<Vec<u8>>,
    /// The part of it that is searched for: left, top, width and height in pixels. Without `image`, of the only one in `positive`.
    pub crop: Option<[usize; 4]>,
    /// An embedding to search for.
    pub vector: Option<Vec<f32>>,
    /// Ids of images of the run that are searched for as well.
    pub positive: Vec<u32>,
    /// Ids of images of the run that the results should be unlike.
    pub negative: Vec<u32>,
    /// Number of images to find.
    pub k: usize,
    /// The learner in whose subspace images are compared, counted from 0.
    pub learner: Option<usize>,
    /// A weight per learner, by which images are compared in all subspaces.
    pub weights: Option<Vec<f32>>,
    /// Whether the answer should contain the embedding that was searched for.
    pub with_vector: bool,
}

/// Size of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// At most 96 pixels wide and high.
    Thumbnail,
    /// As the run decoded it.
    Full,
}

/// A picture as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its media type, as in `image/jpeg`.
    pub media_type: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such run or image.
    #[error("{0}")]
    NotFound(String),
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The bytes are no image that can be decoded.
    #[error("{0}")]
    NoImage(String),
    /// Nothing may be changed.
    #[error("{0}")]
    ReadOnly(String),
    /// The run cannot do this, or not yet.
    #[error("{0}")]
    Unavailable(String),
    /// It failed.
    #[error("{0}")]
    Failed(String),
}
