//! The two register tiles that all matrix products are made of: [`ROWS`] rows by up to four vectors of columns.
//!
//! [`RowTiles`]: `y[r, o] = act(Σ_t Σ_c x_t[r][c] · w[t, c, o] + shift[o] + residual[r, o])`. The rows of x are given by pointers, and
//! every tap has the same offset from all of them, so a convolution needs no im2col. w is packed into panels ([`super::packing`]).
//!
//! [`OuterProductTile`]: `g[c, o] += Σ_p x_p[c] · y_p[o]` over pairs of pixels given by pointers: the gradient of a weight.
//!
//! Both keep their sums in registers over the whole inner dimension and add in its order, so a result does not depend on how
//! rows and columns were distributed over threads.

use super::epilogue::Epilogue;
use crate::simd::{Simd, Task};

/// Rows of a tile: with four vectors of columns, the sums take 24 of AVX-512's 32 registers.
pub(super) const ROWS: usize = 6;

/// Where one tap of a window reads its values and its weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tap {
    /// Offset of its values from each row's pointer.
    pub source: isize,
    /// Start of its weights in a panel, in panel rows.
    pub weights: usize,
}

/// The rows of one tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct TileRows {
    /// Start of each row's values, valid for `depth` values at every tap's offset.
    pub sources: [*const f32; ROWS],
    /// Offset from `out` at which the first column of each row is stored.
    pub targets: [usize; ROWS],
}

/// Tiles that share a panel of weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowTiles<'a> {
    /// The tiles.
    pub tiles: &'a [TileRows],
    /// Number of rows of all tiles; the surplus rows of the last tile are read but not stored.
    pub count: usize,
    /// The taps, in the order of summation.
    pub taps: &'a [Tap],
    /// Values per row and tap.
    pub depth: usize,
    /// The packed weights: rows of `columns`, padded with zeros to whole vectors.
    pub panel: *const f32,
    /// Columns to store.
    pub columns: usize,
    /// The output.
    pub out: *mut f32,
    /// Applied before storing. `shift` and `residual` begin at the column of `out`.
    pub epilogue: Epilogue,
}

impl Task for RowTiles<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            match self.columns.div_ceil(S::LANES) {
                1 => self.run_vectors::<S, 1>(),
                2 => self.run_vectors::<S, 2>(),
                3 => self.run_vectors::<S, 3>(),
                _ => self.run_vectors::<S, 4>(),
            }
        }
    }
}

impl RowTiles<'_> {
    #[inline(always)]
    unsafe fn run_vectors<S: Simd, const VECTORS: usize>(self) {
        let mut left = self.count;
        for rows in self.tiles {
            // SAFETY: the pointers are valid as the fields document.
            unsafe {
                let sums = self.sums::<S, VECTORS>(&rows.sources);
                if left >= ROWS && self.columns == VECTORS * S::LANES {
                    for (sums, &target) in sums.iter().zip(&rows.targets) {
                        for (j, &sum) in sums.iter().enumerate() {
                            self.epilogue.store::<S>(sum, self.out, target, j * S::LANES, S::LANES);
                        }
                    }
                } else {
                    for (sums, &target) in sums.iter().zip(&rows.targets).take(left) {
                        for (j, &sum) in sums.iter().enumerate() {
                            let at = j * S::LANES;
                            self.epilogue.store::<S>(sum, self.out, target, at, self.columns - at);
                        }
                    }
                }
            }
            left = left.saturating_sub(ROWS);
        }
    }

    #[inline(always)]
    unsafe fn sums<S: Simd, const VECTORS: usize>(&self, sources: &[*const f32; ROWS]) -> [[S::V; VECTORS]; ROWS] {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
            for tap in self.taps {
                let mut weights = self.panel.add(tap.weights * VECTORS * S::LANES);
                let mut rows = *sources;
                for row in &mut rows {
                    *row = row.offset(tap.source);
                }
                for c in 0..self.depth {
                    let mut w = [S::splat(0.0); VECTORS];
                    for (j, w) in w.iter_mut().enumerate() {
                        *w = S::load(weights.add(j * S::LANES));
                    }
                    for (sums, row) in sums.iter_mut().zip(&rows) {
                        let x = S::splat(*row.add(c));
                        for (sum, &w) in sums.iter_mut().zip(&w) {
                            *sum = S::mul_add(x, w, *sum);
                        }
                    }
                    weights = weights.add(VECTORS * S::LANES);
                }
            }
            sums
        }
    }
}

/// One tile of a sum of outer products over pairs of pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct OuterProductTile<'a> {
    /// Pairs of pixels: the input's and the output gradient's.
    pub pairs: &'a [(*const f32, *const f32)],
    /// Offsets of the tile's first row and first column from the pointers of each pair.
    pub origin: (usize, usize),
    /// Rows of the tile: values at each first pointer, at most [`ROWS`].
    pub rows: usize,
    /// Columns of the tile: values at each second pointer.
    pub columns: usize,
    /// Start of the tile's sums.
    pub out: *mut f32,
    /// Whether the sums replace what `out` holds rather than being added to it.
    pub overwrite: bool,
    /// Distance between two rows of `out`.
    pub stride: usize,
}

impl Task for OuterProductTile<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let whole = self.rows == ROWS && self.columns.is_multiple_of(S::LANES);
        // SAFETY: guaranteed by the caller.
        unsafe {
            match (self.columns.div_ceil(S::LANES), whole) {
                (1, true) => self.tile::<S, 1, true>(),
                (2, true) => self.tile::<S, 2, true>(),
                (3, true) => self.tile::<S, 3, true>(),
                (_, true) => self.tile::<S, 4, true>(),
                (1, false) => self.tile::<S, 1, false>(),
                (2, false) => self.tile::<S, 2, false>(),
                (3, false) => self.tile::<S, 3, false>(),
                (_, false) => self.tile::<S, 4, false>(),
            }
        }
    }
}

impl OuterProductTile<'_> {
    #[inline(always)]
    unsafe fn tile<S: Simd, const VECTORS: usize, const WHOLE: bool>(self) {
        // SAFETY: the pointers are valid as the fields document; surplus rows read the last one again.
        unsafe {
            let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
            let last = self.rows - 1;
            let tail = self.columns - (VECTORS - 1) * S::LANES;
            for &(x, y) in self.pairs {
                let (x, y) = (x.add(self.origin.0), y.add(self.origin.1));
                let mut columns = [S::splat(0.0); VECTORS];
                for (j, column) in columns.iter_mut().enumerate() {
                    *column = if WHOLE || j + 1 < VECTORS {
                        S::load(y.add(j * S::LANES))
                    } else {
                        S::load_up_to(y.add(j * S::LANES), tail)
                    };
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = S::splat(*x.add(if WHOLE { i } else { i.min(last) }));
                    for (sum, &column) in sums.iter_mut().zip(&columns) {
                        *sum = S::mul_add(x, column, *sum);
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate().take(self.rows) {
                let row = self.out.add(i * self.stride);
                for (j, &sum) in sums.iter().enumerate() {
                    let at = row.add(j * S::LANES);
                    let count = self.columns - j * S::LANES;
                    let sum = if self.overwrite { sum } else { S::add(S::load_up_to(at, count), sum) };
                    S::store_up_to(at, sum, count);
                }
            }
        }
    }
}
