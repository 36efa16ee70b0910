//! The size that a report may have.

use std::fmt;
use std::str::FromStr;

/// A number of bytes, written `20MB`, `500kB` or `1.5GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Budget(pub usize);

const UNITS: [(&str, f64); 4] = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)];

impl Default for Budget {
    fn default() -> Self {
        Self(20_000_000)
    }
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size; write it as `20MB`, `500kB` or `1.5GB`");
        let lower = text.to_ascii_lowercase();
        let unit = UNITS.iter().find(|(unit, _)| lower.ends_with(&unit.to_ascii_lowercase()));
        let (unit, factor) = unit.ok_or_else(wrong)?;
        let number: f64 = lower[..lower.len() - unit.len()].trim().parse().map_err(|_| wrong())?;
        let bytes = number * factor;
        if !(1.0..=1e12).contains(&bytes) {
            return Err(wrong());
        }
        Ok(Self(bytes as usize))
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        let (unit, factor) = UNITS.into_iter().find(|(_, factor)| bytes >= *factor).unwrap_or(("B", 1.0));
        let number = format!("{:.1}", bytes / factor);
        write!(formatter, "{}{unit}", number.strip_suffix(".0").unwrap_or(&number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [("20MB", 20_000_000), ("500kB", 500_000), ("1.5gb", 1_500_000_000), ("12 B", 12)] {
            assert_eq!(text.parse(), Ok(Budget(bytes)), "{text}");
        }
        for text in ["", "20", "MB", "-1MB", "0MB", "nanMB", "9999999GB"] {
            assert!(text.parse::<Budget>().is_err(), "{text}");
        }
        assert_eq!(Budget(20_000_000).to_string(), "20MB");
        assert_eq!(Budget(1_234_567).to_string(), "1.2MB");
        assert_eq!(Budget(0).to_string(), "0B");
    }
}
