//! Sixteen lanes of AVX-512 and eight of AVX2 with FMA.

use std::arch::x86_64::*;

use super::vector::{Simd, Task};

/// AVX-512's `__m512`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512;

/// AVX2's `__m256`, with fused multiply-add.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2;

pub(super) fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn run_avx512<T: Task>(task: T) -> T::Output {
    // SAFETY: guaranteed by the caller.
    unsafe { task.run::<Avx512>() }
}

#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_avx2<T: Task>(task: T) -> T::Output {
    // SAFETY: guaranteed by the caller.
    unsafe { task.run::<Avx2>() }
}

/// The lowest `count` bits.
#[inline(always)]
fn mask16(count: usize) -> __mmask16 {
    (1u16 << count) - 1
}

/// All ones in the lowest `count` lanes.
#[inline(always)]
unsafe fn mask8(count: usize) -> __m256i {
    const ONES_THEN_ZEROS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: `count` is in `0..8`, so eight values from `8 - count` on lie inside the table.
    unsafe { _mm256_loadu_si256(ONES_THEN_ZEROS.as_ptr().add(8 - count).cast()) }
}

macro_rules! binary {
    ($($name:ident = $intrinsic:ident),*) => {$(
        #[inline(always)]
        unsafe fn $name(a: Self::V, b: Self::V) -> Self::V {
            // SAFETY: guaranteed by the caller.
            unsafe { $intrinsic(a, b) }
        }
    )*};
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    type V = __m512;

    binary!(add = _mm512_add_ps, sub = _mm512_sub_ps, mul = _mm512_mul_ps, max = _mm512_max_ps, min = _mm512_min_ps);

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::V) {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn stream(to: *mut f32, value: Self::V) {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_stream_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_maskz_loadu_ps(mask16(count), from) }
    }
    #[inline(always)]
    unsafe fn store_partial(to: *mut f32, value: Self::V, count: usize) {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_mask_storeu_ps(to, mask16(count), value) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max_or_nan(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller. The maximum is b where either is NaN.
        unsafe { _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a), a) }
    }
    #[inline(always)]
    unsafe fn drop_where_at_most(value: Self::V, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLE_UQ>(a, b), value) }
    }
    #[inline(always)]
    unsafe fn keep_where_greater(value: Self::V, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), value) }
    }
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    type V = __m256;

    binary!(add = _mm256_add_ps, sub = _mm256_sub_ps, mul = _mm256_mul_ps, max = _mm256_max_ps, min = _mm256_min_ps);

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::V) {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm256_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn stream(to: *mut f32, value: Self::V) {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm256_stream_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm256_maskload_ps(from, mask8(count)) }
    }
    #[inline(always)]
    unsafe fn store_partial(to: *mut f32, value: Self::V, count: usize) {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm256_maskstore_ps(to, mask8(count), value) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max_or_nan(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller. The maximum is b where either is NaN.
        unsafe { _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a)) }
    }
    #[inline(always)]
    unsafe fn drop_where_at_most(value: Self::V, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm256_and_ps(value, _mm256_cmp_ps::<_CMP_NLE_UQ>(a, b)) }
    }
    #[inline(always)]
    unsafe fn keep_where_greater(value: Self::V, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm256_and_ps(value, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) }
    }
}
