//! Analyses: what a report says, as plain data, computed from the evidence of a run without any HTML.
//!
//! Each file holds one analysis with its definition: [`calibration`] (what a distance means), [`gallery`] (which queries are
//! shown), [`confusions`] (classes that are mistaken for each other), [`hubs`], [`label_errors`], [`leaks`], [`rounds`] (are more
//! learners better), [`training`], [`subspaces`] and [`clusters`] (what each learner sees), [`map`] (with [`tsne`]),
//! [`nuisance_examples`], [`shape`], [`timeline`], [`comparison`] (of runs).

pub mod calibration;
pub mod clusters;
pub mod comparison;
pub mod confusions;
pub mod gallery;
pub mod hubs;
pub mod label_errors;
pub mod leaks;
pub mod map;
pub mod nuisance_examples;
pub mod nuisance_flips;
pub mod rounds;
pub mod shape;
pub mod subspaces;
pub mod timeline;
pub mod training;
pub mod tsne;
