//! The convolution by 36 matrix products.
//!
//! Formula: `y = act(Aᵀ (Σ_c U_c ∘ V_c) A + shift + residual)`, `V = Bᵀ x B`, `U = G w Gᵀ`.
//! Shapes: V `[36, tiles, channels]`, U `[36, channels, out]`, their product `[36, tiles, out]`.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::tiles::TiledImages;
use super::transform::{
    INPUT, OUTPUT, PRODUCTS, SquareTransform, TAPS, ToFactors, ToOutput, WeightToFactors, transform_square,
};
use crate::cpu::disjoint::SharedMut;
use crate::cpu::epilogue::{Epilogue, SharedEpilogue};
use crate::cpu::microkernel::{ROWS, RowTiles, Tap, TileRows};
use crate::cpu::packing::{PackedMatrix, Panel};
use crate::cpu::scratch;
use crate::simd::{Level, Simd, Task, fence};

/// Tiles that go through all steps together; a multiple of [`ROWS`].
const BLOCK: usize = 8 * ROWS;

/// `U` `[36, channels, out]`, from the nine taps `[9, channels, out]`.
pub(in crate::cpu) fn factors(level: Level, taps: &PackedMatrix, columns: usize) -> PackedMatrix {
    let depth = taps.inner() / TAPS;
    let fill = |panel: Panel, to: &mut [MaybeUninit<f32>]| {
        let from = taps.panel(panel);
        let entry_stride = depth * panel.width;
        for start in (0..entry_stride).step_by(panel.width) {
            let from: [*const f32; TAPS] = std::array::from_fn(|tap| from[tap * entry_stride + start..].as_ptr());
            level.run(SquareTransform::<WeightToFactors> {
                from: &from,
                channels: panel.width,
                to: to[start..].as_mut_ptr().cast(),
                entry_stride,
                transform: PhantomData,
            });
        }
    };
    // SAFETY: each row of the taps is transformed to its row in each of the 36 matrices.
    unsafe { PackedMatrix::new(level, PRODUCTS * depth, columns, fill) }
}

/// Writes `[batch, out rows, out columns, columns]` to `out`.
///
/// # Safety
/// `out` and, unless null, the epilogue's residual are valid for the whole output, its shift for `columns` values.
pub(in crate::cpu) unsafe fn convolve(
    level: Level,
    images: TiledImages,
    factors: &PackedMatrix,
    columns: usize,
    epilogue: Epilogue,
    out: SharedMut,
) {
    let zeros = vec![0.0; images.channels];
    let tiles = images.tiles();
    let epilogue = SharedEpilogue(epilogue);
    let blocks = tiles.div_ceil(BLOCK);
    (0..blocks).into_par_iter().for_each(|block| {
        let first = block * tiles / blocks;
        let count = (block + 1) * tiles / blocks - first;
        let (inputs, outputs) = (count * images.channels, count * columns);
        scratch::with(PRODUCTS * (inputs + outputs), |scratch| {
            let (v, m) = scratch.split_at_mut(PRODUCTS * inputs);
            for tile in 0..count {
                level.run(SquareTransform::<ToFactors> {
                    from: &images.input(first + tile, &zeros),
                    channels: images.channels,
                    to: v[tile * images.channels..].as_mut_ptr(),
                    entry_stride: inputs,
                    transform: PhantomData,
                });
            }
            for product in 0..PRODUCTS {
                let v = &v[product * inputs..][..inputs];
                let m = &mut m[product * outputs..][..outputs];
                multiply(level, product, v, images.channels, factors, m, columns);
            }
            for tile in 0..count {
                let (image, top, left) = images.tile(first + tile);
                let pixel = (image * images.out.0 + top) * images.out.1 + left;
                level.run(StoreTile {
                    m: m[tile * columns..].as_ptr(),
                    entry_stride: outputs,
                    columns,
                    rows: (images.out.0 - top).min(OUTPUT),
                    pixels: (images.out.1 - left).min(OUTPUT),
                    line: images.out.1 * columns,
                    offset: pixel * columns,
                    out: out.pointer(),
                    epilogue: epilogue.get(),
                });
            }
        });
        fence();
    });
}

/// One of the 36 products of a block: `[tiles, channels] × [channels, columns]`.
fn multiply(
    level: Level,
    product: usize,
    v: &[f32],
    channels: usize,
    factors: &PackedMatrix,
    m: &mut [f32],
    columns: usize,
) {
    let count = v.len() / channels;
    let rows = |first: usize| {
        let row = |r: usize| (first + r).min(count - 1);
        TileRows {
            sources: std::array::from_fn(|r| v[row(r) * channels..].as_ptr()),
            targets: std::array::from_fn(|r| row(r) * columns),
        }
    };
    let tiles: Vec<TileRows> = (0..count).step_by(ROWS).map(rows).collect();
    for (panel, values) in factors.panels() {
        level.run(RowTiles {
            tiles: &tiles,
            count,
            taps: &[Tap { source: 0, weights: product * channels }],
            depth: channels,
            panel: values.as_ptr(),
            columns: panel.columns,
            out: m[panel.start..].as_mut_ptr(),
            epilogue: Epilogue::NONE,
        });
    }
}

/// Transforms a tile's products to its output pixels and stores those inside the image.
struct StoreTile {
    m: *const f32,
    /// Distance between two of the tile's 36 products.
    entry_stride: usize,
    columns: usize,
    rows: usize,
    pixels: usize,
    /// Distance between two rows of the output.
    line: usize,
    /// Offset of the tile's first pixel in `out`.
    offset: usize,
    out: *mut f32,
    epilogue: Epilogue,
}

impl Task for StoreTile {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut c = 0;
        while c < self.columns {
            let count = self.columns - c;
            // SAFETY: the tile's products are valid for all columns, and the stored pixels lie inside the output.
            unsafe {
                let mut square = [[S::splat(0.0); INPUT]; INPUT];
                for (entry, value) in square.as_flattened_mut().iter_mut().enumerate() {
                    *value = S::load_up_to(self.m.add(entry * self.entry_stride + c), count);
                }
                let result = transform_square::<S, ToOutput, INPUT, OUTPUT>(square);
                for (y, row) in result.iter().enumerate().take(self.rows) {
                    for (x, &value) in row.iter().enumerate().take(self.pixels) {
                        let offset = self.offset + y * self.line + x * self.columns;
                        self.epilogue.store::<S>(value, self.out, offset, c, count);
                    }
                }
            }
            c += S::LANES;
        }
    }
}
