//! Sizes and ages in arguments and output.

use std::num::{IntErrorKind, NonZero};
use std::time::Duration;

use crate::manifest::parse_bytes;

const BYTE_UNITS: [(&str, u64); 4] =
    [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];

/// The most threads, and the most nodes at once: far beyond any machine, but few enough to be started.
const MOST_AT_ONCE: usize = 4096;

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
    text.parse().map_err(|_| whole_number(text, 1, usize::MAX))
}

/// Parses a limit of threads, or of nodes or runs at once.
pub(crate) fn parse_limit(text: &str) -> Result<NonZero<usize>, String> {
    let limit: NonZero<usize> = text.parse().map_err(|_| whole_number(text, 1, MOST_AT_ONCE))?;
    if limit.get() > MOST_AT_ONCE { Err(format!("it must be at most {MOST_AT_ONCE}")) } else { Ok(limit) }
}

/// Parses the number of one of several things.
pub(crate) fn parse_ordinal(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| whole_number(text, 0, usize::MAX))
}

fn whole_number(text: &str, least: usize, most: usize) -> String {
    let is_too_large = text.parse::<usize>().is_err_and(|error| *error.kind() == IntErrorKind::PosOverflow);
    let bound = if is_too_large { format!("at most {most}") } else { format!("at least {least}") };
    format!("it must be a whole number of {bound}")
}

/// An expected duration: `0.4 s`, `14 s`, `2 min 05 s`, `3 h 12 min`.
pub(crate) fn format_seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_out_of_range_is_refused_with_its_bound() {
        let refused = |text| parse_limit(text).expect_err("it is out of range");
        for text in ["0", "-1", "1.5", "x", ""] {
            assert_eq!(refused(text), "it must be a whole number of at least 1", "{text}");
        }
        assert_eq!(refused("4097"), "it must be at most 4096");
        assert!(refused("99999999999999999999999").starts_with("it must be a whole number of at most"));
        assert_eq!(parse_limit("4096").map(NonZero::get), Ok(4096));
        assert_eq!(parse_ordinal("0"), Ok(0));
        assert_eq!(parse_ordinal("x"), Err("it must be a whole number of at least 0".to_owned()));
    }

    #[test]
    fn durations_are_as_exact_as_an_expectation_can_be() {
        let texts = [0.04, 9.94, 9.96, 59.6, 260.0, 11_520.0].map(format_seconds);
        assert_eq!(texts, ["0.0 s", "9.9 s", "10 s", "1 min 00 s", "4 min 20 s", "3 h 12 min"]);
    }
}
