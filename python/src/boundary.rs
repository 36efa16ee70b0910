//! What every function of the interface does: reads texts, passes handles, catches panics and hands over errors.

use std::any::Any;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use dnc_run::error_chain::error_chain;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The message of an error, as the command line prints it.
#[derive(Debug)]
pub(crate) struct Problem(pub(crate) String);

impl<E: std::error::Error> From<E> for Problem {
    fn from(error: E) -> Self {
        Self(error_chain(&error))
    }
}

/// Frees a text. Null is ignored.
///
/// # Safety
/// `text` is null or was returned by a function of this library, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_free_text(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: by the caller's promise it came from `CString::into_raw`.
        drop(unsafe { CString::from_raw(text) });
    }
}

/// Calls `work` and returns a handle to its value; null, and the message in `error`, if it fails or panics.
///
/// # Safety
/// `error` can be written to.
pub(crate) unsafe fn handle<T>(error: *mut *mut c_char, work: impl FnOnce() -> Result<T, Problem>) -> *mut T {
    // SAFETY: the same promise.
    unsafe { guarded(error, work) }.map_or(ptr::null_mut(), |value| Box::into_raw(Box::new(value)))
}

/// Calls `work` and returns its value as JSON; null, and the message in `error`, if it fails or panics.
///
/// # Safety
/// `error` can be written to.
pub(crate) unsafe fn json<T: Serialize>(
    error: *mut *mut c_char,
    work: impl FnOnce() -> Result<T, Problem>,
) -> *mut c_char {
    let to_text = || Ok(text(&serde_json::to_string(&work()?)?));
    // SAFETY: the same promise.
    unsafe { guarded(error, to_text) }.unwrap_or(ptr::null_mut())
}

/// Calls `work` and returns whether it succeeded; `error` has the message if it did not.
///
/// # Safety
/// `error` can be written to.
pub(crate) unsafe fn success(error: *mut *mut c_char, work: impl FnOnce() -> Result<(), Problem>) -> bool {
    // SAFETY: the same promise.
    unsafe { guarded(error, work) }.is_some()
}

unsafe fn guarded<T>(error: *mut *mut c_char, work: impl FnOnce() -> Result<T, Problem>) -> Option<T> {
    // What a panic leaves half done is dropped: every call works on its own values or on handles that it only reads.
    let result = catch_unwind(AssertUnwindSafe(work));
    let message = match result {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(Problem(message))) => message,
        Err(panic) => panic_message(panic.as_ref()),
    };
    // SAFETY: by the caller's promise.
    unsafe { error.write(text(&message)) };
    None
}

/// What is said of a panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|&text| text.to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    format!("This is a bug in dnc-run, please report it: {text}")
}

/// A text that [`dnc_free_text`] frees. Zero bytes, which C's texts end with, are left out.
pub(crate) fn text(text: &str) -> *mut c_char {
    let bytes = text.bytes().filter(|&byte| byte != 0).collect::<Vec<u8>>();
    CString::new(bytes).map_or(ptr::null_mut(), CString::into_raw)
}

/// Reads JSON.
///
/// # Safety
/// `text` points to bytes that end with a zero.
pub(crate) unsafe fn parsed<T: DeserializeOwned>(text: *const c_char) -> Result<T, Problem> {
    // SAFETY: by the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    Ok(serde_json::from_slice(text.to_bytes())?)
}

/// Frees a handle. Null is ignored.
///
/// # Safety
/// `handle` is null or came from [`handle()`], and is not used again.
pub(crate) unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: by the caller's promise it came from `Box::into_raw`.
        drop(unsafe { Box::from_raw(handle) });
    }
}
