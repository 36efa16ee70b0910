//! Why a split cannot be evaluated.

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
    /// There are query images but no gallery images.
    #[error("There are images in the split `query` but none in the split `gallery` to search")]
    NoGallery,
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
