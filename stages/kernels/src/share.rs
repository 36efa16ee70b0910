//! Mutable memory shared between rayon tasks that write disjoint parts of it.

use rayon::prelude::*;

/// Values left between rows that are laid side by side: a cache line, since rows a power of two apart drive each other out of the
/// cache.
pub(crate) const BETWEEN_ROWS: usize = 16;

/// A pointer into an output of which each task writes its own part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared(*mut f32);

// SAFETY: a pointer may move between threads; whoever writes through it vouches for disjoint parts.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// The part that begins `offset` values behind.
    pub(crate) fn at(self, offset: usize) -> Self {
        Self(self.0.wrapping_add(offset))
    }

    /// The pointer. (A method, so that closures capture the wrapper and not the bare pointer.)
    pub(crate) fn pointer(self) -> *mut f32 {
        self.0
    }
}

/// A vector of `length` values that `fill` writes all of, spared the zeros that `vec!` would write first.
///
/// # Safety
/// `fill` writes every value.
pub(crate) unsafe fn filled(length: usize, fill: impl FnOnce(Shared)) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(length);
    fill(Shared(values.as_mut_ptr()));
    // SAFETY: the caller vouches that all `length` values are written, and the capacity holds them.
    unsafe { values.set_len(length) };
    values
}

/// Adds the parts, each `length` values, in order, and keeps the sum.
pub(crate) fn add_parts(parts: &mut Vec<f32>, length: usize) {
    // A block of the sum stays in the cache while all parts pass.
    const BLOCK: usize = 1 << 13;
    let (total, others) = parts.split_at_mut(length);
    total.par_chunks_mut(BLOCK).enumerate().for_each(|(block, total)| {
        for other in others.chunks_exact(length) {
            let other = &other[block * BLOCK..];
            total.iter_mut().zip(other).for_each(|(sum, add)| *sum += add);
        }
    });
    parts.truncate(length);
}
