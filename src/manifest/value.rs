//! Readers of single TOML values: each returns the typed value, or a diagnostic that names the key and the expected type.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::suggest;

/// A string with its span in the text.
pub(crate) type Word<'t> = Spanned<Cow<'t, str>>;

/// Returns the value, or `None` after adding the problem to `problems`.
pub(crate) fn keep<T>(read: Result<T, Diagnostic>, problems: &mut Vec<Diagnostic>) -> Option<T> {
    read.map_err(|problem| problems.push(problem)).ok()
}

pub(crate) fn string<'t>(key: &str, value: Spanned<DeValue<'t>>) -> Result<Word<'t>, Diagnostic> {
    let span = value.span();
    match value.into_inner() {
        DeValue::String(text) => Ok(Spanned::new(span, text)),
        other => Err(wrong_type(key, "a string", &Spanned::new(span, other))),
    }
}

pub(crate) fn table<'t>(key: &str, value: Spanned<DeValue<'t>>) -> Result<DeTable<'t>, Diagnostic> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Table(table) => Ok(table),
        other => Err(wrong_type(key, "a table", &Spanned::new(span, other))),
    }
}

pub(crate) fn boolean(key: &str, value: &Spanned<DeValue<'_>>) -> Result<bool, Diagnostic> {
    value.get_ref().as_bool().ok_or_else(|| wrong_type(key, "`true` or `false`", value))
}

pub(crate) fn non_negative(key: &str, value: &Spanned<DeValue<'_>>) -> Result<u64, Diagnostic> {
    let integer = value.get_ref().as_integer().and_then(unsigned);
    integer.ok_or_else(|| wrong_type(key, "a non-negative integer", value))
}

pub(crate) fn positive(key: &str, value: &Spanned<DeValue<'_>>) -> Result<u32, Diagnostic> {
    let integer = value.get_ref().as_integer().and_then(unsigned).and_then(|number| u32::try_from(number).ok());
    integer.filter(|&number| number > 0).ok_or_else(|| wrong_type(key, "a positive integer", value))
}

/// One of a fixed set of names.
pub(super) fn choice<T, const N: usize>(
    key: &str,
    all: [(T, &'static str); N],
    value: Spanned<DeValue<'_>>,
) -> Result<Spanned<T>, Diagnostic> {
    let word = string(key, value)?;
    let names = all.each_ref().map(|(_, name)| *name);
    match all.into_iter().find(|(_, name)| name == word.get_ref()) {
        Some((chosen, _)) => Ok(Spanned::new(word.span(), chosen)),
        None => Err(Diagnostic::at(word.span(), format!("Invalid value `{}` for `{key}`", word.get_ref()))
            .label(format!("expected {}", suggest::one_of(names)))
            .hint(suggest::did_you_mean(word.get_ref(), names))),
    }
}

/// A number of bytes, as an integer or as a size such as `"2GB"`.
pub(super) fn bytes(key: &str, value: &Spanned<DeValue<'_>>) -> Result<u64, Diagnostic> {
    let bytes = match value.get_ref() {
        DeValue::Integer(integer) => unsigned(integer),
        DeValue::String(text) => parse_bytes(text),
        _ => return Err(wrong_type(key, "a size such as `\"2GB\"`", value)),
    };
    bytes.ok_or_else(|| {
        Diagnostic::at(value.span(), format!("`{key}` must be a size"))
            .label("expected a number and a unit")
            .hint("Write a number of bytes, or a unit of kB, MB, GB, TB, KiB, MiB, GiB or TiB: `\"2GB\"`.".to_owned())
    })
}

/// Converts a size such as `2GB`, `512 MiB` or `1.5 TB` to bytes. Units are powers of 1000, or of 1024 if they have an `i`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|symbol: char| !symbol.is_ascii_digit() && symbol != '.').unwrap_or(text.len());
    let (count, unit) = (text[..digits].parse::<f64>().ok()?, text[digits..].trim_start().to_ascii_lowercase());
    let unit = match unit.as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = count * unit;
    // Below 2^63, so the cast to u64 does not saturate.
    (bytes < 9e18).then_some(bytes.round() as u64)
}

pub(crate) fn wrong_type(key: &str, expected: &str, found: &Spanned<DeValue<'_>>) -> Diagnostic {
    let label = match found.get_ref() {
        DeValue::Integer(integer) => format!("found `{integer}`"),
        DeValue::Float(float) => format!("found `{float}`"),
        other => format!("found {}", with_article(other.type_str())),
    };
    Diagnostic::at(found.span(), format!("`{key}` must be {expected}")).label(label)
}

pub(super) fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// `location` reads like `at the top level` or ``in `rounds` ``.
pub(crate) fn unknown_key(key: &Word<'_>, location: &str, known: &[&str]) -> Diagnostic {
    let name = key.get_ref();
    let all = format!("Valid keys {location} are {}.", suggest::all_of(known.iter().copied()));
    Diagnostic::at(key.span(), format!("Unknown key `{name}` {location}"))
        .hint(suggest::did_you_mean(name, known.iter().copied()).unwrap_or(all))
}

fn unsigned(integer: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
