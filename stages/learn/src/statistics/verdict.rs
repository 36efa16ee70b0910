//! A comparison in a word.

use super::Difference;

/// Whether a run is better than the one it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval is on the better side.
    Better,
    /// The whole interval is on the worse side.
    Worse,
    /// The interval holds 0.
    Indistinguishable,
}

impl Verdict {
    /// As a table shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Indistinguishable => "not distinguishable",
        }
    }

    /// The verdict over a difference "this run less the other"; `more_is_better` says which side is the better one.
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
