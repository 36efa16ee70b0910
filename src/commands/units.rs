//! Sizes and ages in arguments and output.

use std::num::NonZero;
use std::time::Duration;

use crate::manifest::parse_bytes;

const BYTE_UNITS: [(&str, u64); 4] =
    [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];

/// Parses an age such as `12h`.
pub(crate) fn parse_age(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400), ("w", 604_800)];
    let parsed =
        units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?.trim().parse::<u64>().ok()?, *seconds)));
    let (count, seconds) =
        parsed.ok_or_else(|| format!("`{text}` is not an age; write `90m`, `12h`, `30d` or `4w`"))?;
    Ok(Duration::from_secs(count.saturating_mul(seconds)))
}

/// Parses a size such as `20GB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| format!("`{text}` is not a size; write `500MB` or `20GiB`"))
}

/// Parses a number of things of which there must be one.
pub(crate) fn parse_count(text: &str) -> Result<NonZero<usize>, String> {
    text.parse().map_err(|_| "it must be a whole number of at least 1".to_owned())
}

/// A number of bytes with a decimal unit.
pub(crate) fn format_bytes(bytes: u64) -> String {
    let unit = BYTE_UNITS.iter().find(|(_, unit)| bytes >= *unit);
    unit.map_or_else(|| format!("{bytes} B"), |(name, unit)| format!("{:.1} {name}", bytes as f64 / *unit as f64))
}

/// An age in whole seconds, minutes, hours or days.
pub(crate) fn format_age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s ago"),
        seconds @ 120..7200 => format!("{} min ago", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86400),
    }
}
