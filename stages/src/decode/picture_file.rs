//! Decodes a single file as a `decode` stage decodes the images of its data set.

use dnc_tables::pictures::limits::check_size;
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
        Ok(self.resized(decode(bytes, self.background, self.limits, Vec::new())?))
    }

    /// Resizes an image that another program has decoded.
    ///
    /// # Errors
    /// It exceeds the limits.
    pub fn accept(&self, raster: Raster) -> Result<Raster, PictureError> {
        if raster.pixels.is_empty() {
            return Err(PictureError::Empty);
        }
        check_size(raster.width as u64, raster.height as u64, self.limits)?;
        Ok(self.resized(raster))
    }

    fn resized(&self, raster: Raster) -> Raster {
        self.resize.and_then(|resize| resize.apply(&raster)).unwrap_or(raster)
    }
}
