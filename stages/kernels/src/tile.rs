//! The two register tiles that all products are made of: [`ROWS`] rows by up to four vectors of columns.
//!
//! [`RowTiles`]: `y[r, o] = act(Σ_t Σ_c x_t[r][c] · w[t, c, o] + shift[o] + residual[r, o])`; the rows of x lie wherever their
//! pointers say, and all taps at the same distances from them, so a convolution needs no im2col. w is packed into panels
//! ([`crate::panel`]).
//!
//! [`OuterTile`]: `g[c, o] += Σ_p x_p[c] · y_p[o]` over pairs of pixels: the gradient of a weight, again wherever these lie.
//!
//! Both keep their sums in registers over the whole inner dimension and add in its order, so a result does not
//! depend on how the rows and columns were shared out among threads.

use crate::affine::Activation;
use crate::simd::{Simd, Task};

/// Rows of a tile: with four vectors of columns, 24 sums of AVX-512's 32 registers.
pub(crate) const ROWS: usize = 6;

/// Values of a cache line.
const LINE: usize = 16;

/// Upper bound of ReLU6.
pub(crate) const RELU6_CEILING: f32 = 6.0;

/// What happens to the sums before they are stored; null pointers leave a step out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epilogue {
    /// Added per column, `[columns]`.
    pub shift: *const f32,
    /// Added per value, laid out as the output.
    pub residual: *const f32,
    /// Applied last.
    pub activation: Activation,
    /// Whether whole vectors are stored past the cache, which wants them aligned and a [`crate::simd::fence`] behind the last.
    pub past_cache: bool,
}

/// Bytes from which on an output is stored past the cache: it would not be there any more when it is read, and a line that is stored
/// whole need not be fetched first.
const PAST_CACHE: usize = 24 << 20;

impl Epilogue {
    /// Stores the sums as they are.
    pub(crate) const NONE: Self =
        Self { shift: std::ptr::null(), residual: std::ptr::null(), activation: Activation::None, past_cache: false };

    /// The same for an output of `length` values that is written in rows of `columns`, past the cache where that is of use.
    pub(crate) fn for_output(self, out: *const f32, length: usize, columns: usize) -> Self {
        let aligned = out.addr().is_multiple_of(LINE * size_of::<f32>()) && columns.is_multiple_of(LINE);
        Self { past_cache: aligned && self.residual != out && length * size_of::<f32>() >= PAST_CACHE, ..self }
    }

    /// The same, beginning at another column.
    pub(crate) fn at_column(self, column: usize) -> Self {
        let at = |pointer: *const f32| if pointer.is_null() { pointer } else { pointer.wrapping_add(column) };
        Self { shift: at(self.shift), residual: at(self.residual), ..self }
    }
}

/// An epilogue that tasks on several threads apply to their own parts of the output.
#[derive(Clone, Copy)]
pub(crate) struct SharedEpilogue(pub(crate) Epilogue);

// SAFETY: the epilogue's pointers are read alone, but for a residual that is the output itself, of which each task touches its own part.
unsafe impl Send for SharedEpilogue {}
// SAFETY: as above.
unsafe impl Sync for SharedEpilogue {}

impl SharedEpilogue {
    /// The epilogue. (A method, so that closures capture the wrapper.)
    pub(crate) fn get(self) -> Epilogue {
        self.0
    }
}

/// What one tap of a window reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tap {
    /// Where its values lie, counted from each row's pointer.
    pub source: isize,
    /// Where its weights begin in a panel, in units of one panel row.
    pub weights: usize,
}

/// The rows of one tile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    /// Where each row's values begin. With every tap's offset they are valid for `depth` values.
    pub sources: [*const f32; ROWS],
    /// Where the first column of each row is stored, counted from `out`.
    pub targets: [usize; ROWS],
}

/// Tiles that share a panel of weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowTiles<'a> {
    /// The tiles.
    pub tiles: &'a [Rows],
    /// Number of rows of all tiles; those that the last tile has beyond are read but not stored.
    pub count: usize,
    /// The taps, in the order in which they are added up.
    pub taps: &'a [Tap],
    /// Values per row and tap.
    pub depth: usize,
    /// The packed weights, rows of `columns` filled up with zeros to whole vectors.
    pub panel: *const f32,
    /// Columns to store.
    pub columns: usize,
    /// The output.
    pub out: *mut f32,
    /// What is applied before storing. `shift` and `residual` begin where `out` does.
    pub epilogue: Epilogue,
}

impl Task for RowTiles<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's.
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
        // SAFETY: the caller's.
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

impl Epilogue {
    /// Applies the steps to `count` values (at most a vector) of columns `at…` and stores them.
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd>(self, mut value: S::V, out: *mut f32, offset: usize, at: usize, count: usize) {
        // SAFETY: the caller vouches for `count` values behind each pointer that is not null.
        unsafe {
            if !self.shift.is_null() {
                value = S::add(value, S::load_up_to(self.shift.add(at), count));
            }
            if !self.residual.is_null() {
                let residual = S::load_up_to(self.residual.add(offset).add(at), count);
                value = S::add(value, residual);
            }
            value = self.activation.apply::<S>(value);
            let to = out.add(offset).add(at);
            if self.past_cache { S::stream(to, value) } else { S::store_up_to(to, value, count) }
        }
    }
}

impl Activation {
    /// The activation of a vector. The bound comes first, so that a NaN stays one.
    #[inline(always)]
    pub(crate) unsafe fn apply<S: Simd>(self, value: S::V) -> S::V {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Self::None => value,
                Self::Relu => S::max(S::splat(0.0), value),
                Self::Relu6 => S::min(S::splat(RELU6_CEILING), S::max(S::splat(0.0), value)),
            }
        }
    }
}

/// One tile of a sum of outer products over pairs of pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OuterTile<'a> {
    /// Pairs of pixels: the input's and the output gradient's.
    pub pairs: &'a [(*const f32, *const f32)],
    /// Where the tile's first row and first column lie behind the pointers of each pair.
    pub origin: (usize, usize),
    /// Rows of the tile: values behind each first pointer, at most [`ROWS`].
    pub rows: usize,
    /// Columns of the tile: values behind each second pointer.
    pub columns: usize,
    /// Where the sums are added, or stored if nothing was before.
    pub out: *mut f32,
    /// Whether `out` holds nothing yet.
    pub fresh: bool,
    /// Distance of two rows of `out`.
    pub stride: usize,
}

impl Task for OuterTile<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let whole = self.rows == ROWS && self.columns.is_multiple_of(S::LANES);
        // SAFETY: the caller's.
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

impl OuterTile<'_> {
    #[inline(always)]
    unsafe fn tile<S: Simd, const VECTORS: usize, const WHOLE: bool>(self) {
        // SAFETY: the pointers are valid as the fields document; rows beyond the last read the last one again.
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
                    let sum = if self.fresh { sum } else { S::add(S::load_up_to(at, count), sum) };
                    S::store_up_to(at, sum, count);
                }
            }
        }
    }
}
