//! Four lanes of NEON, which every aarch64 machine has.

use std::arch::aarch64::*;

use super::vector::Simd;

/// NEON's `float32x4_t`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neon;

impl Simd for Neon {
    const LANES: usize = 4;
    type V = float32x4_t;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { vdupq_n_f32(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::V) {
        // SAFETY: guaranteed by the caller.
        unsafe { vst1q_f32(to, value) }
    }
    #[inline(always)]
    unsafe fn stream(to: *mut f32, value: Self::V) {
        // SAFETY: guaranteed by the caller.
        unsafe { Self::store(to, value) }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const f32, count: usize) -> Self::V {
        let mut value = [0.0; 4];
        // SAFETY: guaranteed by the caller; `count` is less than the four values of the buffer.
        unsafe {
            std::ptr::copy_nonoverlapping(from, value.as_mut_ptr(), count);
            vld1q_f32(value.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_partial(to: *mut f32, value: Self::V, count: usize) {
        let mut buffer = [0.0; 4];
        // SAFETY: guaranteed by the caller; `count` is less than the four values of the buffer.
        unsafe {
            vst1q_f32(buffer.as_mut_ptr(), value);
            std::ptr::copy_nonoverlapping(buffer.as_ptr(), to, count);
        }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { vminq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn max_or_nan(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn drop_where_at_most(value: Self::V, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let dropped = vcleq_f32(a, b);
            vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(value), dropped))
        }
    }
    #[inline(always)]
    unsafe fn keep_where_greater(value: Self::V, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let keep = vcgtq_f32(a, b);
            vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(value), keep))
        }
    }
}
