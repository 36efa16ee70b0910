//! Rotation about the centre with bilinear interpolation; pixels from outside the image are black.
//!
//! Formula: the output at p is the input at `c + R(α)·(p − c)`, α counter-clockwise, c the centre.
//! Source: torchvision's `rotate` on tensors with bilinear interpolation.

use super::square::{Square, rounded};

/// Rotates the image counter-clockwise by `degrees`.
pub fn about_centre(square: &mut Square<'_>, degrees: f32) {
    let source = square.pixels.to_vec();
    let (sin, cos) = degrees.to_radians().sin_cos();
    let centre = (square.side as f32 - 1.0) / 2.0;
    for (y, row) in square.pixels.chunks_exact_mut(square.side * 3).enumerate() {
        let (pixels, _) = row.as_chunks_mut::<3>();
        for (x, pixel) in pixels.iter_mut().enumerate() {
            let (right, down) = (x as f32 - centre, y as f32 - centre);
            let (from_x, from_y) = (cos * right - sin * down + centre, sin * right + cos * down + centre);
            *pixel = sampled(&source, square.side, from_x, from_y).map(rounded);
        }
    }
}

/// The integer and fractional part of a coordinate, rounded down. A conversion is used since `f32::floor` is a library call.
fn split(coordinate: f32) -> (i64, f32) {
    let truncated = coordinate as i32;
    let below = truncated - i32::from((truncated as f32) > coordinate);
    (below.into(), coordinate - below as f32)
}

/// The bilinearly interpolated value at a position; pixels outside are black.
fn sampled(source: &[u8], side: usize, x: f32, y: f32) -> [f32; 3] {
    let ((left, x), (top, y)) = (split(x), split(y));
    let mut sum = [0.0; 3];
    for (down, weight_y) in [(0, 1.0 - y), (1, y)] {
        for (right, weight_x) in [(0, 1.0 - x), (1, x)] {
            let (column, row) = (left + right, top + down);
            let inside = 0..side as i64;
            if inside.contains(&column) && inside.contains(&row) {
                let pixel = &source[(row as usize * side + column as usize) * 3..][..3];
                for (sum, &channel) in sum.iter_mut().zip(pixel) {
                    *sum += weight_x * weight_y * f32::from(channel);
                }
            }
        }
    }
    sum
}
