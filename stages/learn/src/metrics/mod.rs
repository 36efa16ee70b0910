//! Evaluation metrics. Each is a function over slices, in a file with its formula and its source.
//!
//! Retrieval metrics take a [`Ranking`] and return one value per query ([`PerQuery`]), because paired tests
//! ([`crate::statistics`]) compare two runs query by query; tables show the mean.
//!
//! **Reading order** [`ranking`]; [`recall_at_k`], [`r_precision`], [`map_at_r`], [`average_precision`], [`cmc`]; clusterings
//! compared with labels: [`contingency`], [`nmi`], [`ami`]; properties of the embedding: [`few_shot`], [`alignment`],
//! [`uniformity`], [`spectrum`].

mod alignment;
mod ami;
mod average_precision;
mod cmc;
mod contingency;
mod few_shot;
mod map_at_r;
mod nmi;
mod r_precision;
mod ranking;
mod recall_at_k;
mod spectrum;
mod uniformity;

pub use alignment::{alignment, alignment_unless};
pub use ami::ami;
pub use average_precision::average_precision;
pub use cmc::cmc;
pub use few_shot::{FewShot, FewShotAccuracy, few_shot, few_shot_unless};
pub use map_at_r::map_at_r;
pub use nmi::nmi;
pub use r_precision::r_precision;
pub use ranking::{PerQuery, Query, Ranking, relevant_across_cameras, relevant_between, relevant_within};
pub use recall_at_k::recall_at_k;
pub use spectrum::{Spectrum, spectrum};
pub use uniformity::{uniformity, uniformity_unless};
