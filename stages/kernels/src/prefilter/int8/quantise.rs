//! Quantisation of rows to 8-bit integers.

use crate::{distance, vectorise::vectorised};

/// Scale, norms and error of a quantised row.
pub(super) struct QuantisedRow {
    pub(super) scale: f32,
    pub(super) squared_norm: f32,
    pub(super) squared_approximate_norm: f32,
    pub(super) error: f32,
}

/// Quantises rows; owns the two intermediate rows.
pub(super) struct Quantiser {
    centred: Vec<f32>,
    approximate: Vec<f32>,
}

impl Quantiser {
    pub(super) fn new(dim: usize) -> Self {
        Self { centred: vec![0.0; dim], approximate: vec![0.0; dim] }
    }

    pub(super) fn quantise(&mut self, row: &[f32], centre: &[f32], integers: &mut [i8]) -> QuantisedRow {
        vectorised(
            #[inline(always)]
            || self.quantise_inline(row, centre, integers),
        )
    }

    #[inline(always)]
    fn quantise_inline(&mut self, row: &[f32], centre: &[f32], integers: &mut [i8]) -> QuantisedRow {
        for (centred, (value, centre)) in self.centred.iter_mut().zip(row.iter().zip(centre)) {
            *centred = value - centre;
        }
        let largest = largest(&self.centred);
        let scale = largest / 127.0;
        // A row at the centre, or so near that the reciprocal of its scale overflows, is approximated by the centre itself.
        let inverse = if scale > 1e-30 { 1.0 / scale } else { 0.0 };
        for ((approximate, integer), value) in self.approximate.iter_mut().zip(&mut *integers).zip(&self.centred) {
            // Adding and subtracting 1.5 · 2²³ rounds to the nearest integer on every instruction set.
            const ROUND: f32 = 12_582_912.0;
            let rounded = (value * inverse + ROUND) - ROUND;
            // SAFETY: |value · inverse| ≤ 127 up to rounding, so it is a small whole number.
            *integer = unsafe { rounded.to_int_unchecked::<i32>() } as i8;
            *approximate = rounded * scale;
        }
        let rounding = 1.0 + distance::rounding(row.len());
        let squared_norm = distance::squared_norm(&self.centred);
        QuantisedRow {
            scale,
            squared_norm,
            squared_approximate_norm: distance::squared_norm(&self.approximate),
            // Centring and scaling each round once, relative to the row.
            error: distance::squared(&self.centred, &self.approximate).sqrt() * rounding
                + squared_norm.sqrt() * 2.0 * f32::EPSILON,
        }
    }
}

/// The largest absolute value of finite numbers.
#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let mut largest = [0.0f32; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    let larger = |a: f32, b: f32| if a.abs() > b { a.abs() } else { b };
    for values in chunks {
        for (largest, &value) in largest.iter_mut().zip(values) {
            *largest = larger(value, *largest);
        }
    }
    rest.iter().chain(&largest).fold(0.0, |largest, &value| larger(value, largest))
}
