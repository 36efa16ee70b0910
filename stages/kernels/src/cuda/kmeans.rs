//! The nearest centroids of points that stay on a GPU, and their distances, with the bits of the CPU.
//!
//! **Algorithm** Points and centroids are rounded to TF32 and multiplied; the bounds of [`super::neighbours`] hold for their scores v. If D
//! is an upper bound of a point's distance to the centroid with the best score, all centroids with v > (√D + e + E)² + s − ‖a′‖² are
//! farther. Mostly one remains, which is the nearest. Otherwise the kernel computes the distances of those that remain, in the order of
//! operations of [`crate::distance`], and takes the first of the nearest.

use candle_core::cuda_backend::CudaDevice;
use candle_core::{DType, Device, Result, Tensor};

use super::launch::{Argument, Grid, KMEANS, int, launch};
use super::memory::{NULL, Output, pointer};
use super::neighbours::{ALIGNMENT, GpuRows};
use super::products::{Matrices, Product};
use crate::distance;
use crate::precision::Precision;

/// Most products of a block of points, 256 MiB, unless these are fewer than [`LEAST_POINTS`] points.
const PRODUCTS: usize = 1 << 26;

/// Fewest points of a block.
const LEAST_POINTS: usize = 128;

/// Most centroids: the kernel counts them in floats.
const MOST_CENTROIDS: usize = 1 << 24;

/// Threads of a block, which works on one point.
const THREADS: u32 = 32;

/// Points on a GPU to cluster.
pub(crate) struct GpuPoints {
    points: GpuRows,
    /// e, `[n]`.
    errors: Tensor,
    centre: Vec<f32>,
}

impl GpuPoints {
    /// Uploads `rows`, `[n, dim]` with at least one row, and prepares them. `None` if their norms are too large.
    ///
    /// # Errors
    /// The GPU fails or has too little memory.
    pub(crate) fn new(rows: &[f32], dim: usize, centre: &[f32], device: &Device) -> Result<Option<Self>> {
        let Some(points) = GpuRows::new(rows, dim, centre, device)? else { return Ok(None) };
        let (_, errors) = points.rows.bounds(dim)?;
        let errors = Tensor::from_vec(errors.into_iter().map(above).collect::<Vec<f32>>(), points.count, device)?;
        Ok(Some(Self { points, errors, centre: centre.to_vec() }))
    }

    /// The nearest of `centroids`, `[k, dim]`, to each point; `None` if their norms are too large or there are too many.
    ///
    /// # Errors
    /// The GPU fails or has too little memory.
    pub(crate) fn assign(&self, centroids: &[f32]) -> Result<Option<Vec<u32>>> {
        let Some(centroids) = self.centroids(centroids)? else { return Ok(None) };
        let nearest = Output::new(self.points.count, DType::U32, self.gpu()?)?;
        self.search(&centroids, nearest.pointer()?, NULL)?;
        nearest.into_tensor().to_vec1().map(Some)
    }

    /// Each point's squared distance to the nearest of `centroids`, `[k, dim]`, where that is less than its limit, else the limit;
    /// `None` as for [`Self::assign`].
    ///
    /// # Errors
    /// The GPU fails or has too little memory.
    pub(crate) fn lower_limits(&self, centroids: &[f32], limits: &[f32]) -> Result<Option<Vec<f32>>> {
        let Some(centroids) = self.centroids(centroids)? else { return Ok(None) };
        let limits = Tensor::from_slice(limits, self.points.count, self.device())?;
        self.search(&centroids, NULL, pointer(&limits)?)?;
        limits.to_vec1().map(Some)
    }

    /// The squared distance of each point to its centroid in `assignments`, `[n]`, which are numbers of rows of `centroids`.
    ///
    /// # Errors
    /// The GPU fails or has too little memory.
    pub(crate) fn distances(&self, centroids: &[f32], assignments: &[u32]) -> Result<Vec<f32>> {
        let centroids = Tensor::from_slice(centroids, centroids.len(), self.device())?;
        let assignments = Tensor::from_slice(assignments, self.points.count, self.device())?;
        let distances = Output::new(self.points.count, DType::F32, self.gpu()?)?;
        let pointers =
            [pointer(&self.points.rows.exact)?, pointer(&centroids)?, pointer(&assignments)?, distances.pointer()?];
        let [a, b, c, d] = pointers.map(Argument::Pointer);
        let arguments = [a, b, c, d, int(self.points.dim)?];
        let grid = Grid::rows(self.points.count, THREADS);
        // SAFETY: the arguments are those of the kernel; a block works on each point, and each assignment is the number of a centroid.
        unsafe { launch(self.gpu()?, KMEANS, "centroid_distances", grid, &arguments)? };
        distances.into_tensor().to_vec1()
    }

    fn device(&self) -> &Device {
        self.errors.device()
    }

    fn gpu(&self) -> Result<&CudaDevice> {
        self.device().as_cuda_device()
    }

    fn centroids(&self, centroids: &[f32]) -> Result<Option<GpuRows>> {
        if centroids.len() / self.points.dim > MOST_CENTROIDS {
            return Ok(None);
        }
        GpuRows::new(centroids, self.points.dim, &self.centre, self.device())
    }

    /// Enqueues the search for the nearest centroids: writes their numbers to `nearest`, or lowers `limits`; the other one is null.
    fn search(&self, centroids: &GpuRows, nearest: u64, limits: u64) -> Result<()> {
        let (gpu, GpuRows { rows, count, dim, .. }) = (self.gpu()?, &self.points);
        let (width, stride) = (dim.next_multiple_of(ALIGNMENT), centroids.count.next_multiple_of(ALIGNMENT));
        let most = (PRODUCTS / stride).max(LEAST_POINTS).min(*count);
        let products = Output::new((most, stride), DType::F32, gpu)?;
        for first in (0..*count).step_by(most) {
            let block = most.min(count - first);
            // Where the values of the block's points begin, of which each has `row` ones.
            let of_block = |start: u64, row: usize| match start {
                NULL => NULL,
                start => start + (first * row * size_of::<f32>()) as u64,
            };
            let product = Product {
                m: block,
                n: centroids.count,
                k: width,
                batch: 1,
                factors: DType::F32,
                result: DType::F32,
                precision: Precision::Tf32,
            };
            let points = Matrices::one(of_block(pointer(&rows.rounded)?, width), width);
            let factor = Matrices::one(pointer(&centroids.rows.rounded)?, width).transposed();
            // SAFETY: the factors have `block` and `n` rows of `width`, and the result at least `block` rows of `stride`, which is at
            // least n.
            unsafe { product.enqueue(gpu, points, factor, Matrices::one(products.pointer()?, stride))? };
            let pointers = [
                products.pointer()?,
                of_block(pointer(&rows.exact)?, *dim),
                of_block(pointer(&rows.norms)?, 1),
                of_block(pointer(&self.errors)?, 1),
                pointer(&centroids.rows.exact)?,
                pointer(&centroids.rows.norms)?,
                of_block(nearest, 1),
                of_block(limits, 1),
            ];
            let sizes = [int(centroids.count)?, int(stride)?, int(*dim)?];
            let bounds = [
                above(centroids.norm),
                above(centroids.error),
                (2.0 * width as f32 + 64.0) * 2f32.powi(-23),
                distance::rounding(*dim),
                // What is lost where numbers are too small for floats of full precision.
                width as f32 * f32::MIN_POSITIVE,
            ];
            let arguments: Vec<Argument> =
                pointers.map(Argument::Pointer).into_iter().chain(sizes).chain(bounds.map(Argument::Float)).collect();
            // SAFETY: the arguments are those of the kernel; a block works on each of the `block` points. The norms of the centroids
            // have room for a multiple of `ALIGNMENT`.
            unsafe { launch(gpu, KMEANS, "nearest_centroids", Grid::rows(block, THREADS), &arguments)? };
        }
        Ok(())
    }
}

/// A float that is at least this number, which is not negative.
fn above(value: f64) -> f32 {
    (value * (1.0 + 1e-6)) as f32
}
