//! What an embedding is judged by. A metric is a function over slices in a file with its formula and its source.
//!
//! Retrieval metrics judge a [`Ranking`] and give a value for every query ([`PerQuery`]), because a paired test
//! ([`crate::statistics`]) compares two runs query by query; a table shows the mean.
//!
//! **Reading order** [`ranking`]; [`recall_at_k`], [`precision_at_1`], [`r_precision`], [`map_at_r`], [`average_precision`],
//! [`cmc`]; then clusterings against labels: [`contingency`], [`nmi`], [`ami`]; then the embedding itself: [`few_shot`],
//! [`alignment`], [`uniformity`], [`spectrum`].

mod alignment;
mod ami;
mod average_precision;
mod cmc;
mod contingency;
mod few_shot;
mod map_at_r;
mod nmi;
mod precision_at_1;
mod r_precision;
mod ranking;
mod recall_at_k;
mod spectrum;
mod uniformity;

pub use alignment::alignment;
pub use ami::ami;
pub use average_precision::average_precision;
pub use cmc::cmc;
pub use few_shot::{FewShot, FewShotAccuracy, few_shot};
pub use map_at_r::map_at_r;
pub use nmi::nmi;
pub use precision_at_1::precision_at_1;
pub use r_precision::r_precision;
pub use ranking::{PerQuery, Query, Ranking, relevant_across_cameras, relevant_between, relevant_within};
pub use recall_at_k::recall_at_k;
pub use spectrum::{Spectrum, spectrum};
pub use uniformity::uniformity;
