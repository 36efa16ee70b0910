//! The sections of a report, one file each: data in, HTML out.

pub(super) mod comparison;
pub(super) mod confusions;
pub(super) mod gallery;
pub(super) mod map;
pub(super) mod nuisances;
pub(super) mod parts;
pub(super) mod reproduce;
pub(super) mod rounds;
pub(super) mod run;
pub(super) mod shape;
pub(super) mod subspaces;
pub(super) mod summary;
pub(super) mod training;
