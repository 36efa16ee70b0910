//! Successive halving over rounds: all trials run until the first rung, the best share of them until the next one, and so on.
//!
//! **Source** Jamieson and Talwalkar, *Non-stochastic best arm identification and hyperparameter optimization*, AISTATS 2016. Here a
//! rung is a round. What a trial has computed until one rung is in the store when it goes on to the next.

/// `[halving]` in a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Halving {
    /// Rounds after which trials are compared, ascending. Those that continue to the last one can be the best.
    pub rungs: Vec<u32>,
    /// Share of the trials that continue.
    pub keep: f64,
}

impl Halving {
    /// The trials, by number, that continue, in the order of their numbers. `scores` holds those that reached the rung, more being
    /// better and `None` a failure. Of equally good ones, the earlier continues.
    pub fn survivors(&self, scores: &[(usize, Option<f64>)]) -> Vec<usize> {
        let mut order: Vec<(usize, f64)> =
            scores.iter().filter_map(|&(number, score)| Some((number, score?))).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        order.truncate(((self.keep * scores.len() as f64).floor() as usize).max(1));
        let mut numbers: Vec<usize> = order.into_iter().map(|(number, _)| number).collect();
        numbers.sort_unstable();
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_share_continues() {
        let halving = Halving { rungs: vec![0, 1], keep: 0.5 };
        let check = |scores: &[Option<f64>], expected: &[usize]| {
            let scores: Vec<_> = scores.iter().copied().enumerate().collect();
            assert_eq!(halving.survivors(&scores), expected, "{scores:?}");
        };
        check(&[Some(0.1), Some(0.4), Some(0.3), Some(0.2)], &[1, 2]);
        check(&[Some(0.1), Some(0.4), Some(0.3), Some(0.2), Some(0.0)], &[1, 2]);
        check(&[Some(0.5), Some(0.5), Some(0.5)], &[0]);
        check(&[None, Some(0.1), None, Some(0.2)], &[1, 3]);
        check(&[None, Some(0.1), None, None], &[1]);
        check(&[None, None], &[]);
    }
}
