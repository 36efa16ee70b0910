//! Views of an image: what the plan of the `views` table means in pixels.
//!
//! Read [`apply`] first, then [`resize`] and one of the operations. All work on RGB bytes, one image on one thread, so that
//! who loads a batch runs them side by side. Definitions are torchvision's (of its tensors, where those differ from
//! Pillow's images), so that a pipeline that moves here sees the same pictures.

mod aberration;
mod blur;
mod colour;
mod jpeg;
pub mod nuisance;
pub mod resize;
mod rotate;
#[cfg(test)]
mod tests;

use crate::tables::images::Picture;
use crate::tables::views::{Region, View};

/// An image of `side` × `side` pixels in memory, `[side, side, 3]`.
pub(crate) struct Square<'a> {
    pub(crate) side: usize,
    pub(crate) pixels: &'a mut [u8],
}

/// Writes the view of `picture` that `view` draws, `[side, side, 3]`, to `pixels`. What is cut out becomes `fill`.
///
/// # Panics
/// `pixels` are not `side × side × 3`, or the crop does not lie within the picture ([`contains`] tells).
pub fn apply(picture: Picture<'_>, view: &View, fill: [u8; 3], side: usize, pixels: &mut [u8]) {
    resize::crop_resized(picture, view.crop, side, pixels);
    let mut square = Square { side, pixels };
    if view.flip {
        flip(&mut square);
    }
    if let Some(jitter) = &view.colour {
        colour::jitter(&mut square, jitter);
    }
    if view.grey {
        colour::grey(&mut square);
    }
    if let Some(sigma) = view.blur {
        blur::gaussian(&mut square, sigma);
    }
    if let Some(degrees) = view.rotation {
        rotate::about_centre(&mut square, degrees);
    }
    if let Some(erased) = &view.cutout {
        cut_out(&mut square, erased, fill);
    }
    if let Some(quality) = view.jpeg {
        jpeg::artefacts(&mut square, quality);
    }
    if let Some(strength) = view.aberration {
        aberration::chromatic(&mut square, strength);
    }
}

/// Whether the crop of a view is a box within the picture.
pub fn contains(picture: Picture<'_>, crop: &Region) -> bool {
    let within =
        |start: u16, length: u16, whole: usize| length > 0 && usize::from(start) + usize::from(length) <= whole;
    within(crop.top, crop.height, picture.height) && within(crop.left, crop.width, picture.width)
}

/// Rounded half to even. Where the instruction set has no rounding, `f32::round_ties_even` is a call of the C library for
/// each value; adding a number beside which floats have no fractions rounds in the same way.
fn rounded(value: f32) -> u8 {
    const NO_FRACTIONS: f32 = 12_582_912.0; // 1.5 · 2²³
    ((value + NO_FRACTIONS) - NO_FRACTIONS) as u8
}

fn flip(square: &mut Square<'_>) {
    for row in square.pixels.chunks_exact_mut(square.side * 3) {
        let (pixels, _) = row.as_chunks_mut::<3>();
        pixels.reverse();
    }
}

fn cut_out(square: &mut Square<'_>, erased: &[f32; 4], fill: [u8; 3]) {
    let side = square.side as f32;
    let [top, left, height, width] = erased.map(|share| (share * side).round() as usize);
    for row in square.pixels.chunks_exact_mut(square.side * 3).skip(top).take(height) {
        let (pixels, _) = row.as_chunks_mut::<3>();
        pixels.iter_mut().skip(left).take(width).for_each(|pixel| *pixel = fill);
    }
}
