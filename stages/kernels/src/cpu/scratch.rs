//! Scratch memory that each thread keeps between calls: page faults on fresh memory cost more than the work done in it.

use std::cell::RefCell;

/// Values left free between the rows of a scratch matrix: one cache line. Rows whose addresses differ by a power of two evict each
/// other from the cache.
pub(super) const ROW_GAP: usize = 16;

thread_local! {
    /// One vector for each level of nested calls on this thread.
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with `length` values of unspecified content.
pub(super) fn with<T>(length: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    let mut values = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if values.len() < length {
        values.resize(length, 0.0);
    }
    let result = work(&mut values[..length]);
    SPARE.with_borrow_mut(|spare| spare.push(values));
    result
}
