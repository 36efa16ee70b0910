//! Locks between threads, and the crate's one policy for poisoned ones: a lock that a panicking thread held is used as if
//! nothing had happened.
//!
//! This is sound because no code in this crate can panic between two changes of a protected value that belong together. Each
//! critical section either makes a single change or only calls functions that return errors, so the value is complete at
//! every point where a panic could leave it.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    ignore(mutex.lock())
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    ignore(lock.read())
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    ignore(lock.write())
}

/// The guard of a lock, or of a wait on a condition variable, whether or not the lock is poisoned.
pub(crate) fn ignore<G>(result: Result<G, PoisonError<G>>) -> G {
    result.unwrap_or_else(PoisonError::into_inner)
}
