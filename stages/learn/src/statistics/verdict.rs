//! The verdict of a comparison, from its confidence interval.

use super::paired::Difference;

/// Whether a run is better than another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval is on the better side of 0.
    Better,
    /// The whole interval is on the worse side of 0.
    Worse,
    /// The interval contains 0.
    Indistinguishable,
}

impl Verdict {
    /// The name shown in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Indistinguishable => "not distinguishable",
        }
    }

    /// The verdict on a difference "this run minus the other"; `more_is_better` says whether higher values of the metric are better.
    pub fn of(difference: &Difference, more_is_better: bool) -> Self {
        let (low, high) = difference.interval;
        match (low > 0.0, high < 0.0) {
            (false, false) => Self::Indistinguishable,
            (more, _) if more == more_is_better => Self::Better,
            _ => Self::Worse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_interval() {
        let check = |interval, more_is_better, expected| {
            let difference = Difference { mean: 0.0, interval, p: 1.0 };
            assert_eq!(Verdict::of(&difference, more_is_better), expected);
        };
        check((0.1, 0.2), true, Verdict::Better);
        check((0.1, 0.2), false, Verdict::Worse);
        check((-0.2, -0.1), true, Verdict::Worse);
        check((-0.2, -0.1), false, Verdict::Better);
        check((-0.1, 0.1), true, Verdict::Indistinguishable);
        check((0.0, 0.1), true, Verdict::Indistinguishable);
    }
}
