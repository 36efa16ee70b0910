//! The gradient of the weight through the 36 products: their adjoint.
//!
//! Formula: `dw = Gᵀ (Σ_tiles V ∘ (A dy Aᵀ)) G`, for each pair of an input and an output channel.
//! Shapes: V `[36, tiles, channels]`, the mapped gradient `[36, tiles, out]`, their sum `[36, channels, out]`.

use std::marker::PhantomData;

use rayon::prelude::*;

use super::Plane;
use super::transform::{FromOutput, Gathered, OUTPUT, PRODUCTS, ToFactors, WeightFromFactors};
use crate::panel::panels;
use crate::share::{BETWEEN_ROWS, Shared, add_parts, filled};
use crate::simd::Level;
use crate::tile::{OuterTile, ROWS};

/// Upper bound on the values of all partial sums together.
const PARTIAL_VALUES: usize = 1 << 21;

/// Most parts of the tiles.
const PARTS: usize = 8;

/// Tiles per block where the blocks of a part follow each other.
const BLOCK: usize = 64;

/// `[9, channels, columns]` from the input's plane and the output's gradient `[batch, out rows, out columns, columns]`.
pub(crate) fn weight_gradient(level: Level, plane: Plane, dy: &[f32], columns: usize) -> Vec<f32> {
    let channels = plane.channels;
    let matrix = channels * columns;
    let length = PRODUCTS * matrix;
    let tiles = plane.tiles();
    let parts = (PARTIAL_VALUES / length).clamp(1, PARTS).min(tiles);
    let zeros = vec![0.0; channels.max(columns)];
    let (v_row, d_row) = (channels + BETWEEN_ROWS, columns + BETWEEN_ROWS);
    let sum_up = |part: usize, sums: Shared| {
        let own = part * tiles / parts..(part + 1) * tiles / parts;
        let blocks = own.len().div_ceil(BLOCK);
        for block in 0..blocks {
            let first = own.start + block * own.len() / blocks;
            let end = own.start + (block + 1) * own.len() / blocks;
            let count = end - first;
            crate::scratch::with(PRODUCTS * count * (v_row + d_row), |scratch| {
                let (v, d) = scratch.split_at_mut(PRODUCTS * count * v_row);
                let (v_all, d_all) = (Shared::new(v), Shared::new(d));
                (0..count).into_par_iter().for_each(|tile| {
                    level.run(Gathered::<ToFactors> {
                        from: &plane.input(first + tile, &zeros),
                        channels,
                        to: v_all.pointer().wrapping_add(tile * v_row),
                        plane: count * v_row,
                        map: PhantomData,
                    });
                    level.run(Gathered::<FromOutput> {
                        from: &output(plane, dy, columns, first + tile, &zeros),
                        channels: columns,
                        to: d_all.pointer().wrapping_add(tile * d_row),
                        plane: count * d_row,
                        map: PhantomData,
                    });
                });
                (0..PRODUCTS).into_par_iter().for_each(|product| {
                    let products = OuterProducts {
                        v: &v[product * count * v_row..][..count * v_row],
                        channels,
                        d: &d[product * count * d_row..][..count * d_row],
                        columns,
                        fresh: block == 0,
                    };
                    products.add_to(level, sums.pointer().wrapping_add(product * matrix));
                });
            });
        }
    };
    // SAFETY: the first block of each part writes all its products' sums.
    let mut sums = unsafe {
        filled(parts * length, |sums| {
            (0..parts).into_par_iter().for_each(|part| sum_up(part, sums.at(part * length)));
        })
    };
    add_parts(&mut sums, length);
    from_factors(level, &sums, matrix, columns)
}

/// Pointers to the 16 output pixels of a tile; `zeros` stands for those beyond the plane.
fn output(plane: Plane, dy: &[f32], columns: usize, index: usize, zeros: &[f32]) -> [*const f32; OUTPUT * OUTPUT] {
    let (image, top, left) = plane.tile(index);
    std::array::from_fn(|entry| {
        let (y, x) = (top + entry / OUTPUT, left + entry % OUTPUT);
        if y < plane.out.0 && x < plane.out.1 {
            let pixel = (image * plane.out.0 + y) * plane.out.1 + x;
            dy[pixel * columns..].as_ptr()
        } else {
            zeros.as_ptr()
        }
    })
}

/// One of the 36 products of a block of tiles; the rows lie [`BETWEEN_ROWS`] further apart than they are long.
struct OuterProducts<'a> {
    v: &'a [f32],
    channels: usize,
    d: &'a [f32],
    columns: usize,
    /// Whether this is the first block of its part.
    fresh: bool,
}

impl OuterProducts<'_> {
    /// `sums += vᵀ d`, or `sums = vᵀ d` in the first block.
    fn add_to(&self, level: Level, sums: *mut f32) {
        let Self { channels, columns, .. } = *self;
        let pairs: Vec<_> = rows(self.v, channels).zip(rows(self.d, columns)).collect();
        for panel in panels(level, columns) {
            for c in (0..channels).step_by(ROWS) {
                level.run(OuterTile {
                    pairs: &pairs,
                    origin: (c, panel.start),
                    rows: (channels - c).min(ROWS),
                    columns: panel.columns,
                    out: sums.wrapping_add(c * columns + panel.start),
                    fresh: self.fresh,
                    stride: columns,
                });
            }
        }
    }
}

/// Where the rows of `length` values begin.
fn rows(values: &[f32], length: usize) -> impl Iterator<Item = *const f32> {
    values.chunks_exact(length + BETWEEN_ROWS).map(<[f32]>::as_ptr)
}

/// `[36, channels, columns]` to `[9, channels, columns]`.
fn from_factors(level: Level, sums: &[f32], matrix: usize, columns: usize) -> Vec<f32> {
    // SAFETY: every row of each tap is written.
    unsafe {
        filled(9 * matrix, |out| {
            (0..matrix / columns).into_par_iter().for_each(|row| {
                let start = row * columns;
                let from: [*const f32; PRODUCTS] =
                    std::array::from_fn(|product| sums[product * matrix + start..].as_ptr());
                level.run(Gathered::<WeightFromFactors> {
                    from: &from,
                    channels: columns,
                    to: out.pointer().wrapping_add(start),
                    plane: matrix,
                    map: PhantomData,
                });
            });
        })
    }
}
