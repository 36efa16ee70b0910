//! Are more learners better? The chosen round against each reference and each other round, over seeds or queries.

use super::comparison::group;
use crate::pages::evidence::{Evidence, Subject};
use crate::report::difference::comparison::{ComparedMetric, Comparison, Resampling, compare_groups};
use crate::report::metrics::Metric;

/// Draws of the bootstrap. An interval from so many is within a twentieth of its width of that from 10,000.
const DRAWS: usize = 2_000;

/// The chosen round minus another node, in the headline metrics.
pub struct Lift {
    /// The other node.
    pub node: String,
    /// The headline metrics. The first group of each is the other node, the second the chosen round.
    pub metrics: Vec<ComparedMetric>,
}

impl Lift {
    /// Compares the chosen round of `runs`, which differ only by their seed, with `node`.
    pub fn over(runs: &[Evidence], subject: &Subject, node: &str) -> Self {
        let nodes = [node, subject.chosen().node.as_str()];
        let wanted =
            |row: &Metric| row.split == subject.split && subject.headline.contains(&(row.metric.as_str(), row.k));
        let groups = nodes.map(|node| group(runs, |_| node, wanted));
        let metrics = compare_groups(&groups, Resampling { draws: DRAWS, seed: 0 });
        Self { node: node.to_owned(), metrics }
    }

    /// The difference in a metric.
    pub fn of(&self, metric: (&str, Option<i32>)) -> Option<&Comparison> {
        let row = self.metrics.iter().find(|row| (row.metric.as_str(), row.k) == metric)?;
        row.groups.get(1)?.comparison.as_ref()
    }
}
