//! The engine behind a C interface, for the Python module `dnc`, which calls it through `ctypes`.
//!
//! A C interface needs neither Python nor another crate to build, works with every Python that there is, and `ctypes` lets other Python
//! threads run during each call. Tables cross it as Arrow streams, which Python's libraries read without a copy; everything else that is
//! not pixels or vectors is JSON.
//!
//! **Reading order** [`boundary`] (handles, texts, errors), [`running`] (a run in progress), [`opened`] (a run that has ended),
//! [`tables`] (its tables), [`model`], [`searching`]; [`pictures`] (images from Python), [`arrow_c`] (the Arrow C stream interface).
//!
//! Rules of every function: a handle that it returns is freed by the function that its type names; a text that it returns is freed by
//! [`dnc_free_text`](boundary::dnc_free_text); a null handle or text means failure, and `error` then has the message. A panic ends there,
//! too, and not in Python. Handles may be used by several threads at once, except while they are freed.

pub mod arrow_c;
pub mod boundary;
pub mod model;
pub mod opened;
pub mod pictures;
pub mod running;
pub mod searching;
pub mod tables;

use dnc_kernels::CachingAllocator;

/// As in the program `dnc-run`. Python has its own allocator.
#[global_allocator]
static ALLOCATOR: CachingAllocator = CachingAllocator::new();
