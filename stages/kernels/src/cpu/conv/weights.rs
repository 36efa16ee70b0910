//! Conversion between torchvision's weight layout `[out, channels, taps]` and the kernels' `[taps, channels, out]`.
//!
//! The scale of a frozen batch normalisation is applied here. It is folded into the weight for the kernels; afterwards the raw
//! gradient `g = Σ x ⊗ dz` becomes that of the weight, `dw[o] = s[o] · g[o]`, and that of the scale, `ds[o] = ⟨w[o], g[o]⟩`.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::cpu::packing::{PackedMatrix, Panel};
use crate::simd::Level;

/// Channels whose cache lines stay cached while the other axis is traversed.
const BLOCK: usize = 16;

/// Filters `[columns, depth, taps]` of one group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filters<'a> {
    pub values: &'a [f32],
    pub taps: usize,
    pub depth: usize,
    pub columns: usize,
    /// One factor per column.
    pub scale: Option<&'a [f32]>,
}

impl Filters<'_> {
    /// Number of values in the filter of one column.
    fn filter(&self) -> usize {
        self.depth * self.taps
    }

    fn scale(&self, column: usize) -> f32 {
        self.scale.map_or(1.0, |scale| scale[column])
    }

    /// `[tap, channel, column]`, the layout of the forward product.
    pub(super) fn pack_forward(&self, level: Level) -> PackedMatrix {
        // SAFETY: `fill_forward` writes every column for every tap and channel.
        unsafe { PackedMatrix::new(level, self.filter(), self.columns, |panel, part| self.fill_forward(panel, part)) }
    }

    fn fill_forward(&self, panel: Panel, part: &mut [MaybeUninit<f32>]) {
        for first in (0..self.depth).step_by(BLOCK) {
            let count = (self.depth - first).min(BLOCK);
            for o in 0..panel.columns {
                let column = panel.start + o;
                let scale = self.scale(column);
                let from = &self.values[column * self.filter() + first * self.taps..][..count * self.taps];
                for tap in 0..self.taps {
                    let rows = &mut part[(tap * self.depth + first) * panel.width..][..count * panel.width];
                    for (row, from) in rows.chunks_exact_mut(panel.width).zip(from.chunks_exact(self.taps)) {
                        row[o].write(from[tap] * scale);
                    }
                }
            }
        }
    }

    /// `[tap, column, channel]`, the layout of the product for the input's gradient; `rotated` reverses the taps, which rotates the
    /// window by 180°.
    pub(super) fn pack_backward(&self, level: Level, rotated: bool) -> PackedMatrix {
        let fill = |panel: Panel, part: &mut [MaybeUninit<f32>]| {
            for (column, filter) in self.values.chunks_exact(self.filter()).take(self.columns).enumerate() {
                let scale = self.scale(column);
                let from = &filter[panel.start * self.taps..][..panel.columns * self.taps];
                for tap in 0..self.taps {
                    let to = if rotated { self.taps - 1 - tap } else { tap };
                    let row = &mut part[(to * self.columns + column) * panel.width..][..panel.columns];
                    if self.taps == 1 {
                        for (to, value) in row.iter_mut().zip(from) {
                            to.write(value * scale);
                        }
                    } else {
                        for (to, from) in row.iter_mut().zip(from.chunks_exact(self.taps)) {
                            to.write(from[tap] * scale);
                        }
                    }
                }
            }
        };
        // SAFETY: `fill` writes every channel for every tap and column.
        unsafe { PackedMatrix::new(level, self.columns * self.taps, self.depth, fill) }
    }

    /// Writes the gradient of the weight `[columns, depth, taps]` to all of `weight` and returns the gradient of the scale, given
    /// `sums` `[taps, depth, columns]`.
    pub(super) fn gradients(&self, sums: &[f32], weight: &mut [MaybeUninit<f32>]) -> Vec<f32> {
        let filter = self.filter();
        weight
            .par_chunks_mut(BLOCK * filter)
            .enumerate()
            .flat_map_iter(|(block, weight)| {
                let first = block * BLOCK;
                self.unpack(sums, first, weight);
                // SAFETY: `unpack` wrote every value.
                let weight = unsafe { weight.assume_init_mut() };
                weight.chunks_exact_mut(filter).enumerate().map(move |(o, gradient)| {
                    let column = first + o;
                    let product = dot(&self.values[column * filter..][..filter], gradient);
                    if let Some(scale) = self.scale {
                        gradient.iter_mut().for_each(|value| *value *= scale[column]);
                    }
                    product
                })
            })
            .collect()
    }

    /// Writes the filters from column `first` on, taken from `sums`.
    fn unpack(&self, sums: &[f32], first: usize, filters: &mut [MaybeUninit<f32>]) {
        for start in (0..self.depth).step_by(BLOCK) {
            for tap in 0..self.taps {
                for c in start..(start + BLOCK).min(self.depth) {
                    let from = &sums[(tap * self.depth + c) * self.columns + first..];
                    let at = c * self.taps + tap;
                    for (filter, &value) in filters.chunks_exact_mut(self.filter()).zip(from) {
                        filter[at].write(value);
                    }
                }
            }
        }
    }
}

/// The inner product in sixteen partial sums, whose order of additions a vector unit can keep.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let remainder: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + remainder
}
