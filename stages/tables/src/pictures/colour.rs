//! Colour: jitter of brightness, contrast, saturation and hue, and greyscale.
//!
//! Formula: `blend(a, b, f) = clamp(f·a + (1 − f)·b, 0, 255)`, rounded down: brightness blends with 0, contrast with the
//! mean grey of the image, saturation with the grey of the pixel; grey is `0.2989 R + 0.587 G + 0.114 B`, rounded down. Hue
//! shifts the hue in HSV by a fraction of the colour circle.
//! Source: torchvision, `transforms/_functional_tensor.py`.

use super::square::Square;
use crate::views::Colour;

/// The 24 orders of brightness 0, contrast 1, saturation 2 and hue 3, in lexicographic order.
fn order(index: u8) -> [u8; 4] {
    let mut left = vec![0, 1, 2, 3];
    let mut index = usize::from(index) % 24;
    [6, 2, 1, 1].map(|below| {
        let next = left.remove(index / below);
        index %= below;
        next
    })
}

/// Applies the four factors in their order.
pub fn jitter(square: &mut Square<'_>, colour: &Colour) {
    for operation in order(colour.order) {
        match operation {
            0 if colour.brightness != 1.0 => each_value(square, |value| colour.brightness * value),
            1 if colour.contrast != 1.0 => {
                let shift = (1.0 - colour.contrast) * mean_grey(square);
                each_value(square, |value| colour.contrast * value + shift);
            }
            2 if colour.saturation != 1.0 => each_pixel(square, |pixel| {
                let shift = (1.0 - colour.saturation) * f32::from(grey_of(pixel));
                pixel.map(|value| to_byte(colour.saturation * f32::from(value) + shift))
            }),
            3 if colour.hue != 0.0 => each_pixel(square, |pixel| hue_shifted(pixel, colour.hue)),
            _ => {}
        }
    }
}

/// Converts to greyscale.
pub fn grey(square: &mut Square<'_>) {
    each_pixel(square, |pixel| [grey_of(pixel); 3]);
}

fn grey_of([red, green, blue]: [u8; 3]) -> u8 {
    (0.2989 * f32::from(red) + 0.587 * f32::from(green) + 0.114 * f32::from(blue)) as u8
}

fn mean_grey(square: &Square<'_>) -> f32 {
    let (pixels, _) = square.pixels.as_chunks::<3>();
    let sum: u64 = pixels.iter().map(|&pixel| u64::from(grey_of(pixel))).sum();
    (sum as f64 / pixels.len() as f64) as f32
}

/// Clamps to 0 … 255 and rounds down, as conversions with `as` do.
fn to_byte(value: f32) -> u8 {
    value as u8
}

fn each_value(square: &mut Square<'_>, change: impl Fn(f32) -> f32) {
    let table: [u8; 256] = std::array::from_fn(|value| to_byte(change(value as f32)));
    square.pixels.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
}

fn each_pixel(square: &mut Square<'_>, change: impl Fn([u8; 3]) -> [u8; 3]) {
    let (pixels, _) = square.pixels.as_chunks_mut::<3>();
    pixels.iter_mut().for_each(|pixel| *pixel = change(*pixel));
}

/// The pixel with its hue shifted by `turn` of the colour circle.
fn hue_shifted(pixel: [u8; 3], turn: f32) -> [u8; 3] {
    let [red, green, blue] = pixel.map(|value| f32::from(value) / 255.0);
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let spread = most - least;
    if spread == 0.0 {
        return pixel;
    }
    let saturation = spread / most;
    let [from_red, from_green, from_blue] = [red, green, blue].map(|value| (most - value) / spread);
    let hue = if red == most {
        from_blue - from_green
    } else if green == most {
        2.0 + from_red - from_blue
    } else {
        4.0 + from_green - from_red
    };
    // All values are between −1 and 2, where a comparison replaces `fract` and `rem_euclid`, which are library calls.
    let wrapped = |hue: f32| if hue >= 1.0 { hue - 1.0 } else { hue };
    let hue = wrapped(hue / 6.0 + 1.0) + turn;
    let hue = if hue < 0.0 { hue + 1.0 } else { wrapped(hue) } * 6.0;
    let sector = hue as u8;
    let within = hue - f32::from(sector);
    let low = (most * (1.0 - saturation)).clamp(0.0, 1.0);
    let falling = (most * (1.0 - saturation * within)).clamp(0.0, 1.0);
    let rising = (most * (1.0 - saturation * (1.0 - within))).clamp(0.0, 1.0);
    let shifted = match sector % 6 {
        0 => [most, rising, low],
        1 => [falling, most, low],
        2 => [low, most, rising],
        3 => [low, falling, most],
        4 => [rising, low, most],
        _ => [most, low, falling],
    };
    // As torchvision converts floats: the range 0 … 1 is divided into 256 equal parts.
    shifted.map(|value| to_byte(value * (256.0 - 1e-3)))
}
