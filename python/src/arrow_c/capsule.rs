//! Capsules, as Python passes streams from one library to another. Python makes them; this library frees what nobody has taken over.

use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;

use super::stream::ArrowArrayStream;
use crate::boundary::free;

/// `PyCapsule_GetPointer` of the interpreter that this library is loaded in, which is not linked to it.
type GetPointer = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;

static GET_POINTER: OnceLock<GetPointer> = OnceLock::new();

/// The name that a capsule with a stream must have.
const NAME: &CStr = c"arrow_array_stream";

/// Says how to look into a capsule. To be called before [`dnc_free_capsule`].
#[unsafe(no_mangle)]
pub extern "C" fn dnc_use_capsules(get_pointer: GetPointer) {
    GET_POINTER.get_or_init(|| get_pointer);
}

/// The destructor of a capsule: frees its stream, and releases it first unless another library has taken it over.
///
/// # Safety
/// Python calls it, once, with a capsule that has a stream of this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_free_capsule(capsule: *mut c_void) {
    let Some(get_pointer) = GET_POINTER.get() else { return };
    // SAFETY: the function is Python's own, and the capsule is alive until this function returns.
    unsafe { free(get_pointer(capsule, NAME.as_ptr()).cast::<ArrowArrayStream>()) };
}
