//! Images that are parts of one array of grey pixels.

use super::encoded::{EncodedImage, ImageReader};
use super::entry::Entry;
use super::error::DecodeError;

/// Images of equal size in one array of grey pixels.
pub struct GreyImages {
    /// Height of an image in pixels.
    pub height: usize,
    /// Width of an image in pixels.
    pub width: usize,
    /// `[images, height, width]`.
    pub pixels: Vec<u8>,
}

impl ImageReader for GreyImages {
    fn fetch(&mut self, entries: &[Entry]) -> Result<Vec<EncodedImage<'_>>, DecodeError> {
        let (height, width) = (self.height, self.width);
        let image = |entry: &Entry| {
            let pixels = &self.pixels[entry.position * height * width..][..height * width];
            EncodedImage::Grey { height, width, pixels }
        };
        Ok(entries.iter().map(image).collect())
    }
}
