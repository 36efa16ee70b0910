//! Mutable memory shared between rayon tasks that write disjoint parts of it.

/// A pointer into an output of which each task writes its own part.
#[derive(Debug, Clone, Copy)]
pub(super) struct SharedMut(*mut f32);

// SAFETY: a pointer may move between threads; code that writes through it ensures that the parts are disjoint.
unsafe impl Send for SharedMut {}
// SAFETY: as above.
unsafe impl Sync for SharedMut {}

impl SharedMut {
    pub(super) fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// The part that begins after the first `offset` values.
    pub(super) fn offset_by(self, offset: usize) -> Self {
        Self(self.0.wrapping_add(offset))
    }

    /// The pointer. A method, so that closures capture the wrapper and not the bare pointer, which is not `Send`.
    pub(super) fn pointer(self) -> *mut f32 {
        self.0
    }
}

/// A vector of `length` values written by `write`, without the zeros that `vec!` would write first.
///
/// # Safety
/// `write` writes every value.
pub(super) unsafe fn written_by(length: usize, write: impl FnOnce(SharedMut)) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(length);
    write(SharedMut(values.as_mut_ptr()));
    // SAFETY: the caller ensures that all `length` values are written, and the capacity holds them.
    unsafe { values.set_len(length) };
    values
}
