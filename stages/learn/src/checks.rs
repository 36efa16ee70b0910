//! Range checks for hyper-parameters, shared by losses, miners, subspaces and samplers.

use std::ops::RangeInclusive;

use crate::error::{LearnError, Result};

/// Checks that `value` lies in `range`.
pub(crate) fn check_range(parameter: &'static str, value: f64, range: RangeInclusive<f64>) -> Result<()> {
    let reason = format!("it must lie between {} and {}", range.start(), range.end());
    check(parameter, value, range.contains(&value), reason)
}

/// Checks that a scale is above zero.
pub(crate) fn check_scale(parameter: &'static str, value: f64) -> Result<()> {
    check(parameter, value, value.is_finite() && value > 0.0, "it must be above 0".to_owned())
}

/// Checks that a weight or a tolerance is not negative.
pub(crate) fn check_weight(parameter: &'static str, value: f64) -> Result<()> {
    check(parameter, value, value.is_finite() && value >= 0.0, "it must be 0 or more".to_owned())
}

fn check(parameter: &'static str, value: f64, is_valid: bool, reason: String) -> Result<()> {
    if is_valid { Ok(()) } else { Err(LearnError::Config { parameter, value: value.to_string(), reason }) }
}
