//! Decodes a single file as a `decode` stage decodes the images of its data set.

use dnc_tables::pictures::{Limits, PictureError, Raster, decode};
use serde::{Deserialize, Serialize};

use super::parameters::Resize;

/// The parameters of a `decode` stage that determine the pixels of an image. Others in the same table are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PictureFile {
    /// Colour behind transparent pixels.
    pub background: [u8; 3],
    /// Final size; `None` keeps the size of the image.
    #[serde(default)]
    pub resize: Option<Resize>,
    /// Limits on the size of the image.
    #[serde(default)]
    pub limits: Limits,
}

impl PictureFile {
    /// Decodes and resizes the image in `bytes`.
    ///
    /// # Errors
    /// The bytes are not an image, damaged or truncated, or exceed the limits.
    pub fn decode(&self, bytes: &[u8]) -> Result<Raster, PictureError> {
        let raster = decode(bytes, self.background, self.limits, Vec::new())?;
        Ok(self.resize.and_then(|resize| resize.apply(&raster)).unwrap_or(raster))
    }
}
