//! Parameters of a stage as JSON: read and checked, and written with the digits that people wrote.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Number, Value};

/// An invalid value of a parameter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParamError {
    /// The dotted key within the stage's table: `loss.margin`. Empty for the table as a whole.
    pub key: String,
    /// What is wrong with the value.
    pub message: String,
    /// How to fix it.
    pub hint: Option<String>,
}

impl ParamError {
    /// An error about the value of `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), hint: None }
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Reads parameters; unknown keys and values of a wrong type are refused.
///
/// # Errors
/// Names the parameter.
pub(super) fn read<T: DeserializeOwned>(params: Value) -> Result<T, ParamError> {
    // Tracking the path costs more than reading, so it is done only for parameters that are refused.
    T::deserialize(&params).or_else(|_| {
        serde_path_to_error::deserialize(params)
            .map_err(|error| ParamError::new(key_of(error.path()), error.into_inner().to_string()))
    })
}

/// The path of a parse error; empty for the table itself, which serde writes as a dot.
fn key_of(path: &serde_path_to_error::Path) -> String {
    match path.to_string() {
        root if root == "." => String::new(),
        key => key,
    }
}

/// Every parameter with its value, defaults included.
pub(super) fn written<T: Serialize>(params: &T) -> Value {
    const PLAIN: &str = "parameters are plain structs with string keys";
    let mut value = serde_json::to_value(params).expect(PLAIN);
    if has_float(&value) {
        let text = serde_json::to_string(params).expect(PLAIN);
        shorten(&mut value, &serde_json::from_str(&text).expect("serde wrote it"));
    }
    value
}

fn has_float(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_float),
        Value::Object(map) => map.values().any(has_float),
        _ => false,
    }
}

/// Gives numbers that come from an `f32` the digits that people wrote: a `Value` stores `f64`, in which an `f32` of 0.2 becomes
/// 0.20000000298. In `text`, every number has the digits of its own type.
fn shorten(value: &mut Value, text: &Value) {
    /// Parsing may be off by the last bit of an `f64`, far less than the difference between an `f32` and its digits.
    const LAST_BITS: f64 = 1e-14;
    match (value, text) {
        (Value::Number(number), Value::Number(digits)) => {
            if let (Some(float), Some(digits)) = (number.as_f64(), digits.as_f64())
                && (float - digits).abs() > LAST_BITS * float.abs()
                && let Some(short) = (float as f32).to_string().parse().ok().and_then(Number::from_f64)
            {
                *number = short;
            }
        }
        (Value::Array(items), Value::Array(texts)) => {
            items.iter_mut().zip(texts).for_each(|(item, text)| shorten(item, text));
        }
        (Value::Object(map), Value::Object(texts)) => {
            map.values_mut().zip(texts.values()).for_each(|(item, text)| shorten(item, text));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_keep_the_digits_that_people_wrote() {
        #[derive(Serialize)]
        struct Params {
            margin: f32,
            nested: Vec<(f32, f64)>,
            count: u32,
        }
        let check = |short: f32, long: f64| {
            let params = Params { margin: short, nested: vec![(short, long)], count: 3 };
            let mut value = serde_json::to_value(&params).expect("it is plain");
            let text = serde_json::to_string(&params).expect("it is plain");
            shorten(&mut value, &serde_json::from_str(&text).expect("it was written above"));
            let digits: f64 = short.to_string().parse().expect("digits");
            assert_eq!(value, json!({ "margin": digits, "nested": [[digits, long]], "count": 3 }));
        };
        for (short, long) in
            [(0.2, 0.2), (1e-5, 0.1 + 0.2), (0.5, 2.0 / 3.0), (3.4e38, 1e300), (0.0, 0.200_000_002_980_232_24)]
        {
            check(short, long);
        }
    }
}
