//! Chromatic aberration: a lens that magnifies red and blue differently.
//!
//! Formula: the red channel is scaled about the centre by `1 + s`, the blue one by `1 − s`, with bilinear interpolation; green
//! stays. Beyond the border, the pixels of the border are repeated.

use super::square::{Square, rounded};

/// Scales red by `1 + strength` and blue by `1 − strength` about the centre.
pub fn chromatic(square: &mut Square<'_>, strength: f32) {
    let source = square.pixels.to_vec();
    for (channel, scale) in [(0, 1.0 + strength), (2, 1.0 - strength)] {
        let samples = samples(square.side, scale);
        for (y, row) in square.pixels.chunks_exact_mut(square.side * 3).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                let value = |y: usize, x: usize| f32::from(source[(y * square.side + x) * 3 + channel]);
                let ([left, right], across) = samples[x];
                let ([top, bottom], down) = samples[y];
                let upper = value(top, left) + across * (value(top, right) - value(top, left));
                let lower = value(bottom, left) + across * (value(bottom, right) - value(bottom, left));
                pixel[channel] = rounded(upper + down * (lower - upper));
            }
        }
    }
}

/// For each position along an axis, the two source positions that it lies between, and the weight of the second.
fn samples(side: usize, scale: f32) -> Vec<([usize; 2], f32)> {
    let centre = (side as f32 - 1.0) / 2.0;
    let sample = |to: usize| {
        let from = ((to as f32 - centre) / scale + centre).clamp(0.0, side as f32 - 1.0);
        let first = from.floor();
        ([first as usize, (first as usize + 1).min(side - 1)], from - first)
    };
    (0..side).map(sample).collect()
}
