//! Divide-and-conquer metric learning: backbones, weights, optimisers, losses, miners, samplers, subspaces, division
//! and metrics. Takes tensors, slices and ids; returns tensors, indices and numbers.
//!
//! This crate deliberately knows nothing about Arrow, Parquet, stages or storage. It owns no thread pool: it runs in the
//! rayon pool of its caller and gives the same bits for any number of threads.
//!
//! **Reading order** [`spec`], [`parameters`] and [`model`]; [`losses`], [`miners`], [`samplers`], [`subspaces`];
//! [`training`] puts them together; [`division`] and [`merge`] are what happens between trainings; [`metrics`] and
//! [`statistics`] evaluate the result.
//!
//! **Papers** cited by short names throughout:
//! - DC19: Sanakoyeu, Tschernezki, Büchler and Ommer, "Divide and Conquer the Embedding Space for Metric Learning",
//!   CVPR 2019.
//! - DC21: Sanakoyeu, Ma, Tschernezki and Ommer, "Improving Deep Metric Learning by Divide and Conquer", TPAMI 2021,
//!   arXiv 2109.04003.

pub mod backbones;
pub mod checks;
pub mod division;
pub mod error;
pub mod fit;
pub mod losses;
pub mod merge;
pub mod metrics;
pub mod miners;
pub mod model;
pub mod onnx;
pub mod optimise;
pub mod pairwise;
pub mod parameters;
pub mod samplers;
pub mod schedules;
pub mod spec;
pub mod statistics;
pub mod streams;
pub mod subspaces;
pub mod training;
pub mod weights;
