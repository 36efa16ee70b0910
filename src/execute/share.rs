//! The threads that a running node may use, of all that its pool has: the others stand still until nodes that end leave
//! theirs to those that go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A number of threads that can grow while the node runs.
#[derive(Debug)]
pub struct Share {
    most: usize,
    now: Mutex<usize>,
    grown: Condvar,
}

impl Share {
    /// `now` threads, and up to `most` in the end.
    pub fn new(now: usize, most: usize) -> Self {
        Self { most, now: Mutex::new(now), grown: Condvar::new() }
    }

    /// As many threads from first to last.
    pub fn fixed(threads: usize) -> Self {
        Self::new(threads, threads)
    }

    /// Threads that the node can use at most.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Threads that it may use now.
    pub fn now(&self) -> usize {
        *self.lock()
    }

    /// Lets it use one more.
    pub fn grow(&self) {
        *self.lock() += 1;
        self.grown.notify_all();
    }

    /// Returns as soon as the pool's `thread`, from 0, may work, or as the pool has `ended`.
    pub fn wait(&self, thread: usize, ended: &AtomicBool) {
        let too_few = |now: &mut usize| *now <= thread && !ended.load(Ordering::Relaxed);
        drop(self.grown.wait_while(self.lock(), too_few).unwrap_or_else(PoisonError::into_inner));
    }

    /// Tells the threads that wait that their pool has `ended`.
    pub fn end(&self, ended: &AtomicBool) {
        let _now = self.lock();
        ended.store(true, Ordering::Relaxed);
        self.grown.notify_all();
    }

    /// The number is right at any time, whoever panicked.
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
