//! Sums of long slices, on all threads, each value in a fixed order.

use rayon::prelude::*;

/// Values per task in [`add_into`].
const CHUNK: usize = 1 << 15;

/// `sum += add`.
pub(super) fn add_into(sum: &mut [f32], add: &[f32]) {
    sum.par_chunks_mut(CHUNK)
        .zip(add.par_chunks(CHUNK))
        .for_each(|(sum, add)| sum.iter_mut().zip(add).for_each(|(sum, add)| *sum += add));
}

/// Largest number of parts that the pixels of a weight's gradient are divided into, each with sums of its own.
pub(super) const MOST_PARTS: usize = 8;

/// Number of parts for sums of `length` values over `units`, which depends on these sizes alone: at most [`MOST_PARTS`], and fewer
/// where the sums of all parts together would take much memory.
pub(super) fn part_count(length: usize, units: usize) -> usize {
    /// Upper bound on the number of values in all partial sums together.
    const PARTIAL_VALUES: usize = 1 << 21;
    (PARTIAL_VALUES / length).clamp(1, MOST_PARTS).min(units)
}

/// Sums the parts of `length` values each, in order, into the first and drops the others.
pub(super) fn sum_parts(parts: &mut Vec<f32>, length: usize) {
    // A block of the sum stays in the cache while all parts are added.
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
