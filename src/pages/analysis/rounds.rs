//! Are more learners better? The chosen round against each reference and each other round, over seeds or queries.

use std::collections::BTreeSet;

use crate::pages::evidence::{Evidence, Subject};
use crate::report::difference::comparison::{ComparedMetric, Comparison, Resampling, compare_groups};
use crate::report::difference::group::{Group, GroupName};
use crate::report::queries::{NodeSplit, Queries};

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
        let groups = nodes.map(|node| group(runs, node, &subject.split, &subject.headline));
        let metrics = compare_groups(&groups, Resampling { draws: DRAWS, seed: 0 });
        Self { node: node.to_owned(), metrics }
    }

    /// The difference in a metric.
    pub fn of(&self, metric: (&str, Option<i32>)) -> Option<&Comparison> {
        let row = self.metrics.iter().find(|row| (row.metric.as_str(), row.k) == metric)?;
        row.groups.get(1)?.comparison.as_ref()
    }
}

/// One node in all runs. Its name is left empty, so that it can be compared with a node of another name.
fn group(runs: &[Evidence], node: &str, split: &str, headline: &[(&str, Option<i32>)]) -> Group {
    let metrics = |run: &Evidence| {
        let rows = run.metrics.iter().filter(|row| row.node == node && row.split == split);
        let wanted = rows.filter(|row| headline.contains(&(row.metric.as_str(), row.k))).cloned();
        wanted.map(|row| crate::report::metrics::Metric { node: String::new(), ..row }).collect()
    };
    let queries = |run: &Evidence| {
        let place = NodeSplit { node: node.to_owned(), split: split.to_owned() };
        let found = run.queries.get(&place).cloned().unwrap_or_default();
        Queries::from([(NodeSplit { node: String::new(), ..place }, found)])
    };
    let images: BTreeSet<_> = runs.iter().filter_map(|run| run.json.evaluated_images(node)).collect();
    Group {
        name: GroupName { runs: node.to_owned(), ..GroupName::default() },
        runs: runs.iter().map(|run| run.folder.id()).collect(),
        seeds: runs.iter().map(|run| run.seed).collect(),
        metrics: runs.iter().map(metrics).collect(),
        queries: runs.iter().map(queries).collect(),
        images: [(String::new(), images)].into(),
    }
}
