//! Candidates for the nearest rows of queries, with a proof of how far the lists are complete.
//!
//! **Algorithm** Queries and rows are rounded to TF32, cuBLAS multiplies blocks of them, and a kernel keeps for each query the c rows with
//! the smallest score v = ‖b′‖² − 2⟨a′, b′⟩. Another kernel computes their distances in the order of operations of [`crate::distance`], so
//! that they have the bits of the CPU.
//!
//! **Bound** For a query a and a row b, both without the centre, let a′ and b′ be what the product takes and e ≥ ‖a − a′‖,
//! E ≥ ‖b − b′‖. A row that is not among the candidates has a score of at least that of the last candidate, v, so
//! √D ≥ √(v + ‖a′‖² − s) − e − E, where s bounds the rounding of a score. E and ‖b′‖ are the greatest of all rows.
//!
//! **Rounding** A product adds `width` exact products of two numbers with 11 bits each. Tensor cores cut off what lies beyond
//! the last bit of the largest summand of a group, so every addition errs by at most 2⁻²³ Σ|aᵢbᵢ| ≤ 2⁻²³ ‖a′‖‖b′‖; with the sums of
//! the groups there are fewer than 2 `width` additions. Hence s = (2 `width` + 64) 2⁻²³ (‖a′‖ + ‖b′‖)², which covers the norms as well.

use candle_core::cuda_backend::CudaDevice;
use candle_core::{DType, Device, Result, Tensor};

use super::launch::{Argument, Grid, NEIGHBOURS, int, launch};
use super::memory::{Output, pointer};
use super::products::{Matrices, Product};
use crate::distance;
use crate::neighbours::candidates::Candidates;
use crate::precision::Precision;

/// Queries of a block. With [`ROWS`], the products of a block take 512 MiB.
const QUERIES: usize = 4096;

/// Rows of the gallery in a block.
const ROWS: usize = 32_768;

/// Values of a rounded row, a multiple of this, and of a row of products: cuBLAS and the kernels then read several at once.
pub(super) const ALIGNMENT: usize = 8;

/// Most candidates per query of the kernels `*_few`.
const FEW: usize = 512;

/// Most candidates per query of the kernels `*_many`.
const MANY: usize = 2048;

/// Most threads of a block that prepares a row.
const ROW_THREADS: usize = 128;

/// Threads of a block that works on a query.
const QUERY_THREADS: u32 = 256;

/// Largest squared norm with which no score overflows.
const LARGEST_NORM: f32 = 1e37;

/// Rows on a GPU to search.
pub(crate) struct GpuRows {
    pub(super) rows: PreparedRows,
    centre: Tensor,
    pub(super) count: usize,
    pub(super) dim: usize,
    /// The largest ‖b′‖.
    pub(super) norm: f64,
    /// E.
    pub(super) error: f64,
}

/// Rows as they are, `[n, dim]`, and rounded, `[n, width]`.
pub(super) struct PreparedRows {
    pub(super) exact: Tensor,
    pub(super) rounded: Tensor,
    /// ‖b′‖², `[n]`, with room for a multiple of [`ALIGNMENT`].
    pub(super) norms: Tensor,
    /// Sums of squared errors, `[n]`.
    errors: Tensor,
}

impl PreparedRows {
    /// Uploads `values`, `[n, dim]`, and rounds them after subtracting `centre`, `[dim]`.
    fn new(values: &[f32], dim: usize, centre: &Tensor) -> Result<Self> {
        let device = centre.device();
        let (gpu, count, width) = (device.as_cuda_device()?, values.len() / dim, dim.next_multiple_of(ALIGNMENT));
        let exact = Tensor::from_slice(values, (count, dim), device)?;
        let rounded = Output::new((count, width), DType::F32, gpu)?;
        let norms = Output::new(count.next_multiple_of(ALIGNMENT), DType::F32, gpu)?;
        let errors = Output::new(count, DType::F32, gpu)?;
        let pointers = [pointer(&exact)?, pointer(centre)?, rounded.pointer()?, norms.pointer()?, errors.pointer()?];
        let [a, b, c, d, e] = pointers.map(Argument::Pointer);
        let arguments = [a, b, c, d, e, int(dim)?, int(width)?];
        let grid = Grid::rows(count, width.next_power_of_two().min(ROW_THREADS) as u32);
        // SAFETY: the arguments are those of the kernel, and a block works on each of the `count` rows.
        unsafe { launch(gpu, NEIGHBOURS, "prepare_rows", grid, &arguments)? };
        let [rounded, norms, errors] = [rounded, norms, errors].map(Output::into_tensor);
        Ok(Self { exact, rounded, norms: norms.narrow(0, 0, count)?, errors })
    }

    /// Their squared norms and the bounds on their errors.
    pub(super) fn bounds(&self, dim: usize) -> Result<(Vec<f32>, Vec<f64>)> {
        // The sum of squares is itself rounded, and squares of tiny errors vanish in it.
        let (rounding, vanished) = (1.0 + (dim as f64 + 16.0) * 2f64.powi(-23), (dim as f64).sqrt() * 1e-22);
        let errors = self.errors.to_vec1::<f32>()?;
        let errors = errors.into_iter().map(|squares| f64::from(squares).sqrt() * rounding + vanished).collect();
        Ok((self.norms.to_vec1()?, errors))
    }
}

impl GpuRows {
    /// Uploads the rows of a gallery, `[n, dim]` with at least one row, and prepares them. `None` if their norms are too large.
    ///
    /// # Errors
    /// The GPU fails or has too little memory.
    pub(crate) fn new(rows: &[f32], dim: usize, centre: &[f32], device: &Device) -> Result<Option<Self>> {
        let centre = Tensor::from_slice(centre, dim, device)?;
        let prepared = PreparedRows::new(rows, dim, &centre)?;
        let (norms, errors) = prepared.bounds(dim)?;
        if !norms.iter().all(|norm| *norm <= LARGEST_NORM) {
            return Ok(None);
        }
        let norm = f64::from(norms.into_iter().fold(0.0, f32::max)).sqrt();
        let error = errors.into_iter().fold(0.0, f64::max);
        Ok(Some(Self { rows: prepared, centre, count: rows.len() / dim, dim, norm, error }))
    }

    /// At least `k` candidates for each of `queries`, `[m, dim]`, some more, or all rows; `None` if that is too many for the kernels.
    ///
    /// # Errors
    /// The GPU fails or has too little memory.
    pub(crate) fn candidates(&self, queries: &[f32], k: usize) -> Result<Option<Candidates>> {
        // Rows between the k nearest and the last candidate are what the bound is paid with, and what a caller may exclude.
        let wanted = k.saturating_add(k / 4 + 27).min(self.count);
        let kernels = match wanted {
            ..=FEW => "few",
            ..=MANY => "many",
            _ => return Ok(None),
        };
        let (gpu, stride) = (self.centre.device().as_cuda_device()?, ROWS.min(self.count).next_multiple_of(ALIGNMENT));
        let products = Output::new((QUERIES.min(queries.len() / self.dim), stride), DType::F32, gpu)?;
        let mut found = Candidates { per_query: wanted, pairs: Vec::new(), radii: Vec::new() };
        for queries in queries.chunks(QUERIES * self.dim) {
            let asked = queries.len() / self.dim;
            let queries = PreparedRows::new(queries, self.dim, &self.centre)?;
            let best = Output::new((asked, 2 * wanted), DType::U32, gpu)?;
            let last = Output::new(asked, DType::F32, gpu)?;
            for first in (0..self.count).step_by(ROWS) {
                self.multiply(gpu, &queries, asked, first, &products, stride)?;
                let pointers = [products.pointer()?, pointer(&self.rows.norms)?, best.pointer()?];
                let [a, b, c] = pointers.map(Argument::Pointer);
                let rows = ROWS.min(self.count - first);
                let arguments = [a, b, c, int(first)?, int(rows)?, int(stride)?, int(wanted)?];
                let (name, grid) = (format!("select_rows_{kernels}"), Grid::rows(asked, QUERY_THREADS));
                // SAFETY: the arguments are those of the kernel; a block works on each query.
                unsafe { launch(gpu, NEIGHBOURS, &name, grid, &arguments)? };
            }
            let pointers = [pointer(&queries.exact)?, pointer(&self.rows.exact)?, best.pointer()?, last.pointer()?];
            let [a, b, c, d] = pointers.map(Argument::Pointer);
            let arguments = [a, b, c, d, int(self.dim)?, int(wanted)?];
            let (name, grid) = (format!("measure_rows_{kernels}"), Grid::rows(asked, QUERY_THREADS));
            // SAFETY: the arguments are those of the kernel; a block works on each query. There are at least `wanted` rows, so every key
            // is that of a row.
            unsafe { launch(gpu, NEIGHBOURS, &name, grid, &arguments)? };
            found.pairs.extend(best.into_tensor().flatten_all()?.to_vec1::<u32>()?);
            found.radii.extend(self.radii(&queries, &last.into_tensor().to_vec1()?, wanted == self.count)?);
        }
        Ok(Some(found))
    }

    /// Enqueues the products of `asked` queries and the rows from `first` on, at most [`ROWS`], into rows of `stride`.
    fn multiply(
        &self,
        gpu: &CudaDevice,
        queries: &PreparedRows,
        asked: usize,
        first: usize,
        products: &Output,
        stride: usize,
    ) -> Result<()> {
        let width = self.dim.next_multiple_of(ALIGNMENT);
        let product = Product {
            m: asked,
            n: ROWS.min(self.count - first),
            k: width,
            batch: 1,
            factors: DType::F32,
            result: DType::F32,
            precision: Precision::Tf32,
        };
        let rows = pointer(&self.rows.rounded)? + (first * width * size_of::<f32>()) as u64;
        let queries = Matrices::one(pointer(&queries.rounded)?, width);
        let result = Matrices::one(products.pointer()?, stride);
        // SAFETY: the factors have `asked` and at least `first + n` rows of `width`, and the result at least `asked` rows of
        // `stride`, which is at least n.
        unsafe { product.enqueue(gpu, queries, Matrices::one(rows, width).transposed(), result) }
    }

    /// For each query, a lower bound on the squared distances, as [`crate::distance`] computes them, to all rows that are no
    /// candidates, from the last candidate's score.
    fn radii(&self, queries: &PreparedRows, last: &[f32], has_all: bool) -> Result<Vec<f64>> {
        if has_all {
            return Ok(vec![f64::INFINITY; last.len()]);
        }
        let (norms, errors) = queries.bounds(self.dim)?;
        let width = self.dim.next_multiple_of(ALIGNMENT);
        let rounding = (2.0 * width as f64 + 64.0) * 2f64.powi(-23);
        // What is lost where numbers are too small for floats of full precision.
        let vanished = width as f64 * f64::from(f32::MIN_POSITIVE);
        let radius = |((&last, &norm), &error): ((&f32, &f32), &f64)| {
            if norm.is_nan() || norm > LARGEST_NORM {
                return 0.0;
            }
            let squared = f64::from(norm);
            let reach = squared.sqrt() + self.norm;
            let product = f64::from(last) + squared - rounding * reach * reach - 4.0 * vanished;
            let least = (product.max(0.0).sqrt() - error - self.error).max(0.0);
            (least * least * (1.0 - 2.0 * f64::from(distance::rounding(self.dim))) - vanished).max(0.0)
        };
        Ok(last.iter().zip(&norms).zip(&errors).map(radius).collect())
    }
}
