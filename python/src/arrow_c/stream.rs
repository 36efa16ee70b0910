//! Batches one after the other.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::array::ArrowArray;
use super::schema::ArrowSchema;

/// The error code for a type that cannot be passed on: `EINVAL`.
const INVALID: c_int = 22;

/// A stream of batches. Whoever receives it calls `release`.
#[repr(C)]
pub struct ArrowArrayStream {
    get_schema: Option<unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowSchema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowArray) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut ArrowArrayStream) -> *const c_char>,
    release: Option<unsafe extern "C" fn(*mut ArrowArrayStream)>,
    private_data: *mut c_void,
}

/// What is still to be passed on.
struct Rest {
    schema: SchemaRef,
    batches: std::vec::IntoIter<RecordBatch>,
    error: CString,
}

impl ArrowArrayStream {
    /// A stream of these batches.
    pub(crate) fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let rest = Box::new(Rest { schema, batches: batches.into_iter(), error: CString::default() });
        Self {
            get_schema: Some(get_schema),
            get_next: Some(get_next),
            get_last_error: Some(get_last_error),
            release: Some(release),
            private_data: Box::into_raw(rest).cast(),
        }
    }
}

impl Drop for ArrowArrayStream {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: the structure is whole, since it has not been released.
            unsafe { release(self) };
        }
    }
}

unsafe extern "C" fn get_schema(stream: *mut ArrowArrayStream, schema: *mut ArrowSchema) -> c_int {
    // SAFETY: the caller passes a stream that was made above and has not been released, and room for a schema.
    unsafe {
        let rest = &mut *(*stream).private_data.cast::<Rest>();
        match ArrowSchema::of_table(&rest.schema) {
            Ok(found) => {
                schema.write(found);
                0
            }
            Err(error) => {
                rest.error = CString::new(error.to_string()).unwrap_or_default();
                INVALID
            }
        }
    }
}

unsafe extern "C" fn get_next(stream: *mut ArrowArrayStream, array: *mut ArrowArray) -> c_int {
    // SAFETY: the caller passes a stream that was made above and has not been released, and room for an array.
    unsafe {
        let rest = &mut *(*stream).private_data.cast::<Rest>();
        array.write(rest.batches.next().map_or_else(ArrowArray::end, |batch| ArrowArray::of_batch(&batch)));
    }
    0
}

unsafe extern "C" fn get_last_error(stream: *mut ArrowArrayStream) -> *const c_char {
    // SAFETY: the caller passes a stream that was made above and has not been released.
    let rest = unsafe { &*(*stream).private_data.cast::<Rest>() };
    if rest.error.is_empty() { ptr::null() } else { rest.error.as_ptr() }
}

/// Frees what is left of a stream, and marks it as released.
unsafe extern "C" fn release(stream: *mut ArrowArrayStream) {
    // SAFETY: the caller passes a stream that was made above and has not been released.
    unsafe {
        drop(Box::from_raw((*stream).private_data.cast::<Rest>()));
        (*stream).release = None;
    }
}
