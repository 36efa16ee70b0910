//! The crate's policy for poisoned locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, ignoring poisoning.
///
/// Every mutex of this crate protects a value that is replaced as a whole or updated by code that cannot panic, so a
/// panic in another thread leaves no half-written value behind.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
