//! Why a batch cannot be made.

use dnc_tables::views::Region;

use crate::api::StageError;

/// Why a batch cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The central crop is larger than the resized image.
    #[error("The crop of {crop} pixels must be between 1 and the size of the resized image, {resize} pixels")]
    CropSize {
        /// The side of the crop.
        crop: usize,
        /// The shorter side of the resized image.
        resize: usize,
    },
    /// The table of images has no such image.
    #[error("There is no image with the id {id}")]
    UnknownImage {
        /// The id.
        id: u32,
    },
    /// Augmented views are requested, but the loader has none.
    #[error("Augmented images are requested, but no views are connected")]
    NoViews,
    /// The crop of a view is not within its image, which therefore is not the image that the view was made for.
    #[error(
        "A view of image {id} crops {} × {} pixels at ({}, {}), but the image is {width} × {height}; \
         were the views made from other images?",
        crop.width, crop.height, crop.left, crop.top
    )]
    CropOutsideImage {
        /// The id of the image.
        id: u32,
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// The crop.
        crop: Region,
    },
    /// The pixels of materialised views have another size than the backbone takes.
    #[error(
        "The views of image {id} were materialised for a backbone that takes {found} × {found} pixels, but this one takes \
         {side} × {side}"
    )]
    MaterialisedSize {
        /// The id of the image.
        id: u32,
        /// The side of the materialised view.
        found: usize,
        /// The side that the backbone takes.
        side: usize,
    },
}

impl From<LoadError> for StageError {
    fn from(error: LoadError) -> Self {
        StageError::Other(Box::new(error))
    }
}
