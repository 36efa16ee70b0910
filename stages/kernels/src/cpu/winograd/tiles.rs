//! Division of the output of a batch of images into tiles.

use super::transform::{INPUT, OUTPUT, PRODUCTS};

/// A batch of images under a 3×3 window of stride 1, whose output is divided into tiles of 4×4 pixels.
#[derive(Debug, Clone, Copy)]
pub(in crate::cpu) struct TiledImages<'a> {
    /// `[batch, height, width, channels]`.
    pub source: &'a [f32],
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// Rows of zeros above and columns of zeros left of the image.
    pub before: (usize, usize),
    /// Rows and columns of the output.
    pub out: (usize, usize),
}

impl TiledImages<'_> {
    fn tiles_down(&self) -> usize {
        self.out.0.div_ceil(OUTPUT)
    }

    fn tiles_across(&self) -> usize {
        self.out.1.div_ceil(OUTPUT)
    }

    /// Number of tiles over all images.
    pub(in crate::cpu) fn tiles(&self) -> usize {
        self.batch * self.tiles_down() * self.tiles_across()
    }

    /// The image and the first output row and column of a tile.
    pub(super) fn tile(&self, index: usize) -> (usize, usize, usize) {
        let (down, across) = (self.tiles_down(), self.tiles_across());
        let image = index / (down * across);
        let rest = index % (down * across);
        (image, rest / across * OUTPUT, rest % across * OUTPUT)
    }

    /// Pointers to the 36 input pixels of a tile; `zeros` stands for the padding.
    pub(super) fn input(&self, index: usize, zeros: &[f32]) -> [*const f32; PRODUCTS] {
        let (image, top, left) = self.tile(index);
        std::array::from_fn(|entry| {
            let y = (top + entry / INPUT).checked_sub(self.before.0);
            let x = (left + entry % INPUT).checked_sub(self.before.1);
            match (y, x) {
                (Some(y), Some(x)) if y < self.height && x < self.width => {
                    let pixel = (image * self.height + y) * self.width + x;
                    self.source[pixel * self.channels..].as_ptr()
                }
                _ => zeros.as_ptr(),
            }
        })
    }
}

/// Whether the Winograd kernel with its transforms is faster than the direct product, which skips the padding.
///
/// `direct` is the number of pixels times taps of the direct product. With few channels the transforms dominate.
pub(in crate::cpu) fn is_faster_than_direct(direct: usize, tiles: usize, channels: usize, columns: usize) -> bool {
    const MIN_CHANNELS: usize = 16;
    channels >= MIN_CHANNELS && columns >= MIN_CHANNELS && 2 * direct > 3 * PRODUCTS * tiles
}
