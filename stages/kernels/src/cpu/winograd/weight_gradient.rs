//! The gradient of the weight by 36 matrix products: the adjoint of the convolution.
//!
//! Formula: `dw = Gᵀ (Σ_tiles V ∘ (A dy Aᵀ)) G`, for each pair of an input and an output channel.
//! Shapes: V `[36, tiles, channels]`, the transformed gradient `[36, tiles, out]`, their sum `[36, channels, out]`.

use std::marker::PhantomData;

use rayon::prelude::*;

use super::tiles::TiledImages;
use super::transform::{FromOutput, OUTPUT, PRODUCTS, SquareTransform, TAPS, ToFactors, WeightFromFactors};
use crate::cpu::disjoint::{SharedMut, written_by};
use crate::cpu::microkernel::{OuterProductTile, ROWS};
use crate::cpu::packing::panels;
use crate::cpu::scratch::{self, ROW_GAP};
use crate::cpu::sums::{part_count, sum_parts};
use crate::simd::Level;

/// Tiles per block; the blocks of a part run one after the other.
const BLOCK: usize = 64;

/// `[9, channels, columns]` from the input images and the output's gradient `[batch, out rows, out columns, columns]`.
pub(in crate::cpu) fn weight_gradient(level: Level, images: TiledImages, dy: &[f32], columns: usize) -> Vec<f32> {
    let channels = images.channels;
    let matrix = channels * columns;
    let length = PRODUCTS * matrix;
    let tiles = images.tiles();
    let parts = part_count(length, tiles);
    let zeros = vec![0.0; channels.max(columns)];
    let (v_row, d_row) = (channels + ROW_GAP, columns + ROW_GAP);
    let sum_part = |part: usize, sums: SharedMut| {
        let own = part * tiles / parts..(part + 1) * tiles / parts;
        let blocks = own.len().div_ceil(BLOCK);
        for block in 0..blocks {
            let first = own.start + block * own.len() / blocks;
            let end = own.start + (block + 1) * own.len() / blocks;
            let count = end - first;
            scratch::with(PRODUCTS * count * (v_row + d_row), |scratch| {
                let (v, d) = scratch.split_at_mut(PRODUCTS * count * v_row);
                let (v_all, d_all) = (SharedMut::new(v), SharedMut::new(d));
                (0..count).into_par_iter().for_each(|tile| {
                    level.run(SquareTransform::<ToFactors> {
                        from: &images.input(first + tile, &zeros),
                        channels,
                        to: v_all.pointer().wrapping_add(tile * v_row),
                        entry_stride: count * v_row,
                        transform: PhantomData,
                    });
                    level.run(SquareTransform::<FromOutput> {
                        from: &output(images, dy, columns, first + tile, &zeros),
                        channels: columns,
                        to: d_all.pointer().wrapping_add(tile * d_row),
                        entry_stride: count * d_row,
                        transform: PhantomData,
                    });
                });
                (0..PRODUCTS).into_par_iter().for_each(|product| {
                    let products = OuterProducts {
                        v: &v[product * count * v_row..][..count * v_row],
                        channels,
                        d: &d[product * count * d_row..][..count * d_row],
                        columns,
                        overwrite: block == 0,
                    };
                    products.add_to(level, sums.pointer().wrapping_add(product * matrix));
                });
            });
        }
    };
    // SAFETY: the first block of each part writes all its products' sums.
    let mut sums = unsafe {
        written_by(parts * length, |sums| {
            (0..parts).into_par_iter().for_each(|part| sum_part(part, sums.offset_by(part * length)));
        })
    };
    sum_parts(&mut sums, length);
    from_factors(level, &sums, matrix, columns)
}

/// Pointers to the 16 output pixels of a tile; `zeros` stands for those outside the image.
fn output(
    images: TiledImages,
    dy: &[f32],
    columns: usize,
    index: usize,
    zeros: &[f32],
) -> [*const f32; OUTPUT * OUTPUT] {
    let (image, top, left) = images.tile(index);
    std::array::from_fn(|entry| {
        let (y, x) = (top + entry / OUTPUT, left + entry % OUTPUT);
        if y < images.out.0 && x < images.out.1 {
            let pixel = (image * images.out.0 + y) * images.out.1 + x;
            dy[pixel * columns..].as_ptr()
        } else {
            zeros.as_ptr()
        }
    })
}

/// One of the 36 products of a block of tiles; there is a gap of [`ROW_GAP`] between rows.
struct OuterProducts<'a> {
    v: &'a [f32],
    channels: usize,
    d: &'a [f32],
    columns: usize,
    /// Whether the sums are replaced: true in the first block of a part.
    overwrite: bool,
}

impl OuterProducts<'_> {
    /// `sums += vᵀ d`, or `sums = vᵀ d` if they are replaced.
    fn add_to(&self, level: Level, sums: *mut f32) {
        let Self { channels, columns, .. } = *self;
        let pairs: Vec<_> = rows(self.v, channels).zip(rows(self.d, columns)).collect();
        for panel in panels(level, columns) {
            for c in (0..channels).step_by(ROWS) {
                level.run(OuterProductTile {
                    pairs: &pairs,
                    origin: (c, panel.start),
                    rows: (channels - c).min(ROWS),
                    columns: panel.columns,
                    out: sums.wrapping_add(c * columns + panel.start),
                    overwrite: self.overwrite,
                    stride: columns,
                });
            }
        }
    }
}

/// Pointers to the rows of `length` values.
fn rows(values: &[f32], length: usize) -> impl Iterator<Item = *const f32> {
    values.chunks_exact(length + ROW_GAP).map(<[f32]>::as_ptr)
}

/// `[36, channels, columns]` to `[9, channels, columns]`.
fn from_factors(level: Level, sums: &[f32], matrix: usize, columns: usize) -> Vec<f32> {
    // SAFETY: every row of each tap is written.
    unsafe {
        written_by(TAPS * matrix, |out| {
            (0..matrix / columns).into_par_iter().for_each(|row| {
                let start = row * columns;
                let from: [*const f32; PRODUCTS] =
                    std::array::from_fn(|product| sums[product * matrix + start..].as_ptr());
                level.run(SquareTransform::<WeightFromFactors> {
                    from: &from,
                    channels: columns,
                    to: out.pointer().wrapping_add(start),
                    entry_stride: matrix,
                    transform: PhantomData,
                });
            });
        })
    }
}
