//! Metrics of several runs side by side.

use serde::Serialize;

use super::metrics::Metric;

/// One metric in each of several runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// The node that measured it.
    pub node: String,
    /// On which images.
    pub split: String,
    /// Its name with its k, as in `recall@1`.
    pub metric: String,
    /// Its value in each run; `None` where a run has none.
    pub values: Vec<Option<f64>>,
}

impl Line {
    /// The last run's value less the first one's, where both have one and there are several.
    pub fn difference(&self) -> Option<f64> {
        match self.values[..] {
            [Some(first), .., Some(last)] => Some(last - first),
            _ => None,
        }
    }
}

/// A line for each metric of any run, in the order in which they first occur.
pub fn side_by_side(runs: &[Vec<Metric>]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (run, metrics) in runs.iter().enumerate() {
        for metric in metrics {
            let label = metric.label();
            let is_it = |line: &Line| line.node == metric.node && line.split == metric.split && line.metric == label;
            let index = lines.iter().position(is_it).unwrap_or_else(|| {
                let (node, split) = (metric.node.clone(), metric.split.clone());
                lines.push(Line { node, split, metric: label.clone(), values: vec![None; runs.len()] });
                lines.len() - 1
            });
            lines[index].values[run] = Some(metric.value);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(node: &str, k: Option<i32>, value: f64) -> Metric {
        let (run, split, metric) = ("r/1".to_owned(), "test".to_owned(), "recall".to_owned());
        Metric { run, node: node.to_owned(), round: 0, learners: 1, split, metric, k, value }
    }

    #[test]
    fn metrics_meet_by_node_split_and_k() {
        let first = vec![metric("a", Some(1), 0.25), metric("a", Some(10), 0.5)];
        let second = vec![metric("a", Some(10), 0.75), metric("b", Some(1), 1.0)];
        let lines = side_by_side(&[first, second]);
        let told: Vec<_> = lines
            .iter()
            .map(|line| (line.node.as_str(), line.metric.as_str(), line.values.clone(), line.difference()))
            .collect();
        assert_eq!(
            told,
            [
                ("a", "recall@1", vec![Some(0.25), None], None),
                ("a", "recall@10", vec![Some(0.5), Some(0.75)], Some(0.25)),
                ("b", "recall@1", vec![None, Some(1.0)], None),
            ]
        );
    }
}
