//! Checks of hyper-parameters, shared by losses, miners, subspaces and samplers, and of computed values.

use std::ops::RangeInclusive;

use candle_core::Tensor;

use crate::error::{LearnError, Result};

/// The values of a tensor of any shape, row by row. `what` says in the plural what was computed.
///
/// # Errors
/// One of them is infinite or NaN, or the device fails.
pub fn finite_values(tensor: &Tensor, what: &'static str) -> Result<Vec<f32>> {
    let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    if values.iter().all(|value| value.is_finite()) { Ok(values) } else { Err(LearnError::NotFinite { what }) }
}

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
