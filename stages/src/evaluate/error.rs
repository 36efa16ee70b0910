//! Why a split cannot be evaluated.

use dnc_tables::Split;

use crate::api::StageError;

/// Why a split cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// None of the images is in a split that is evaluated.
    #[error(
        "There are no images to evaluate: every image is in a split that `splits` leaves out (without `splits`, `train` is \
         left out)"
    )]
    NothingToEvaluate,
    /// Every image is in the random galleries.
    #[error(
        "`random_galleries` leaves no queries: a gallery has one image of each class, and no class has a second one. Leave it out to \
         search each image among all others"
    )]
    NoQueries,
    /// There are query images but no gallery images.
    #[error("There are images in the split `query` but none in the split `gallery` to search")]
    NoGallery,
    /// An image has several embeddings.
    #[error("`embeddings` has several rows for image {id}; each image must have one")]
    RepeatedImage {
        /// The image's id.
        id: u32,
    },
    /// An embedding belongs to no image.
    #[error(
        "`embeddings` has a row for image {id}, which `images` does not have; connect the images that they were computed from"
    )]
    UnknownImage {
        /// The image's id.
        id: u32,
    },
    /// An embedding has another label or split than its image.
    #[error(
        "`embeddings` and `images` do not agree on image {id}: label {} and split `{}` in `embeddings`, label {} and split `{}` in \
         `images`; connect the images that the embeddings were computed from",
        given.0, given.1, found.0, found.1
    )]
    OtherDescription {
        /// The image's id.
        id: u32,
        /// Label and split in `embeddings`.
        given: (u32, Split),
        /// Label and split in `images`.
        found: (u32, Split),
    },
    /// An image has no camera, although cameras are used.
    #[error(
        "Image {id} has no camera, which `cameras = true` needs; without `cameras`, such images count as seen by a camera of their own"
    )]
    NoCamera {
        /// The image's id.
        id: u32,
    },
    /// Pixels are compared without a model, but images differ in size.
    #[error(
        "Raw pixels can be compared only if all images have the same size; set `thumbnail = 32`, or connect a `model`"
    )]
    ImageSizesDiffer,
    /// Nuisances are applied to raw pixels of images that are not square.
    #[error("`nuisances` can be applied to raw pixels only if the images are square; set `thumbnail = 32`")]
    ImagesNotSquare,
}

impl From<EvaluateError> for StageError {
    fn from(error: EvaluateError) -> Self {
        StageError::Other(Box::new(error))
    }
}
