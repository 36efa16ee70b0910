//! The method of divide and conquer for metric learning: backbones, weights, optimisers, losses, miners, samplers,
//! subspaces, division and metrics. Tensors, slices and ids in; tensors, indices and numbers out.
//!
//! This crate deliberately knows neither Arrow nor Parquet nor stages nor where anything is stored, and it owns no
//! thread pool: it runs in the rayon pool of its caller and gives the same bits for any number of threads.

pub mod backbones;
mod checks;
pub mod comparisons;
pub mod division;
pub mod error;
pub mod losses;
pub mod merge;
pub mod metrics;
pub mod miners;
pub mod model;
pub mod optimise;
pub mod parameters;
pub mod samplers;
pub mod schedules;
pub mod statistics;
pub mod streams;
pub mod subspaces;
pub mod training;
pub mod weights;
