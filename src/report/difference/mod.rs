//! Comparison of runs: their metrics side by side, and whether a difference is more than chance.
//!
//! Reading order: [`group`] (runs that differ only by their seed), [`comparison`] (statistics; no input or output),
//! [`metric_filter`] (which metrics are shown), [`images_per_second`] (training speed), then the forms of output:
//! [`side_by_side`] and [`by_seed`] as text ([`text_form`]), [`json`] and [`parquet`] for programs.

pub mod by_seed;
pub mod comparison;
pub mod group;
mod group_name;
pub mod images_per_second;
pub mod json;
pub mod metric_filter;
pub mod parquet;
pub mod side_by_side;
pub mod text_form;
