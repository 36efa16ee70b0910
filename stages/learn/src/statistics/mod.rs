//! Whether a difference between two runs is more than chance.
//!
//! **Reading order** [`mean_interval`], [`paired_t`] and [`welch`] over seeds; [`paired_bootstrap`] and [`sign_flip_test`] over queries, both on
//! [`paired`]; [`Verdict`] in a word.

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
