//! A sweep: many trials of a manifest, to find the settings that are best on validation classes.
//!
//! A trial is a setting of the space; it runs once with each of the sweep's seeds. Run folders are the only state: a run stands
//! for a trial if its resolved manifest is the trial's and no key of its nodes has changed ([`known`]). The same call therefore
//! goes on after a kill, and what a trial has computed until one round it need not compute again to run further.
//!
//! **Reading order** [`space`] (what varies), [`samplers`] (which settings are tried), [`objective`], [`halving`], [`mod@file`] (how
//! they are read), [`trial`], [`known`], [`measure`] (runs of trials, several at once), [`conduct`] (the course of a sweep),
//! [`result`], [`summary`] and [`json`].

pub mod conduct;
pub mod file;
pub mod halving;
pub mod json;
mod known;
pub mod measure;
mod numbers;
pub mod objective;
pub mod result;
pub mod samplers;
pub mod schema;
pub mod space;
mod space_table;
pub mod summary;
pub mod trial;

pub use conduct::{Course, Sweep};
pub use file::SweepFile;
pub use measure::{SweepListener, SweepOptions};
pub use trial::{Reached, Trial, TrialRun};
