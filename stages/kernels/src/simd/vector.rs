//! The traits that kernels are written against.

/// A kernel that can run on any [`Simd`]. `run` must be `#[inline(always)]`, or it is compiled without the instruction set.
pub(crate) trait Task {
    /// Its result.
    type Output;

    /// Runs the kernel.
    ///
    /// # Safety
    /// The machine has `S`, and the pointers that the task holds are valid for what it documents.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// Vectors of `f32` on one instruction set.
///
/// # Safety of all methods
/// The machine has the instruction set; pointers are valid for [`Simd::LANES`] values, or `count` values for the partial ones.
pub(crate) trait Simd: Copy {
    /// Values per vector.
    const LANES: usize;
    /// A vector.
    type V: Copy;

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    /// [`Simd::store`] past the cache, where the machine can; `to` is aligned to the size of a vector.
    unsafe fn stream(to: *mut f32, value: Self::V);
    /// The first `count` values followed by zeros; `count` is in `1..LANES`.
    unsafe fn load_partial(from: *const f32, count: usize) -> Self::V;
    /// Stores the first `count` values; `count` is in `1..LANES`.
    unsafe fn store_partial(to: *mut f32, value: Self::V, count: usize);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, with one rounding where the instruction set can.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The greater; if either is NaN, `b` on some machines.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// The greater, or NaN if either is.
    unsafe fn max_or_nan(a: Self::V, b: Self::V) -> Self::V;
    /// `value` where `a > b`, zero elsewhere.
    unsafe fn keep_where_greater(value: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// Zero where `a ≤ b`, `value` elsewhere, including where either is NaN.
    unsafe fn drop_where_at_most(value: Self::V, a: Self::V, b: Self::V) -> Self::V;

    /// [`Simd::load`] of the first `count` values, whole or partial.
    #[inline(always)]
    unsafe fn load_up_to(from: *const f32, count: usize) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { if count >= Self::LANES { Self::load(from) } else { Self::load_partial(from, count) } }
    }

    /// [`Simd::store`] of the first `count` values, whole or partial.
    #[inline(always)]
    unsafe fn store_up_to(to: *mut f32, value: Self::V, count: usize) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            if count >= Self::LANES {
                Self::store(to, value);
            } else {
                Self::store_partial(to, value, count);
            }
        }
    }
}
