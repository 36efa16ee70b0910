//! Gaussian blur: a separable convolution with reflected borders.
//!
//! Formula: weights `exp(−x² / 2σ²)` for |x| ≤ radius, normalised to sum 1.
//! Source: torchvision's `GaussianBlur`. Deviation: the radius is ⌈3σ⌉ instead of a parameter; beyond it the weights
//! amount to less than a grey level.

use super::square::{Square, rounded};

/// Blurs with standard deviation `sigma`, in pixels.
pub fn gaussian(square: &mut Square<'_>, sigma: f32) {
    let weights = weights(sigma, square.side);
    let (side, row) = (square.side, square.side * 3);
    let mut across = vec![0.0_f32; square.pixels.len()];
    for y in 0..side {
        for x in 0..side {
            let sum = convolved(&weights, x, side, |x| &square.pixels[y * row + x * 3..][..3], f32::from);
            across[y * row + x * 3..][..3].copy_from_slice(&sum);
        }
    }
    for y in 0..side {
        for x in 0..side {
            let sum = convolved(&weights, y, side, |y| &across[y * row + x * 3..][..3], |value| value);
            square.pixels[y * row + x * 3..][..3].copy_from_slice(&sum.map(rounded));
        }
    }
}

/// The weights from −radius to radius.
fn weights(sigma: f32, side: usize) -> Vec<f32> {
    // A reflected border cannot be wider than the image without its edge.
    let radius = ((3.0 * sigma).ceil() as i32).clamp(0, side as i32 - 1);
    let weight = |x: i32| (-0.5 * (x as f32 / sigma).powi(2)).exp();
    let sum: f32 = (-radius..=radius).map(weight).sum();
    (-radius..=radius).map(|x| weight(x) / sum).collect()
}

fn convolved<'a, T: Copy + 'a>(
    weights: &[f32],
    centre: usize,
    side: usize,
    pixel: impl Fn(usize) -> &'a [T],
    value: impl Fn(T) -> f32,
) -> [f32; 3] {
    let radius = (weights.len() / 2) as i32;
    let mut sum = [0.0; 3];
    for (weight, offset) in weights.iter().zip(-radius..) {
        let pixel = pixel(reflected(centre as i32 + offset, side as i32));
        for (sum, &channel) in sum.iter_mut().zip(pixel) {
            *sum += weight * value(channel);
        }
    }
    sum
}

/// Reflects a position beyond the border into `0 … side`, without repeating the edge.
fn reflected(position: i32, side: i32) -> usize {
    let position = position.abs();
    (if position < side { position } else { 2 * (side - 1) - position }) as usize
}
