//! Numbers as text, the same everywhere in a report.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A fraction in percent with one decimal: `39.6`.
pub(super) fn percent(fraction: f64) -> String {
    decimal(fraction * 100.0, 1)
}

/// A number with a real minus sign: `−2.592`.
pub(super) fn decimal(value: f64, decimals: usize) -> String {
    format!("{value:.decimals$}").replacen('-', "−", 1)
}

/// A difference of fractions in percentage points with its sign: `+3.9`, `−0.4`.
pub(super) fn points(fraction: f64) -> String {
    signed(fraction * 100.0, 1)
}

/// A number with its sign; the minus sign is as wide as the plus sign.
pub(super) fn signed(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let is_zero = text.chars().all(|digit| matches!(digit, '0' | '.'));
    match (is_zero, value < 0.0) {
        (true, _) => format!("±{text}"),
        (false, true) => format!("−{text}"),
        (false, false) => format!("+{text}"),
    }
}

/// A p-value: `0.03`, `< 0.001`.
pub(super) fn p_value(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }
}

/// A count with a thin space between groups of three digits: `5 305`.
pub(super) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A count of things, with their name in the singular or plural: `1 class`.
pub(super) fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A duration: `0.12 s`, `14.3 s`, `2 min 05 s`, `3 h 12 min`.
pub(super) fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match seconds {
        _ if seconds < 1.0 => format!("{seconds:.2} s"),
        _ if seconds < 100.0 => format!("{seconds:.1} s"),
        _ if whole < 3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A date in UTC from seconds since 1970: `2026-11-26 11:24 UTC`.
///
/// The calendar is computed as in Howard Hinnant's *chrono-compatible low-level date algorithms* (`civil_from_days`).
pub(super) fn date(seconds: u64) -> String {
    let (days, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", rest / 3600, rest % 3600 / 60)
}

/// Bytes as base64, for `data:` URLs.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Length of the base64 form of so many bytes.
pub(super) fn base64_length(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [percent(0.39606), points(0.0386), points(-0.004), points(0.000_1)],
            ["39.6", "+3.9", "−0.4", "±0.0"]
        );
        assert_eq!([percent(-0.028), decimal(-2.592_4, 3)], ["−2.8", "−2.592"]);
        assert_eq!([p_value(0.000_2), p_value(0.034)], ["< 0.001", "0.034"]);
        assert_eq!([counted(1, "class", "classes"), counted(0, "class", "classes")], ["1 class", "0 classes"]);
        assert_eq!([count(5), count(5305), count(1_234_567)], ["5", "5\u{202f}305", "1\u{202f}234\u{202f}567"]);
        assert_eq!(
            [seconds(0.117), seconds(46.52), seconds(125.0), seconds(11_520.0)],
            ["0.12 s", "46.5 s", "2 min 05 s", "3 h 12 min"]
        );
    }

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_795_692_259), "2026-11-26 11:24 UTC");
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
            assert_eq!(base64_length(bytes.len()), text.len());
        }
    }
}
