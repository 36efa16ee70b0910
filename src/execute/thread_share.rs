//! The threads that a running node may use, out of all those in its pool. The others are parked until nodes that finish
//! leave theirs to those that go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::sync::lock;

/// A number of threads that can grow while the node runs.
#[derive(Debug)]
pub struct ThreadShare {
    most: usize,
    now: Mutex<usize>,
    grown: Condvar,
}

impl ThreadShare {
    /// `now` threads at first, and at most `most`.
    pub fn new(now: usize, most: usize) -> Self {
        Self { most, now: Mutex::new(now), grown: Condvar::new() }
    }

    /// A constant number of threads.
    pub fn fixed(threads: usize) -> Self {
        Self::new(threads, threads)
    }

    /// The most threads that the node can use.
    pub fn most(&self) -> usize {
        self.most
    }

    /// The threads that it may use now.
    pub fn now(&self) -> usize {
        *lock(&self.now)
    }

    /// Adds one thread.
    pub fn grow(&self) {
        *lock(&self.now) += 1;
        self.grown.notify_all();
    }

    /// Blocks until thread number `thread` of the pool, from 0, may work, or until the pool has `ended`.
    pub fn wait(&self, thread: usize, ended: &AtomicBool) {
        let is_parked = |now: &mut usize| *now <= thread && !ended.load(Ordering::Relaxed);
        drop(self.grown.wait_while(lock(&self.now), is_parked).unwrap_or_else(PoisonError::into_inner));
    }

    /// Sets `ended` and wakes the threads that are parked.
    pub fn end(&self, ended: &AtomicBool) {
        let _now = lock(&self.now);
        ended.store(true, Ordering::Relaxed);
        self.grown.notify_all();
    }
}
