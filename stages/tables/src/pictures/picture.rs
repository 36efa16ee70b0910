//! A picture in memory: borrowed or owned RGB pixels.

/// The pixels of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture<'a> {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// `[height, width, 3]`.
    pub pixels: &'a [u8],
}

/// An image that owns its pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raster {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// `[height, width, 3]`.
    pub pixels: Vec<u8>,
}

impl Raster {
    /// The same image, borrowed.
    pub fn as_picture(&self) -> Picture<'_> {
        Picture { height: self.height, width: self.width, pixels: &self.pixels }
    }
}
