//! Parameters of `decode` besides the data set and the split rule.

use dnc_tables::pictures::Raster;
use dnc_tables::pictures::resize::{resized, scaled};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Image size after antialiased bilinear resizing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// Height and width in pixels. The aspect ratio is not kept.
    Exact([u16; 2]),
    /// Length of the shorter side in pixels. The aspect ratio is kept, and smaller images are not enlarged.
    Shorter(u16),
}

impl Resize {
    /// The image in its new size, or `None` if it keeps its size.
    pub(super) fn apply(self, raster: &Raster) -> Option<Raster> {
        let (height, width) = match self {
            Resize::Exact([height, width]) => (height.into(), width.into()),
            Resize::Shorter(side) if raster.height.min(raster.width) > usize::from(side) => {
                scaled(raster.height, raster.width, side.into())
            }
            Resize::Shorter(_) => return None,
        };
        Some(Raster { height, width, pixels: resized(raster.as_picture(), height, width) })
    }
}

/// What to do with an image that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Fail and name the image.
    #[default]
    Fail,
    /// Leave the image out, list it with the reason in the table `skipped` beside the images, and warn of it in every run.
    Skip,
}
