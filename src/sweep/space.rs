//! The space of a sweep: the keys of the manifest that vary, and the values of each.
//!
//! A sampler works in the unit cube: a coordinate from 0 to 1 for each key ([`Point`]). The space turns a point into values,
//! written as TOML. Several coordinates may stand for one value; [`Space::snap`] gives the one in its middle.

/// A point of the unit cube, with a coordinate for each key.
pub type Point = Vec<f64>;

/// Digits of a value that is drawn from a continuous range. More would make runs hard to read and no setting better.
const DIGITS: usize = 4;

/// The keys that vary, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    /// The keys.
    pub dimensions: Vec<Dimension>,
}

/// A key of the manifest and its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Dimension {
    /// Dotted key, as `--set` takes it.
    pub key: String,
    /// Its values.
    pub range: Range,
}

/// The values of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Range {
    /// Some values, as TOML.
    Levels {
        /// The values.
        texts: Vec<String>,
        /// Whether neighbours are similar, as the steps of a number are.
        ordered: bool,
    },
    /// Real numbers, both ends included.
    Real {
        /// The least.
        min: f64,
        /// The greatest.
        max: f64,
        /// Whether ratios count rather than differences.
        log: bool,
    },
    /// Whole numbers, both ends included.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
        /// Whether ratios count rather than differences.
        log: bool,
    },
}

impl Space {
    /// The values at a point, in the order of the keys.
    pub fn texts(&self, point: &[f64]) -> Vec<String> {
        self.dimensions.iter().zip(point).map(|(dimension, &unit)| dimension.range.text(unit)).collect()
    }

    /// The point in the middle of all that have the same values.
    pub fn snap(&self, point: &[f64]) -> Point {
        self.dimensions.iter().zip(point).map(|(dimension, &unit)| dimension.range.snap(unit)).collect()
    }

    /// Number of settings; `None` if a key has a continuous range, or if they are too many to count.
    pub fn size(&self) -> Option<u64> {
        self.dimensions.iter().try_fold(1_u64, |size, dimension| size.checked_mul(dimension.range.count()?))
    }

    /// Setting `number` of all, the last key varying fastest. No key has a continuous range.
    pub fn grid_point(&self, mut number: u64) -> Point {
        let mut point: Point = self
            .dimensions
            .iter()
            .rev()
            .map(|dimension| {
                let count = dimension.range.count().expect("the caller has counted the settings");
                let index = number % count;
                number /= count;
                dimension.range.unit_of(index)
            })
            .collect();
        point.reverse();
        point
    }

    /// Arguments of `--set` for these values.
    pub fn assignments(&self, texts: &[String]) -> Vec<String> {
        self.dimensions.iter().zip(texts).map(|(dimension, text)| format!("{}={text}", dimension.key)).collect()
    }

    /// A short name of a setting: `train.epochs=5 train.loss.margin=0.2`.
    pub fn label(&self, texts: &[String]) -> String {
        let parts: Vec<String> = self
            .dimensions
            .iter()
            .zip(texts)
            .map(|(dimension, text)| format!("{}={text}", dimension.short_key()))
            .collect();
        parts.join(" ")
    }
}

impl Dimension {
    /// The key without `stage.`.
    pub fn short_key(&self) -> &str {
        self.key.strip_prefix("stage.").unwrap_or(&self.key)
    }
}

impl Range {
    /// Number of values; `None` if they are continuous.
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Levels { texts, .. } => Some(texts.len() as u64),
            Self::Integer { min, max, .. } => Some(max.abs_diff(*min).saturating_add(1)),
            Self::Real { .. } => None,
        }
    }

    /// The values that show whether a manifest accepts the range: all of a few, else both ends.
    pub fn telling(&self) -> Vec<String> {
        match self {
            Self::Levels { texts, .. } => texts.clone(),
            Self::Real { .. } | Self::Integer { .. } => vec![self.text(0.0), self.text(1.0)],
        }
    }

    /// The value at a coordinate, as TOML.
    fn text(&self, unit: f64) -> String {
        match self {
            Self::Levels { texts, .. } => texts[index_of(unit, texts.len())].clone(),
            Self::Integer { .. } => self.integer(unit).to_string(),
            &Self::Real { min, max, log } => {
                let value = if log { (min.ln() + unit * (max / min).ln()).exp() } else { min + unit * (max - min) };
                real_text(rounded(value).clamp(min, max))
            }
        }
    }

    /// The coordinate in the middle of those with the same value.
    fn snap(&self, unit: f64) -> f64 {
        match self {
            Self::Levels { texts, .. } => self.unit_of(index_of(unit, texts.len()) as u64),
            Self::Integer { min, .. } => self.unit_of(self.integer(unit).abs_diff(*min)),
            Self::Real { .. } => unit,
        }
    }

    /// The coordinate of value number `index`.
    fn unit_of(&self, index: u64) -> f64 {
        match self {
            &Self::Integer { min, max, log: true } => {
                let (low, high) = log_ends(min, max);
                ((min as f64 + index as f64).ln() - low) / (high - low)
            }
            _ => (index as f64 + 0.5) / self.count().expect("a continuous range has no numbered values") as f64,
        }
    }

    fn integer(&self, unit: f64) -> i64 {
        let &Self::Integer { min, max, log } = self else { unreachable!("only whole numbers are asked for") };
        let value = if log {
            let (low, high) = log_ends(min, max);
            (low + unit * (high - low)).exp().round()
        } else {
            min as f64 + (unit * (max as f64 - min as f64 + 1.0)).floor()
        };
        (value as i64).clamp(min, max)
    }
}

/// A real number as TOML, with as few digits as give it back.
pub(super) fn real_text(value: f64) -> String {
    format!("{value:?}")
}

/// The logarithms between which the whole numbers from `min` to `max` lie, each in the middle of its part.
fn log_ends(min: i64, max: i64) -> (f64, f64) {
    ((min as f64 - 0.5).ln(), (max as f64 + 0.5).ln())
}

fn index_of(unit: f64, count: usize) -> usize {
    ((unit * count as f64) as usize).min(count - 1)
}

fn rounded(value: f64) -> f64 {
    format!("{value:.*e}", DIGITS - 1).parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(ranges: Vec<Range>) -> Space {
        let dimension = |(index, range)| Dimension { key: format!("stage.s.k{index}"), range };
        Space { dimensions: ranges.into_iter().enumerate().map(dimension).collect() }
    }

    fn levels(texts: &[&str]) -> Range {
        Range::Levels { texts: texts.iter().map(|&text| text.to_owned()).collect(), ordered: false }
    }

    #[test]
    fn a_grid_has_every_setting_once_and_the_last_key_varies_fastest() {
        let space = space(vec![levels(&["\"a\"", "\"b\""]), Range::Integer { min: -1, max: 1, log: false }]);
        assert_eq!(space.size(), Some(6));
        let labels: Vec<String> = (0..6).map(|number| space.label(&space.texts(&space.grid_point(number)))).collect();
        assert_eq!(
            labels,
            [
                r#"s.k0="a" s.k1=-1"#,
                r#"s.k0="a" s.k1=0"#,
                r#"s.k0="a" s.k1=1"#,
                r#"s.k0="b" s.k1=-1"#,
                r#"s.k0="b" s.k1=0"#,
                r#"s.k0="b" s.k1=1"#
            ]
        );
    }

    #[test]
    fn values_are_short_and_within_the_range() {
        let check =
            |range: &Range, unit: f64, expected: &str| assert_eq!(range.text(unit), expected, "{range:?} {unit}");
        let real = Range::Real { min: 1e-4, max: 0.123_456_7, log: true };
        check(&real, 0.0, "0.0001");
        check(&real, 1.0, "0.1234567");
        check(&real, 0.5, "0.003514");
        check(&Range::Real { min: -1.0, max: 3.0, log: false }, 0.5, "1.0");
        check(&Range::Real { min: 1e-7, max: 1.0, log: true }, 0.0, "1e-7");
        let log = Range::Integer { min: 1, max: 1000, log: true };
        check(&log, 0.0, "1");
        check(&log, 0.999_999, "1000");
        // Half of the coordinates are below the geometric mean of 0.5 and 1000.5.
        check(&log, 0.5, "22");
    }

    #[test]
    fn the_middle_of_a_value_has_that_value() {
        for range in [
            levels(&["1", "2", "3"]),
            Range::Integer { min: 3, max: 9, log: false },
            Range::Integer { min: 1, max: 500, log: true },
            Range::Real { min: 0.5, max: 2.0, log: true },
        ] {
            for step in 0..=1000 {
                let unit = f64::from(step) / 1000.0;
                let middle = range.snap(unit);
                assert_eq!(range.text(middle), range.text(unit), "{range:?} {unit}");
                assert_eq!(range.snap(middle), middle, "{range:?} {unit}");
            }
        }
    }
}
