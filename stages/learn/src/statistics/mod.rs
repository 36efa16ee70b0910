//! Statistical tests for the difference between two runs.
//!
//! **Reading order** over seeds: [`mean_interval`], [`paired_t`] and [`welch`]; over queries: [`paired`], [`paired_bootstrap`] and
//! [`sign_flip_test`]; the summary of a test: [`Verdict`].

mod bootstrap;
mod interval;
mod paired;
mod paired_t;
mod sign_flip;
mod verdict;
mod welch;

pub use bootstrap::paired_bootstrap;
pub use interval::{Interval, mean_interval};
pub use paired::Difference;
pub use paired_t::paired_t;
pub use sign_flip::sign_flip_test;
pub use verdict::Verdict;
pub use welch::welch;
