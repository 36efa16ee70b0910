//! The linear transforms of F(4×4, 3×3) and their adjoints, on vectors of channels.
//!
//! Formula, along one axis: `y = Aᵀ ((G g) ∘ (Bᵀ d))` for six inputs `d`, three weights `g` and four outputs `y`; in two dimensions
//! each transform is applied to the columns and then to the rows. The interpolation points are 0, ±1/√2, ±√2 and ∞. Being close to
//! 1 in magnitude, they lose 3 to 5 times less to rounding than the customary 0, ±1, ±2 in our measurements: no more than a plain
//! sum.
//! Source: Lavin and Gray, arXiv 1509.09308, section 4.3; the points: Barabasz et al., arXiv 1803.10986, section 5.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use crate::simd::{Simd, Task};

/// Taps of the window.
pub(super) const TAPS: usize = 9;

/// Products per tile.
pub(super) const PRODUCTS: usize = 36;

/// Side of a tile's input.
pub(super) const INPUT: usize = 6;

/// Side of a tile's output.
pub(super) const OUTPUT: usize = 4;

/// A transform along one axis, from `FROM` to `TO` vectors.
pub(super) trait AxisTransform<const FROM: usize, const TO: usize> {
    /// Applies it.
    ///
    /// # Safety
    /// The machine has `S`.
    unsafe fn apply<S: Simd>(v: [S::V; FROM]) -> [S::V; TO];
}

/// `Bᵀ`: six input pixels to six factors.
pub(super) struct ToFactors;

impl AxisTransform<6, 6> for ToFactors {
    #[inline(always)]
    unsafe fn apply<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let root = S::splat(SQRT_2);
            let half_root = S::splat(FRAC_1_SQRT_2);
            let minus_two_and_half = S::splat(-2.5);
            let near = S::mul_add(S::splat(-2.0), d[2], d[4]);
            let far = S::mul_add(S::splat(-0.5), d[2], d[4]);
            let near_odd = S::sub(S::mul(half_root, d[3]), S::mul(root, d[1]));
            let far_odd = S::sub(S::mul(root, d[3]), S::mul(half_root, d[1]));
            [
                S::add(S::mul_add(minus_two_and_half, d[2], d[0]), d[4]),
                S::add(near, near_odd),
                S::sub(near, near_odd),
                S::add(far, far_odd),
                S::sub(far, far_odd),
                S::add(S::mul_add(minus_two_and_half, d[3], d[1]), d[5]),
            ]
        }
    }
}

/// `Aᵀ`: six products to four output pixels.
pub(super) struct ToOutput;

impl AxisTransform<6, 4> for ToOutput {
    #[inline(always)]
    unsafe fn apply<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let near = S::add(m[1], m[2]);
            let far = S::add(m[3], m[4]);
            let near_odd = S::sub(m[1], m[2]);
            let far_odd = S::sub(m[3], m[4]);
            let cubes = S::mul_add(S::splat(2.0 * SQRT_2), far_odd, S::mul(S::splat(0.5 * FRAC_1_SQRT_2), near_odd));
            [
                S::add(m[0], S::add(near, far)),
                S::mul_add(S::splat(SQRT_2), far_odd, S::mul(S::splat(FRAC_1_SQRT_2), near_odd)),
                S::mul_add(S::splat(2.0), far, S::mul(S::splat(0.5), near)),
                S::add(cubes, m[5]),
            ]
        }
    }
}

/// `A`, the adjoint of [`ToOutput`]: the gradient of four output pixels to that of six products.
pub(super) struct FromOutput;

impl AxisTransform<4, 6> for FromOutput {
    #[inline(always)]
    unsafe fn apply<S: Simd>(y: [S::V; 4]) -> [S::V; 6] {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let near = S::mul_add(S::splat(0.5), y[2], y[0]);
            let far = S::mul_add(S::splat(2.0), y[2], y[0]);
            let near_odd = S::mul_add(S::splat(0.5 * FRAC_1_SQRT_2), y[3], S::mul(S::splat(FRAC_1_SQRT_2), y[1]));
            let far_odd = S::mul_add(S::splat(2.0 * SQRT_2), y[3], S::mul(S::splat(SQRT_2), y[1]));
            [y[0], S::add(near, near_odd), S::sub(near, near_odd), S::add(far, far_odd), S::sub(far, far_odd), y[3]]
        }
    }
}

/// `G`: three weights to six factors.
pub(super) struct WeightToFactors;

impl AxisTransform<3, 6> for WeightToFactors {
    #[inline(always)]
    unsafe fn apply<S: Simd>(g: [S::V; 3]) -> [S::V; 6] {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let third = S::mul(S::splat(-1.0 / 3.0), g[2]);
            let near = S::mul_add(S::splat(-2.0 / 3.0), g[0], third);
            let near_odd = S::mul(S::splat(-SQRT_2 / 3.0), g[1]);
            let far = S::mul_add(S::splat(1.0 / 6.0), g[0], S::sub(S::splat(0.0), third));
            let far_odd = S::mul(S::splat(SQRT_2 / 6.0), g[1]);
            [g[0], S::add(near, near_odd), S::sub(near, near_odd), S::add(far, far_odd), S::sub(far, far_odd), g[2]]
        }
    }
}

/// `Gᵀ`, the adjoint of [`WeightToFactors`]: the gradient of six factors to that of three weights.
pub(super) struct WeightFromFactors;

impl AxisTransform<6, 3> for WeightFromFactors {
    #[inline(always)]
    unsafe fn apply<S: Simd>(u: [S::V; 6]) -> [S::V; 3] {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let near = S::add(u[1], u[2]);
            let far = S::add(u[3], u[4]);
            let near_odd = S::sub(u[1], u[2]);
            let far_odd = S::sub(u[3], u[4]);
            [
                S::add(u[0], S::mul_add(S::splat(1.0 / 6.0), far, S::mul(S::splat(-2.0 / 3.0), near))),
                S::mul_add(S::splat(SQRT_2 / 6.0), far_odd, S::mul(S::splat(-SQRT_2 / 3.0), near_odd)),
                S::add(u[5], S::mul_add(S::splat(1.0 / 3.0), far, S::mul(S::splat(-1.0 / 3.0), near))),
            ]
        }
    }
}

/// Applies a transform to the columns and then the rows of a square of vectors.
///
/// # Safety
/// The machine has `S`.
#[inline(always)]
pub(super) unsafe fn transform_square<S: Simd, A: AxisTransform<FROM, TO>, const FROM: usize, const TO: usize>(
    square: [[S::V; FROM]; FROM],
) -> [[S::V; TO]; TO] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let zero = S::splat(0.0);
        let mut columns = [[zero; FROM]; TO];
        for x in 0..FROM {
            let mut column = [zero; FROM];
            for (y, value) in column.iter_mut().enumerate() {
                *value = square[y][x];
            }
            let column = A::apply::<S>(column);
            for (row, value) in columns.iter_mut().zip(column) {
                row[x] = value;
            }
        }
        let mut result = [[zero; TO]; TO];
        for (to, from) in result.iter_mut().zip(columns) {
            *to = A::apply::<S>(from);
        }
        result
    }
}

/// Task that reads a square of vectors through pointers, transforms it and writes the entries to separate matrices.
///
/// Reads value `c` of entry `(y, x)` at `from[y · FROM + x] + c`, writes entry `e` of the result at `to + e · entry_stride + c`.
pub(super) struct SquareTransform<'a, A> {
    pub from: &'a [*const f32],
    pub channels: usize,
    pub to: *mut f32,
    pub entry_stride: usize,
    pub transform: std::marker::PhantomData<A>,
}

impl<A> SquareTransform<'_, A> {
    #[inline(always)]
    unsafe fn run_transform<S: Simd, const FROM: usize, const TO: usize>(self)
    where
        A: AxisTransform<FROM, TO>,
    {
        let mut c = 0;
        while c < self.channels {
            let count = self.channels - c;
            // SAFETY: the pointers are valid for all channels, and all matrices lie inside `to`.
            unsafe {
                let mut square = [[S::splat(0.0); FROM]; FROM];
                for (row, from) in square.iter_mut().zip(self.from.chunks_exact(FROM)) {
                    for (value, from) in row.iter_mut().zip(from) {
                        *value = S::load_up_to(from.add(c), count);
                    }
                }
                let result = transform_square::<S, A, FROM, TO>(square);
                for (entry, &value) in result.as_flattened().iter().enumerate() {
                    S::store_up_to(self.to.add(entry * self.entry_stride + c), value, count);
                }
            }
            c += S::LANES;
        }
    }
}

impl Task for SquareTransform<'_, ToFactors> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: guaranteed by the caller.
        unsafe { self.run_transform::<S, 6, 6>() }
    }
}

impl Task for SquareTransform<'_, FromOutput> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: guaranteed by the caller.
        unsafe { self.run_transform::<S, 4, 6>() }
    }
}

impl Task for SquareTransform<'_, WeightToFactors> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: guaranteed by the caller.
        unsafe { self.run_transform::<S, 3, 6>() }
    }
}

impl Task for SquareTransform<'_, WeightFromFactors> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: guaranteed by the caller.
        unsafe { self.run_transform::<S, 6, 3>() }
    }
}
