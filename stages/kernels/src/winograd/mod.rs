//! 3×3 convolutions of stride 1 by Winograd's minimal filtering: 36 products for 16 output pixels instead of 144.
//!
//! A tile of 6×6 input pixels and the 3×3 weights are mapped to 36 factors each; their products, summed over the channels, are mapped to
//! 4×4 output pixels. The sums over channels are 36 matrix products, [`crate::tile`]'s. A block of tiles passes through all
//! three steps while it is in the cache.
//!
//! Reading order: [`transform`] the maps, [`forward`], [`weight_gradient`]. The gradient of the input is [`forward`] over the gradient of
//! the output with the window turned.

pub(crate) mod forward;
mod transform;
pub(crate) mod weight_gradient;

use transform::{INPUT, OUTPUT, PRODUCTS};

/// Taps of the window.
const TAPS: usize = 9;

/// A batch of images under a 3×3 window of stride 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plane<'a> {
    /// `[batch, height, width, channels]`.
    pub source: &'a [f32],
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// Rows and columns of zeros before the first.
    pub before: (usize, usize),
    /// Rows and columns of the output.
    pub out: (usize, usize),
}

impl Plane<'_> {
    fn tiles_down(&self) -> usize {
        self.out.0.div_ceil(OUTPUT)
    }

    fn tiles_across(&self) -> usize {
        self.out.1.div_ceil(OUTPUT)
    }

    /// Number of tiles over all images.
    pub(crate) fn tiles(&self) -> usize {
        self.batch * self.tiles_down() * self.tiles_across()
    }

    /// The image and the first output row and column of a tile.
    fn tile(&self, index: usize) -> (usize, usize, usize) {
        let (down, across) = (self.tiles_down(), self.tiles_across());
        let image = index / (down * across);
        let rest = index % (down * across);
        (image, rest / across * OUTPUT, rest % across * OUTPUT)
    }

    /// Pointers to the 36 input pixels of a tile; `zeros` stands for the padding.
    fn input(&self, index: usize, zeros: &[f32]) -> [*const f32; PRODUCTS] {
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

/// Whether the 36 products of a tile with their maps beat the direct product, which skips the padding.
///
/// `direct` is the direct product's number of pixels times taps. Few channels leave the maps too much weight.
pub(crate) fn pays(direct: usize, tiles: usize, channels: usize, columns: usize) -> bool {
    const FEWEST_CHANNELS: usize = 16;
    channels >= FEWEST_CHANNELS && columns >= FEWEST_CHANNELS && 2 * direct > 3 * PRODUCTS * tiles
}
