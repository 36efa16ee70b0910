//! What no hyper-parameter can be, whichever loss, miner or subspace has it.

use std::ops::RangeInclusive;

use crate::error::{LearnError, Result};

/// Refuses what lies outside `range`.
pub(crate) fn check_range(parameter: &'static str, value: f64, range: RangeInclusive<f64>) -> Result<()> {
    let reason = format!("it must lie between {} and {}", range.start(), range.end());
    check(parameter, value, range.contains(&value), reason)
}

/// Refuses a scale that is not above zero.
pub(crate) fn check_scale(parameter: &'static str, value: f64) -> Result<()> {
    check(parameter, value, value.is_finite() && value > 0.0, "it must be above 0".to_owned())
}

/// Refuses a weight or an allowance below zero.
pub(crate) fn check_weight(parameter: &'static str, value: f64) -> Result<()> {
    check(parameter, value, value.is_finite() && value >= 0.0, "it must be 0 or more".to_owned())
}

fn check(parameter: &'static str, value: f64, is_meant: bool, reason: String) -> Result<()> {
    if is_meant { Ok(()) } else { Err(LearnError::Config { parameter, value: value.to_string(), reason }) }
}
