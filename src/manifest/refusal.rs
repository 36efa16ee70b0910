//! Parses serde's error messages, so that errors can be reported in a manifest writer's terms.
//!
//! serde gives no structured error, only a message for programmers (`invalid type: string "x", expected u32`). A message that
//! is not recognised is shown unchanged, so nothing is lost if a library rewords one.

use toml::de::DeValue;

/// Why a derived `Deserialize` refused a value.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal<'m> {
    /// A key that the struct does not have.
    UnknownKey { name: &'m str, known: Vec<&'m str> },
    /// A key that the struct must have.
    Missing { name: &'m str },
    /// A string that is not a variant of the enum.
    UnknownName { name: &'m str, known: Vec<&'m str> },
    /// A value of the wrong type or out of range; `expected` is in a manifest writer's terms.
    WrongType { found: FoundValue<'m>, expected: String },
    /// Anything else.
    Other,
}

/// The value that serde found, as its message describes it: `string "x"`, `integer `3``, `a sequence`.
#[derive(Debug, PartialEq)]
pub(super) struct FoundValue<'m>(&'m str);

impl<'m> Refusal<'m> {
    /// Parses serde's `message`.
    pub(super) fn parse(message: &'m str) -> Self {
        let message = message.trim();
        if let Some(rest) = message.strip_prefix("unknown field ") {
            if let [name, known @ ..] = quoted(rest).as_slice() {
                return Refusal::UnknownKey { name, known: known.to_vec() };
            }
        } else if let Some(rest) = message.strip_prefix("missing field ") {
            if let [name] = quoted(rest).as_slice() {
                return Refusal::Missing { name };
            }
        } else if let Some(rest) = message.strip_prefix("unknown variant ") {
            if let [name, known @ ..] = quoted(rest).as_slice() {
                return Refusal::UnknownName { name, known: known.to_vec() };
            }
        } else if let Some(rest) =
            message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))
            && let Some((found, expected)) = rest.rsplit_once(", expected ")
        {
            let expected = largest(found, expected).unwrap_or_else(|| in_plain_words(expected));
            return Refusal::WrongType { found: FoundValue(found), expected };
        } else if let Some(rest) = message.strip_prefix("invalid length ")
            && let Some((_, expected)) = rest.split_once(", expected ")
        {
            return Refusal::WrongType { found: FoundValue("sequence"), expected: in_plain_words(expected) };
        }
        Refusal::Other
    }
}

impl FoundValue<'_> {
    /// Whether serde's message is about `value`.
    pub(super) fn describes(&self, value: &DeValue<'_>) -> bool {
        match value {
            DeValue::String(text) => self.0 == format!("string {text:?}"),
            DeValue::Boolean(boolean) => self.0 == format!("boolean `{boolean}`"),
            DeValue::Integer(integer) => self.0 == format!("integer `{}`", integer.as_str()),
            DeValue::Float(float) => float.as_str().parse::<f64>().is_ok_and(|float| {
                self.0 == format!("floating point `{float}`") || self.0 == format!("floating point `{float:?}`")
            }),
            DeValue::Array(_) => self.0 == "sequence",
            DeValue::Table(_) => self.0 == "map",
            DeValue::Datetime(_) => false,
        }
    }
}

/// The texts in backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The range of an integer type, if what was found is an integer beyond its end.
fn largest(found: &str, expected: &str) -> Option<String> {
    let most = match expected {
        "u8" => u64::from(u8::MAX),
        "u16" => u64::from(u16::MAX),
        "u32" => u64::from(u32::MAX),
        _ => return None,
    };
    let is_beyond = found.strip_prefix("integer `").is_some_and(|digits| !digits.starts_with('-'));
    is_beyond.then(|| format!("an integer from 0 to {most}"))
}

/// serde's name of a type, in a manifest writer's terms.
fn in_plain_words(expected: &str) -> String {
    let plain = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a non-negative integer",
        "i8" | "i16" | "i32" | "i64" | "isize" => "an integer",
        "f32" | "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a sequence" => "an array",
        "a map" => "a table",
        "a string or map" | "string or map" => "a name or a table",
        _ if expected.starts_with("a nonzero u") => "a positive integer",
        _ if expected.starts_with("struct ") || expected.starts_with("internally tagged enum ") => "a table",
        _ if expected.starts_with("enum ") => "a name",
        _ => expected,
    };
    plain.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_parsed() {
        for (message, expected) in [
            ("unknown field `x`, there are no fields", Refusal::UnknownKey { name: "x", known: vec![] }),
            ("unknown field `x`, expected `a` or `b`", Refusal::UnknownKey { name: "x", known: vec!["a", "b"] }),
            ("missing field `root`", Refusal::Missing { name: "root" }),
            (
                "unknown variant `x`, expected one of `a`, `b`, `c`",
                Refusal::UnknownName { name: "x", known: vec!["a", "b", "c"] },
            ),
            (
                "invalid type: string \"x, expected y\", expected u32",
                Refusal::WrongType {
                    found: FoundValue("string \"x, expected y\""),
                    expected: "a non-negative integer".to_owned(),
                },
            ),
            (
                "invalid value: integer `300`, expected u8",
                Refusal::WrongType {
                    found: FoundValue("integer `300`"),
                    expected: "an integer from 0 to 255".to_owned(),
                },
            ),
            (
                "invalid value: integer `-3`, expected u8",
                Refusal::WrongType { found: FoundValue("integer `-3`"), expected: "a non-negative integer".to_owned() },
            ),
            (
                "invalid length 2, expected an array of length 3",
                Refusal::WrongType { found: FoundValue("sequence"), expected: "an array of length 3".to_owned() },
            ),
            ("the sky is falling", Refusal::Other),
        ] {
            assert_eq!(Refusal::parse(message), expected, "{message}");
        }
    }
}
