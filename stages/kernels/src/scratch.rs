//! Scratch memory that is kept between calls: fresh pages cost more than the work done in them.

use std::cell::RefCell;

thread_local! {
    /// One vector for each depth of nested calls on this thread.
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with `length` values of unspecified content.
pub(crate) fn with<T>(length: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    let mut values = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if values.len() < length {
        values.resize(length, 0.0);
    }
    let result = work(&mut values[..length]);
    SPARE.with_borrow_mut(|spare| spare.push(values));
    result
}
