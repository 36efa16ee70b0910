//! The buffers of a batch.

use std::ffi::c_void;
use std::ptr;

use arrow::array::{Array as _, ArrayData, BooleanBufferBuilder, RecordBatch, StructArray};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;

/// An array with its children. Whoever receives it calls `release`.
#[repr(C)]
pub(crate) struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut ArrowArray,
    dictionary: *mut ArrowArray,
    release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    private_data: *mut c_void,
}

/// What an [`ArrowArray`] points to.
struct Owned {
    /// Kept alive: the pointers lead into them.
    _buffers: Vec<Option<Buffer>>,
    pointers: Vec<*const c_void>,
    children: Vec<*mut ArrowArray>,
}

impl ArrowArray {
    /// A batch: a structure whose children are the columns.
    pub(super) fn of_batch(batch: &RecordBatch) -> Self {
        Self::new(&StructArray::from(batch.clone()).to_data())
    }

    /// An array that marks the end of a stream.
    pub(super) fn end() -> Self {
        let (buffers, children, dictionary, private_data) =
            (ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        let (length, null_count, offset, n_buffers, n_children) = (0, 0, 0, 0, 0);
        Self {
            length,
            null_count,
            offset,
            n_buffers,
            n_children,
            buffers,
            children,
            dictionary,
            release: None,
            private_data,
        }
    }

    fn new(data: &ArrayData) -> Self {
        let leaked = |data: &ArrayData| Box::into_raw(Box::new(Self::new(data)));
        let (children, dictionary) = match (data.data_type(), data.child_data()) {
            (DataType::Dictionary(..), [values]) => (Vec::new(), leaked(values)),
            (_, children) => (children.iter().map(leaked).collect(), ptr::null_mut()),
        };
        // A column of nulls has no buffer at all; all others begin with the bits of validity.
        let has_validity = *data.data_type() != DataType::Null;
        let validity = has_validity.then(|| validity(data));
        let buffers: Vec<Option<Buffer>> =
            validity.into_iter().chain(data.buffers().iter().cloned().map(Some)).collect();
        let pointer = |buffer: &Option<Buffer>| buffer.as_ref().map_or(ptr::null(), |buffer| buffer.as_ptr().cast());
        let pointers = buffers.iter().map(pointer).collect();
        let mut owned = Box::new(Owned { _buffers: buffers, pointers, children });
        Self {
            length: data.len() as i64,
            null_count: if has_validity { data.null_count() as i64 } else { data.len() as i64 },
            offset: data.offset() as i64,
            n_buffers: owned.pointers.len() as i64,
            n_children: owned.children.len() as i64,
            buffers: owned.pointers.as_mut_ptr(),
            children: owned.children.as_mut_ptr(),
            dictionary,
            release: Some(release),
            private_data: Box::into_raw(owned).cast(),
        }
    }
}

impl Drop for ArrowArray {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: the structure is whole, since it has not been released.
            unsafe { release(self) };
        }
    }
}

/// The bits of validity, beginning at the same offset as the values; none if nothing is null.
fn validity(data: &ArrayData) -> Option<Buffer> {
    let bits = data.nulls()?.inner();
    if bits.offset() == data.offset() {
        return Some(bits.inner().clone());
    }
    let mut moved = BooleanBufferBuilder::new(data.offset() + bits.len());
    moved.append_n(data.offset(), false);
    moved.append_buffer(bits);
    Some(moved.finish().into_inner())
}

/// Frees what an array points to, and marks it as released.
unsafe extern "C" fn release(array: *mut ArrowArray) {
    // SAFETY: the caller passes an array that was made above and has not been released; what it points to came from `Box::into_raw`. A
    // child that the caller has taken for itself is marked as released, and only its structure is freed.
    unsafe {
        let array = &mut *array;
        let owned: Box<Owned> = Box::from_raw(array.private_data.cast());
        for child in &owned.children {
            drop(Box::from_raw(*child));
        }
        if !array.dictionary.is_null() {
            drop(Box::from_raw(array.dictionary));
        }
        array.release = None;
    }
}
