//! What a kernel does to its sums before it stores them: add a shift and a residual, apply an activation.

use crate::activation::{Activation, RELU6_CEILING};
use crate::simd::Simd;

/// Values of a cache line.
const LINE: usize = 16;

/// Size in bytes from which an output is stored past the cache: it would be evicted before it is read, and a line that is stored
/// whole need not be fetched first.
const STREAMED_FROM: usize = 24 << 20;

/// The steps; a null pointer omits one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epilogue {
    /// Added per column, `[columns]`.
    pub shift: *const f32,
    /// Added per value, laid out like the output.
    pub residual: *const f32,
    /// Applied last.
    pub activation: Activation,
    /// Whether whole vectors are stored past the cache. They must be aligned, and a [`crate::simd::fence`] must follow the last.
    pub past_cache: bool,
}

impl Epilogue {
    /// Stores the sums unchanged.
    pub(super) const NONE: Self =
        Self { shift: std::ptr::null(), residual: std::ptr::null(), activation: Activation::None, past_cache: false };

    /// The same for an output of `length` values that is written in rows of `columns`: past the cache where that pays.
    pub(super) fn for_output(self, out: *const f32, length: usize, columns: usize) -> Self {
        let aligned = out.addr().is_multiple_of(LINE * size_of::<f32>()) && columns.is_multiple_of(LINE);
        Self { past_cache: aligned && self.residual != out && length * size_of::<f32>() >= STREAMED_FROM, ..self }
    }

    /// The same, beginning at another column.
    pub(super) fn at_column(self, column: usize) -> Self {
        let at = |pointer: *const f32| if pointer.is_null() { pointer } else { pointer.wrapping_add(column) };
        Self { shift: at(self.shift), residual: at(self.residual), ..self }
    }

    /// Applies the steps to the first `count` values of a vector and stores them. The vector belongs to columns `at…` of the row
    /// that begins at `offset`; a `count` beyond the vector's length means all of it.
    ///
    /// # Safety
    /// The machine has `S`, and each pointer that is not null is valid for `count` values from there.
    #[inline(always)]
    pub(super) unsafe fn store<S: Simd>(self, mut value: S::V, out: *mut f32, offset: usize, at: usize, count: usize) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            if !self.shift.is_null() {
                value = S::add(value, S::load_up_to(self.shift.add(at), count));
            }
            if !self.residual.is_null() {
                let residual = S::load_up_to(self.residual.add(offset).add(at), count);
                value = S::add(value, residual);
            }
            value = activate::<S>(self.activation, value);
            let to = out.add(offset).add(at);
            if self.past_cache { S::stream(to, value) } else { S::store_up_to(to, value, count) }
        }
    }
}

/// The activation of a vector. The bound is the first operand, so that a NaN stays one.
#[inline(always)]
unsafe fn activate<S: Simd>(activation: Activation, value: S::V) -> S::V {
    // SAFETY: guaranteed by the caller.
    unsafe {
        match activation {
            Activation::None => value,
            Activation::Relu => S::max(S::splat(0.0), value),
            Activation::Relu6 => S::min(S::splat(RELU6_CEILING), S::max(S::splat(0.0), value)),
        }
    }
}

/// An epilogue that tasks on several threads apply to their own parts of the output.
#[derive(Clone, Copy)]
pub(super) struct SharedEpilogue(pub(super) Epilogue);

// SAFETY: the epilogue's pointers are only read, except for a residual that is the output itself, of which each task touches its own
// part.
unsafe impl Send for SharedEpilogue {}
// SAFETY: as above.
unsafe impl Sync for SharedEpilogue {}

impl SharedEpilogue {
    /// The epilogue. A method, so that closures capture the wrapper and not the bare pointers, which are not `Send`.
    pub(super) fn get(self) -> Epilogue {
        self.0
    }
}
