//! Readers of numbers in a sweep.

use toml::Spanned;
use toml::de::DeValue;

use crate::manifest::diagnostic::Diagnostic;
use crate::manifest::value::{non_negative, wrong_type};

/// A list of different non-negative integers, at least one.
pub(super) fn list(key: &str, value: Spanned<DeValue<'_>>) -> Result<Vec<u64>, Diagnostic> {
    let span = value.span();
    let DeValue::Array(items) = value.get_ref() else {
        return Err(wrong_type(key, "a list of integers", &value));
    };
    let mut numbers = Vec::new();
    for item in items {
        let number = non_negative(key, item)?;
        if numbers.contains(&number) {
            return Err(Diagnostic::at(item.span(), format!("`{key}` lists {number} twice")));
        }
        numbers.push(number);
    }
    if numbers.is_empty() {
        return Err(Diagnostic::at(span, format!("`{key}` is empty")));
    }
    Ok(numbers)
}

/// A finite number, whole or not.
pub(super) fn real(key: &str, value: &Spanned<DeValue<'_>>) -> Result<f64, Diagnostic> {
    let found = match value.get_ref() {
        DeValue::Integer(_) => whole(value).map(|number| number as f64),
        DeValue::Float(float) => float.as_str().parse().ok(),
        _ => None,
    };
    found.filter(|number: &f64| number.is_finite()).ok_or_else(|| wrong_type(key, "a number", value))
}

/// The value, if it is written as an integer.
pub(super) fn whole(value: &Spanned<DeValue<'_>>) -> Option<i64> {
    let integer = value.get_ref().as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
