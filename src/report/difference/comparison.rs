//! Compares the metrics of groups of runs. Every group is compared with the first one.
//!
//! If both groups have several seeds, the comparison is over seeds: Student's paired t-test if the seeds are the same, Welch's
//! t-test if not. Otherwise it is over the queries of both: paired bootstrap and sign-flip test
//! ([`dnc_learn::statistics`]).

use std::collections::BTreeMap;

use dnc_learn::statistics::{
    Difference, Interval, Verdict, mean_interval, paired_bootstrap, paired_t, sign_flip_test, welch,
};
use dnc_learn::streams::Streams;
use dnc_stages::tables::metrics::{bounds, more_is_better};

use super::group::Group;
use crate::report::metrics::{Metric, metric_label};
use crate::report::queries::{NodeSplit, Query};

/// Parameters of the resampling of queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resampling {
    /// Number of bootstrap samples, and of sign flips.
    pub draws: usize,
    /// Seed of the random streams.
    pub seed: u64,
}

/// One metric in each of the groups.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedMetric {
    /// The node that measured it; empty if each group is one node.
    pub node: String,
    /// Split of the evaluated images.
    pub split: String,
    /// Name of the metric without its k.
    pub metric: String,
    /// The k of the metric, if it has one.
    pub k: Option<i32>,
    /// The values of each group, in the order of the groups.
    pub groups: Vec<GroupValues>,
}

/// The values of one metric in one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupValues {
    /// The value of each run that has one.
    pub values: Vec<f64>,
    /// The seeds of these runs.
    pub seeds: Vec<i64>,
    /// The difference to the first group; `None` for the first group itself.
    pub comparison: Option<Comparison>,
}

/// A mean over runs with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanInterval {
    /// The mean.
    pub mean: f64,
    /// The ends of the interval.
    pub low: f64,
    /// See `low`.
    pub high: f64,
    /// Half of the interval's width; `None` if it was cut, so that the mean is not in its middle.
    pub half_width: Option<f64>,
}

/// The difference of a group to the first one: this group minus the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// What the interval and p were computed over.
    pub basis: Basis,
    /// Difference of the means, its 95 % interval, and p.
    pub difference: Difference,
    /// p of the sign-flip test, for a comparison over queries.
    pub sign_flip: Option<f64>,
    /// Better, worse or not distinguishable.
    pub verdict: Verdict,
}

/// What a comparison is computed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Runs with different seeds in both groups.
    Seeds,
    /// Pairs of runs with the same seed.
    PairedSeeds,
    /// Queries that both groups answered.
    Queries,
}

impl Basis {
    /// The name in JSON and Parquet.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seeds => "seeds",
            Self::PairedSeeds => "paired seeds",
            Self::Queries => "queries",
        }
    }
}

impl ComparedMetric {
    /// The name of the metric with its k, such as `recall@1`.
    pub fn label(&self) -> String {
        metric_label(&self.metric, self.k)
    }

    /// Whether every run of every group has the same value.
    pub fn is_constant(&self) -> bool {
        let first = self.groups.first().and_then(|group| group.values.first());
        self.groups.len() > 1
            && self
                .groups
                .iter()
                .all(|group| !group.values.is_empty() && group.values.iter().all(|value| Some(value) == first))
    }

    /// Whether a verdict compares trained models rather than settings.
    pub fn is_about_single_models(&self) -> bool {
        let comparisons = self.groups.iter().filter_map(|group| group.comparison.as_ref());
        comparisons.filter(|comparison| comparison.excludes_zero()).any(|comparison| comparison.basis == Basis::Queries)
    }

    fn is_same_as(&self, metric: &Metric) -> bool {
        (&self.node, &self.split, &self.metric, self.k) == (&metric.node, &metric.split, &metric.metric, metric.k)
    }
}

impl GroupValues {
    /// Mean over the runs; `None` if no run has a value.
    pub fn mean(&self) -> Option<f64> {
        (!self.values.is_empty()).then(|| self.values.iter().sum::<f64>() / self.values.len() as f64)
    }

    /// Student's 95 % interval of the mean, for two or more runs, as far as the metric can reach.
    pub fn interval(&self, metric: &str) -> Option<MeanInterval> {
        let Interval { mean, half_width } = mean_interval(&self.values)?;
        let (low, high) = within(bounds(metric), (mean - half_width, mean + half_width));
        let is_whole = (low, high) == (mean - half_width, mean + half_width);
        Some(MeanInterval { mean, low, high, half_width: is_whole.then_some(half_width) })
    }

    /// The values by seed; `None` if a seed has several.
    pub fn by_seed(&self) -> Option<BTreeMap<i64, f64>> {
        let values: BTreeMap<i64, f64> = self.seeds.iter().copied().zip(self.values.iter().copied()).collect();
        (values.len() == self.values.len()).then_some(values)
    }
}

impl Comparison {
    /// Whether the 95 % interval of the difference excludes 0.
    pub fn excludes_zero(&self) -> bool {
        self.verdict != Verdict::Indistinguishable
    }
}

/// Compares every group with the first one, for each metric of any run, in the order in which the metrics first occur.
pub fn compare_groups(groups: &[Group], resampling: Resampling) -> Vec<ComparedMetric> {
    let mut metrics = collect_metrics(groups);
    for metric in &mut metrics {
        let [first, others @ ..] = metric.groups.as_mut_slice() else { continue };
        for (other, group) in others.iter_mut().zip(&groups[1..]) {
            // Seeds are paired only where they evaluated the same images.
            let same_images = group.has_images_of(&groups[0], &metric.node);
            other.comparison = compare_over_seeds(&metric.metric, first, other, same_images);
        }
    }
    let node_split = |metric: &ComparedMetric| NodeSplit { node: metric.node.clone(), split: metric.split.clone() };
    let mut node_splits: Vec<NodeSplit> = metrics.iter().map(node_split).collect();
    node_splits.dedup();
    for node_split in &node_splits {
        let has_same_images = |other: &usize| groups[*other].has_images_of(&groups[0], &node_split.node);
        for other in (1..groups.len()).filter(has_same_images) {
            compare_over_queries(node_split, groups, other, &mut metrics, resampling);
        }
    }
    metrics
}

fn collect_metrics(groups: &[Group]) -> Vec<ComparedMetric> {
    let mut compared: Vec<ComparedMetric> = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        let metrics = group.seeds.iter().zip(&group.metrics);
        for (&seed, metric) in metrics.flat_map(|(seed, metrics)| metrics.iter().map(move |metric| (seed, metric))) {
            let index = compared.iter().position(|known| known.is_same_as(metric)).unwrap_or_else(|| {
                let Metric { node, split, metric, k, .. } = metric.clone();
                let groups = vec![GroupValues::default(); groups.len()];
                compared.push(ComparedMetric { node, split, metric, k, groups });
                compared.len() - 1
            });
            let values = &mut compared[index].groups[number];
            values.values.push(metric.value);
            values.seeds.push(seed);
        }
    }
    compared
}

/// The part of an interval that lies within these bounds, if there are any.
fn within(bounds: Option<(f64, f64)>, (low, high): (f64, f64)) -> (f64, f64) {
    let Some((least, most)) = bounds else { return (low, high) };
    (low.clamp(least, most), high.clamp(least, most))
}

fn compare_over_seeds(metric: &str, first: &GroupValues, other: &GroupValues, same_images: bool) -> Option<Comparison> {
    let pairs = first.by_seed().zip(other.by_seed()).filter(|_| same_images);
    let pairs = pairs.filter(|(first, other)| first.keys().eq(other.keys()));
    let (basis, difference) = match pairs {
        Some((first, other)) => {
            let [first, other] = [first, other].map(|values| values.into_values().collect::<Vec<f64>>());
            (Basis::PairedSeeds, paired_t(&first, &other))
        }
        None => (Basis::Seeds, welch(&first.values, &other.values)),
    };
    let mut difference = difference.filter(|difference| difference.mean.is_finite())?;
    difference.interval = within(bounds(metric).map(|(low, high)| (low - high, high - low)), difference.interval);
    let verdict = Verdict::of(&difference, more_is_better(metric));
    Some(Comparison { basis, difference, sign_flip: None, verdict })
}

/// Compares those metrics of a node and split that could not be compared over seeds, over the queries that both groups
/// answered. All metrics are compared at once, so that each bootstrap sample is drawn once.
fn compare_over_queries(
    node_split: &NodeSplit,
    groups: &[Group],
    other: usize,
    metrics: &mut [ComparedMetric],
    Resampling { draws, seed }: Resampling,
) {
    let is_left = |metric: &&mut ComparedMetric| {
        (&metric.node, &metric.split) == (&node_split.node, &node_split.split)
            && metric.groups[other].comparison.is_none()
            && [0, other].iter().all(|&group| !metric.groups[group].values.is_empty())
    };
    let metrics = metrics.iter_mut().filter(is_left);
    let (first, second) = (queries_by_image(node_split, &groups[0]), queries_by_image(node_split, &groups[other]));
    let pairs: Vec<(&Vec<&Query>, &Vec<&Query>)> =
        first.iter().filter_map(|(image, queries)| Some((queries, second.get(image)?))).collect();
    if pairs.is_empty() {
        return;
    }
    let mean_score = |queries: &[&Query], metric: &ComparedMetric| -> Option<f64> {
        let scores = queries.iter().map(|query| query.score(&metric.metric, metric.k));
        Some(scores.sum::<Option<f64>>()? / queries.len() as f64)
    };
    let with_differences: Vec<(&mut ComparedMetric, Vec<f64>)> = metrics
        .filter_map(|metric| {
            let difference =
                |(a, b): &(&Vec<&Query>, &Vec<&Query>)| Some(mean_score(b, metric)? - mean_score(a, metric)?);
            let differences = pairs.iter().map(difference).collect::<Option<Vec<f64>>>()?;
            Some((metric, differences))
        })
        .collect();
    let (metrics, differences): (Vec<&mut ComparedMetric>, Vec<Vec<f64>>) = with_differences.into_iter().unzip();
    let streams = Streams::new(seed).named("diff");
    let means = paired_bootstrap(&differences, draws, &streams);
    let flips = sign_flip_test(&differences, draws, &streams);
    for ((metric, difference), sign_flip) in metrics.into_iter().zip(means).zip(flips) {
        let verdict = Verdict::of(&difference, more_is_better(&metric.metric));
        metric.groups[other].comparison =
            Some(Comparison { basis: Basis::Queries, difference, sign_flip: Some(sign_flip), verdict });
    }
}

/// The queries of a group by id and class of the query image. An image has one query per run and repetition of the protocol.
fn queries_by_image<'a>(node_split: &NodeSplit, group: &'a Group) -> BTreeMap<(u32, u32), Vec<&'a Query>> {
    let mut by_image: BTreeMap<(u32, u32), Vec<&Query>> = BTreeMap::new();
    for query in group.queries.iter().filter_map(|queries| queries.get(node_split)).flatten() {
        by_image.entry((query.id, query.label)).or_default().push(query);
    }
    by_image
}

#[cfg(test)]
mod tests;
