//! One way to write a kernel once and run it on the best instruction set of the machine.
//!
//! A kernel is a [`Task`]: plain code over a [`Simd`]'s vectors, inlined whole into a function that is compiled for
//! one instruction set. [`Level::run`] picks that function at run time, so no `target-cpu` is needed to build.

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::LazyLock;

/// The instruction set that every kernel of this process is dispatched to: `avx512`, `avx2`, `neon` or `portable`.
///
/// It enters the key of every stage that computes floats, because two sets round differently.
pub fn arithmetic() -> &'static str {
    Level::detected().name()
}

/// An instruction set that this machine has; only [`Level::supported`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

impl Level {
    /// The best set of this machine.
    pub(crate) fn detected() -> Self {
        static BEST: LazyLock<Level> = LazyLock::new(|| Level::supported()[0]);
        *BEST
    }

    /// All sets that this machine can run, best first; tests compare them with each other.
    pub(crate) fn supported() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if x86::has_avx512() {
                sets.push(Self(Set::Avx512));
            }
            if x86::has_avx2() {
                sets.push(Self(Set::Avx2));
            }
        }
        #[cfg(target_arch = "aarch64")]
        sets.push(Self(Set::Neon));
        sets.push(Self(Set::Portable));
        sets
    }

    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Set::Neon => "neon",
            Set::Portable => "portable",
        }
    }

    /// Number of `f32` in a vector.
    pub(crate) fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => x86::Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => x86::Avx2::LANES,
            #[cfg(target_arch = "aarch64")]
            Set::Neon => neon::Neon::LANES,
            Set::Portable => portable::Portable::LANES,
        }
    }

    /// Widest register tile, in vectors: with [`crate::tile::ROWS`] rows it fills the set's registers.
    pub(crate) fn tile_vectors(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => 4,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => 2,
            #[cfg(target_arch = "aarch64")]
            Set::Neon => 4,
            Set::Portable => 2,
        }
    }

    /// Runs `task` compiled for this set.
    #[inline(always)]
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        match self.0 {
            // SAFETY: a `Level` exists only for sets that were detected.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { x86::run_avx512(task) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { x86::run_avx2(task) },
            // SAFETY: every aarch64 machine has NEON.
            #[cfg(target_arch = "aarch64")]
            Set::Neon => unsafe { task.run::<neon::Neon>() },
            // SAFETY: the portable set needs nothing.
            Set::Portable => unsafe { portable::run(task) },
        }
    }
}

/// Orders what this thread stored past the cache before whatever tells other threads of it.
#[inline(always)]
pub(crate) fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 machine has the instruction.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// A kernel that can run on any [`Simd`]. Mark `run` `#[inline(always)]`, or it is compiled without the set.
pub(crate) trait Task {
    /// What it gives.
    type Output;

    /// Runs it.
    ///
    /// # Safety
    /// The machine has `S`, and the pointers that the task holds are valid for what it documents.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// Vectors of `f32` on one instruction set.
///
/// # Safety of all methods
/// The machine has the set; pointers are valid for [`Simd::LANES`] values, or `count` values for the partial ones.
pub(crate) trait Simd: Copy {
    /// Values per vector.
    const LANES: usize;
    /// A vector.
    type V: Copy;

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    /// [`Simd::store`] past the cache, where the machine can; `to` is a multiple of the vector's size.
    unsafe fn stream(to: *mut f32, value: Self::V);
    /// The first `count` values, zeros behind them; `count` is in `1..LANES`.
    unsafe fn load_partial(from: *const f32, count: usize) -> Self::V;
    /// The first `count` values; `count` is in `1..LANES`.
    unsafe fn store_partial(to: *mut f32, value: Self::V, count: usize);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, in one rounding where the set can.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The greater; `b` if either is NaN, on some machines.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// The greater, or NaN if either is.
    unsafe fn max_or_nan(a: Self::V, b: Self::V) -> Self::V;
    /// `value` where `a > b`, zero elsewhere.
    unsafe fn keep_where_greater(value: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// Zero where `a ≤ b`, `value` elsewhere: also where either is NaN.
    unsafe fn drop_where_at_most(value: Self::V, a: Self::V, b: Self::V) -> Self::V;

    /// [`Simd::load`] of the first `count` values, whole or partial.
    #[inline(always)]
    unsafe fn load_up_to(from: *const f32, count: usize) -> Self::V {
        // SAFETY: the caller's.
        unsafe { if count >= Self::LANES { Self::load(from) } else { Self::load_partial(from, count) } }
    }

    /// [`Simd::store`] of the first `count` values, whole or partial.
    #[inline(always)]
    unsafe fn store_up_to(to: *mut f32, value: Self::V, count: usize) {
        // SAFETY: the caller's.
        unsafe {
            if count >= Self::LANES {
                Self::store(to, value);
            } else {
                Self::store_partial(to, value, count);
            }
        }
    }
}
