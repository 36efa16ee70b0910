//! The convolution through its 36 products.
//!
//! Formula: `y = act(Aᵀ (Σ_c U_c ∘ V_c) A + shift + residual)`, `V = Bᵀ x B`, `U = G w Gᵀ`.
//! Shapes: V `[36, tiles, channels]`, U `[36, channels, out]`, their product `[36, tiles, out]`.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::transform::{Gathered, OUTPUT, PRODUCTS, ToFactors, ToOutput, WeightToFactors, both};
use super::{INPUT, Plane, TAPS};
use crate::panel::{Packed, Panel};
use crate::share::Shared;
use crate::simd::{Level, Simd, Task, fence};
use crate::tile::{Epilogue, ROWS, RowTiles, Rows, SharedEpilogue, Tap};

/// Tiles that pass through all steps together; a multiple of [`ROWS`].
const BLOCK: usize = 8 * ROWS;

/// `U` `[36, channels, out]`, from the nine taps `[9, channels, out]`.
pub(crate) fn factors(level: Level, taps: &Packed, columns: usize) -> Packed {
    let depth = taps.inner() / TAPS;
    let fill = |panel: Panel, to: &mut [MaybeUninit<f32>]| {
        let from = taps.panel(panel);
        let plane = depth * panel.width;
        for start in (0..plane).step_by(panel.width) {
            let from: [*const f32; TAPS] = std::array::from_fn(|tap| from[tap * plane + start..].as_ptr());
            level.run(Gathered::<WeightToFactors> {
                from: &from,
                channels: panel.width,
                to: to[start..].as_mut_ptr().cast(),
                plane,
                map: PhantomData,
            });
        }
    };
    // SAFETY: each row of the taps gives its row in each of the products' planes.
    unsafe { Packed::new(level, PRODUCTS * depth, columns, fill) }
}

/// Writes `[batch, out rows, out columns, columns]` to `out`.
///
/// # Safety
/// `out` and, unless null, the epilogue's residual are valid for the whole output, its shift for `columns` values.
pub(crate) unsafe fn convolve(
    level: Level,
    plane: Plane,
    factors: &Packed,
    columns: usize,
    epilogue: Epilogue,
    out: Shared,
) {
    let zeros = vec![0.0; plane.channels];
    let tiles = plane.tiles();
    let epilogue = SharedEpilogue(epilogue);
    let blocks = tiles.div_ceil(BLOCK);
    (0..blocks).into_par_iter().for_each(|block| {
        let first = block * tiles / blocks;
        let count = (block + 1) * tiles / blocks - first;
        let (inputs, outputs) = (count * plane.channels, count * columns);
        crate::scratch::with(PRODUCTS * (inputs + outputs), |scratch| {
            let (v, m) = scratch.split_at_mut(PRODUCTS * inputs);
            for tile in 0..count {
                level.run(Gathered::<ToFactors> {
                    from: &plane.input(first + tile, &zeros),
                    channels: plane.channels,
                    to: v[tile * plane.channels..].as_mut_ptr(),
                    plane: inputs,
                    map: PhantomData,
                });
            }
            for product in 0..PRODUCTS {
                let v = &v[product * inputs..][..inputs];
                let m = &mut m[product * outputs..][..outputs];
                multiply(level, product, v, plane.channels, factors, m, columns);
            }
            for tile in 0..count {
                let (image, top, left) = plane.tile(first + tile);
                let pixel = (image * plane.out.0 + top) * plane.out.1 + left;
                level.run(StoreTile {
                    m: m[tile * columns..].as_ptr(),
                    plane: outputs,
                    columns,
                    rows: (plane.out.0 - top).min(OUTPUT),
                    pixels: (plane.out.1 - left).min(OUTPUT),
                    line: plane.out.1 * columns,
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
fn multiply(level: Level, product: usize, v: &[f32], channels: usize, factors: &Packed, m: &mut [f32], columns: usize) {
    let count = v.len() / channels;
    let rows = |first: usize| {
        let row = |r: usize| (first + r).min(count - 1);
        Rows {
            sources: std::array::from_fn(|r| v[row(r) * channels..].as_ptr()),
            targets: std::array::from_fn(|r| row(r) * columns),
        }
    };
    let tiles: Vec<Rows> = (0..count).step_by(ROWS).map(rows).collect();
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

/// Maps a tile's products to its output pixels and stores those inside the plane.
struct StoreTile {
    m: *const f32,
    plane: usize,
    columns: usize,
    rows: usize,
    pixels: usize,
    /// Distance of two rows of the output.
    line: usize,
    /// Where the tile's first pixel lies in `out`.
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
            // SAFETY: the planes hold the tile's products, and the stored pixels lie inside the output.
            unsafe {
                let mut square = [[S::splat(0.0); INPUT]; INPUT];
                for (entry, value) in square.as_flattened_mut().iter_mut().enumerate() {
                    *value = S::load_up_to(self.m.add(entry * self.plane + c), count);
                }
                let result = both::<S, ToOutput, INPUT, OUTPUT>(square);
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
