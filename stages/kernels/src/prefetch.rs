//! Prefetching of rows. The exact distances of candidates read rows in an order that hardware prefetchers cannot predict, but which
//! is known in advance.

/// Cache lines prefetched per row; hardware prefetchers recognise the sequential reads after these.
const LINES: usize = 16;

/// Values of a cache line.
const LINE: usize = 16;

/// Prefetches the start of a row. It affects nothing but speed.
#[inline(always)]
pub(crate) fn prefetch(row: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in row.chunks(LINE).take(LINES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 machine has the instruction, and it accepts any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (row, LINES, LINE);
}
