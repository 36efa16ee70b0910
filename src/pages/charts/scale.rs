//! A linear scale, and round numbers along it.

/// A linear scale from numbers to pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// From `low … high` to `start … end`.
    pub(super) fn new((low, high): (f64, f64), (start, end): (f64, f64)) -> Self {
        Self { low, high: if high > low { high } else { low + 1.0 }, start, end }
    }

    /// The pixel of a number.
    pub(super) fn at(&self, value: f64) -> f64 {
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }

    /// About `count` round numbers within the scale, with the number of decimals that they need.
    pub(super) fn ticks(&self, count: usize) -> (Vec<f64>, usize) {
        let raw = (self.high - self.low) / count.max(1) as f64;
        let magnitude = 10f64.powf(raw.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * magnitude >= raw * 0.999).unwrap_or(10.0) * magnitude;
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        ((first..=last).map(|number| number as f64 * step).collect(), decimals)
    }
}

/// The smallest and largest of some numbers with a margin, so that nothing lies on the edge; `from_zero` includes 0.
pub(super) fn range(values: impl IntoIterator<Item = f64>, from_zero: bool) -> (f64, f64) {
    let finite = values.into_iter().filter(|value| value.is_finite());
    let start = (f64::INFINITY, f64::NEG_INFINITY);
    let (mut low, mut high) = finite.fold(start, |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return (0.0, 1.0);
    }
    if from_zero {
        (low, high) = (low.min(0.0), high.max(0.0));
    }
    // Values that differ only by rounding are the same.
    let is_wide = high - low > 1e-9 * high.abs().max(low.abs());
    let margin = if is_wide { (high - low) * 0.06 } else { if high == 0.0 { 1.0 } else { high.abs() * 0.1 } };
    let low = if from_zero && low == 0.0 { 0.0 } else { low - margin };
    (low, if from_zero && high == 0.0 { 0.0 } else { high + margin })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_scale() {
        let check = |low, high, count, expected: &[f64], decimals| {
            let (ticks, found) = Scale::new((low, high), (0.0, 100.0)).ticks(count);
            assert_eq!((ticks.len(), found), (expected.len(), decimals), "{ticks:?}");
            assert!(ticks.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{ticks:?}");
        };
        check(0.0, 1.0, 5, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0], 1);
        check(0.18, 0.41, 4, &[0.2, 0.3, 0.4], 1);
        check(3.0, 18.0, 3, &[5.0, 10.0, 15.0], 0);
        check(-0.02, 0.03, 5, &[-0.02, -0.01, 0.0, 0.01, 0.02, 0.03], 2);
        assert_eq!(Scale::new((2.0, 4.0), (100.0, 0.0)).at(3.0), 50.0);
    }

    #[test]
    fn ranges_have_a_margin() {
        assert_eq!(range([], false), (0.0, 1.0));
        assert_eq!(range([f64::NAN, 1.0, 2.0], true), (0.0, 2.12));
        assert_eq!(range([-1.0, 0.0], true), (-1.06, 0.0));
        assert_eq!(range([5.0], false), (4.5, 5.5));
    }
}
