//! Rendering a view: the augmentation that a row of the `views` table describes, applied to a picture.

use super::picture::Picture;
use super::square::Square;
use super::{aberration, blur, colour, jpeg, resize, rotate};
use crate::views::{Region, View};

/// Writes the view of `picture` that `view` describes to `pixels`, `[side, side, 3]`. The box of the cutout is filled with
/// `fill`.
///
/// # Panics
/// `pixels` are not `side × side × 3`, or the crop does not lie within the picture (see [`contains`]).
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
