//! Rows that are read soon, fetched meanwhile: the places of candidates are known before their distances are computed, and nothing in
//! their order tells the machine.

/// Cache lines of a row that are asked for; behind them the machine sees for itself where reading goes on.
const LINES: usize = 16;

/// Values of a cache line.
const LINE: usize = 16;

/// Asks for a row. It changes nothing but time.
#[inline(always)]
pub(crate) fn prefetch(row: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in row.chunks(LINE).take(LINES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 machine has the instruction, and it may be given any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (row, LINES, LINE);
}
