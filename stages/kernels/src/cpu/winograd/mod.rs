//! 3×3 convolutions of stride 1 by Winograd's minimal filtering: 36 products for 16 output pixels instead of 144.
//!
//! A tile of 6×6 input pixels and the 3×3 weights are each transformed to 36 factors; their products, summed over the channels, are
//! transformed to 4×4 output pixels. The sums over channels are 36 matrix products by [`super::microkernel`]. A block of tiles goes
//! through all three steps while it is in the cache.
//!
//! Reading order: [`transform`] (the linear maps), [`tiles`], [`forward`], [`weight_gradient`]. The gradient of the input is
//! [`forward`] over the gradient of the output with the window rotated.

pub(super) mod forward;
pub(super) mod tiles;
mod transform;
pub(super) mod weight_gradient;
