//! The crate's policy for poisoned locks: values behind a lock are replaced whole, so a panic elsewhere cannot leave one
//! half-written, and the lock is taken as if nothing had happened.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock, whether or not a thread panicked while it held it.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
