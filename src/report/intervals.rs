//! Confidence interval of a metric over the queries of one run.
//!
//! It says how far the value would move with other queries from the same classes. It says nothing of other seeds: several runs are
//! compared with [`difference`](super::difference).

use dnc_learn::statistics::{Interval, mean_interval};

use super::metrics::Metric;
use super::queries::{NodeSplit, Queries, Query};

/// Difference of a metric from the mean over the queries beyond which it is another quantity: rounding of a sum of many terms.
const ROUNDING: f64 = 1e-9;

/// Lower and upper end of the 95 % interval of a metric that is a mean over queries; `None` for any other.
pub fn over_queries(metric: &Metric, queries: &Queries) -> Option<(f64, f64)> {
    let place = NodeSplit { node: metric.node.clone(), split: metric.split.clone() };
    let score = |query: &Query| query.score(&metric.metric, metric.k);
    let scores: Vec<f64> = queries.get(&place)?.iter().filter_map(score).collect();
    let Interval { mean, half_width } = mean_interval(&scores)?;
    // Recall beyond the neighbours that were kept is no mean over what the queries say.
    ((mean - metric.value).abs() <= ROUNDING).then_some((mean - half_width, mean + half_width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mean_over_the_queries_has_an_interval() {
        let query = |id, first_hit| Query { id, label: 0, first_hit, r_precision: 0.5, average_precision: 0.25 };
        let queries = [query(0, Some(1)), query(1, Some(2)), query(2, None), query(3, Some(1))].to_vec();
        let place = NodeSplit { node: "evaluate".into(), split: "test".into() };
        let queries = Queries::from([(place, queries)]);
        let interval = |metric: &str, k, value| {
            let (run, node, split) = ("sop/1".into(), "evaluate".into(), "test".into());
            let metric = Metric { run, node, round: 0, learners: 1, split, metric: metric.into(), k, value };
            over_queries(&metric, &queries)
        };
        // The values 1, 0, 0, 1: deviation √(1/3), t = 3.1824 for three degrees of freedom.
        let (low, high) = interval("recall", Some(1), 0.5).expect("a mean over queries");
        assert!((high - low - 2.0 * 3.182_446 * (1.0f64 / 3.0).sqrt() / 2.0).abs() < 1e-5, "{low} {high}");
        assert_eq!(interval("map_at_r", None, 0.25), Some((0.25, 0.25)));
        assert_eq!(interval("recall", Some(1), 0.75), None, "another value than the mean");
        assert_eq!(interval("nmi", None, 0.5), None);
    }
}
