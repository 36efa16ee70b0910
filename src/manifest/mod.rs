//! Reads a TOML file into a checked [`Manifest`], or reports every problem in it with the line underlined.
//!
//! **Reading order** `checked` (the result), `raw` (the tables as written, with `value` and `rounds`), `reference` (what `in`
//! refers to), `params` (a stage's parameters), `wiring` and `cycle` (how stages are connected), `metrics`
//! (whether a metric that a stage needs is measured), `check` (all checks in order), `load` (the entry point), then [`overrides`]
//! (`--set` and `--vary`), `resolved` (back to TOML), [`schema`] (the JSON Schema) and [`describe`] (`dnc-run stages`).
//!
//! This module knows neither the store nor runs. Apart from the manifest's text it only looks up whether the files that
//! stages read exist.

mod check;
mod checked;
mod cycle;
pub mod describe;
pub mod diagnostic;
mod load;
mod metrics;
mod options;
pub mod overrides;
mod params;
mod raw;
mod reference;
mod refusal;
mod resolved;
mod rounds;
pub mod schema;
pub mod suggest;
#[cfg(test)]
mod tests;
pub(crate) mod text;
pub(crate) mod value;
mod wiring;

pub use checked::{Connection, Manifest, Per, ResourceOverride, Retain, StageNode};
pub use diagnostic::{Diagnostic, Diagnostics, Paint};
pub use options::ReadOptions;
pub use overrides::{Override, Variation, vary};
pub(crate) use params::value_at;
pub use reference::{Reference, When, Which, learner_then};
pub use value::parse_bytes;
