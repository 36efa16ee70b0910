//! Metrics of several runs side by side, and whether what they differ by is more than chance.
//!
//! Runs that differ by nothing but the seed are a [`Group`], whose mean is shown with Student's interval. Every group is
//! compared with the first one: over the seeds where both have several, by Student's paired test where they are the same seeds and
//! by Welch's where not; otherwise over the queries that both answered, by the paired bootstrap and by flipping signs
//! ([`dnc_learn::statistics`]).
//!
//! **Reading order** [`group`], this file, [`forms`].

pub mod forms;
pub mod group;

use std::collections::BTreeMap;

use dnc_learn::statistics::{
    Difference, Interval, Verdict, mean_interval, paired_bootstrap, paired_t, sign_flip_test, welch,
};
use dnc_learn::streams::Streams;
use dnc_stages::tables::metrics::more_is_better;

use super::metrics::Metric;
use super::queries::Query;
use group::Group;

/// How often queries are drawn anew, and from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resampling {
    /// Draws of the bootstrap, and of signs.
    pub draws: usize,
    /// Where their streams begin.
    pub seed: u64,
}

/// One metric in each of several groups of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The node that measured it.
    pub node: String,
    /// On which images.
    pub split: String,
    /// Its name without its k.
    pub metric: String,
    /// Its k, if it has one.
    pub k: Option<i32>,
    /// What each group has of it.
    pub cells: Vec<Cell>,
}

/// One metric in one group of runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// The value in each run that has one.
    pub values: Vec<f64>,
    /// The seed of each of these runs.
    pub seeds: Vec<i64>,
    /// How the group differs from the first one; never known of the first.
    pub comparison: Option<Comparison>,
}

/// How a group differs from the first one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// What the interval and p are over.
    pub over: Over,
    /// The difference of the means, its interval, and p.
    pub difference: Difference,
    /// p by flipping signs; over queries only.
    pub sign_flip: Option<f64>,
    /// All of it in a word.
    pub verdict: Verdict,
}

/// What a comparison counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Runs, each side with seeds of its own.
    Seeds,
    /// Pairs of runs, both with the same seed.
    PairedSeeds,
    /// Queries that both sides answered.
    Queries,
}

impl Over {
    /// As a table shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seeds => "seeds",
            Self::PairedSeeds => "paired seeds",
            Self::Queries => "queries",
        }
    }
}

impl Line {
    /// The name with its k, as in `recall@1`.
    pub fn label(&self) -> String {
        self.k.map_or_else(|| self.metric.clone(), |k| format!("{}@{k}", self.metric))
    }

    fn is_of(&self, metric: &Metric) -> bool {
        (&self.node, &self.split, &self.metric, self.k) == (&metric.node, &metric.split, &metric.metric, metric.k)
    }
}

impl Cell {
    /// The mean over the group's runs, if any has a value.
    pub fn mean(&self) -> Option<f64> {
        (!self.values.is_empty()).then(|| self.values.iter().sum::<f64>() / self.values.len() as f64)
    }

    /// Student's interval over the seeds, for two or more.
    pub fn spread(&self) -> Option<Interval> {
        mean_interval(&self.values)
    }

    /// The values by their seeds; none where a seed has several.
    fn by_seed(&self) -> Option<BTreeMap<i64, f64>> {
        let values: BTreeMap<i64, f64> = self.seeds.iter().copied().zip(self.values.iter().copied()).collect();
        (values.len() == self.values.len()).then_some(values)
    }
}

/// A line for each metric of any run, in the order in which they first occur, with every group compared with the first.
pub fn side_by_side(groups: &[Group], resampling: Resampling) -> Vec<Line> {
    let mut lines = lines_of(groups);
    for line in &mut lines {
        let [first, others @ ..] = line.cells.as_mut_slice() else { continue };
        for other in others {
            other.comparison = over_seeds(&line.metric, first, other);
        }
    }
    let mut places: Vec<(String, String)> = lines.iter().map(|line| (line.node.clone(), line.split.clone())).collect();
    places.dedup();
    for place in &places {
        for other in 1..groups.len() {
            over_queries(place, groups, other, &mut lines, resampling);
        }
    }
    lines
}

fn lines_of(groups: &[Group]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        let metrics = group.seeds.iter().zip(&group.metrics);
        for (&seed, metric) in metrics.flat_map(|(seed, metrics)| metrics.iter().map(move |metric| (seed, metric))) {
            let index = lines.iter().position(|line| line.is_of(metric)).unwrap_or_else(|| {
                let Metric { node, split, metric, k, .. } = metric.clone();
                lines.push(Line { node, split, metric, k, cells: vec![Cell::default(); groups.len()] });
                lines.len() - 1
            });
            let cell = &mut lines[index].cells[number];
            cell.values.push(metric.value);
            cell.seeds.push(seed);
        }
    }
    lines
}

fn over_seeds(metric: &str, first: &Cell, other: &Cell) -> Option<Comparison> {
    let pairs = first.by_seed().zip(other.by_seed()).filter(|(first, other)| first.keys().eq(other.keys()));
    let (over, difference) = match pairs {
        Some((first, other)) => {
            let [first, other] = [first, other].map(|values| values.into_values().collect::<Vec<f64>>());
            (Over::PairedSeeds, paired_t(&first, &other))
        }
        None => (Over::Seeds, welch(&first.values, &other.values)),
    };
    let difference = difference.filter(|difference| difference.mean.is_finite())?;
    let verdict = Verdict::of(&difference, more_is_better(metric));
    Some(Comparison { over, difference, sign_flip: None, verdict })
}

/// Compares what is not yet compared of one node and split, over the queries that both groups answered; all metrics at once, so
/// that queries are drawn once.
fn over_queries(
    place: &(String, String),
    groups: &[Group],
    other: usize,
    lines: &mut [Line],
    Resampling { draws, seed }: Resampling,
) {
    let open = |line: &&mut Line| {
        (&line.node, &line.split) == (&place.0, &place.1)
            && line.cells[other].comparison.is_none()
            && [0, other].iter().all(|&group| !line.cells[group].values.is_empty())
    };
    let lines = lines.iter_mut().filter(open);
    let (first, second) = (answers(place, &groups[0]), answers(place, &groups[other]));
    let pairs: Vec<(&Vec<&Query>, &Vec<&Query>)> =
        first.iter().filter_map(|(image, queries)| Some((queries, second.get(image)?))).collect();
    if pairs.is_empty() {
        return;
    }
    let mean = |queries: &[&Query], line: &Line| -> Option<f64> {
        let shares = queries.iter().map(|query| query.share(&line.metric, line.k));
        Some(shares.sum::<Option<f64>>()? / queries.len() as f64)
    };
    let compared: Vec<(&mut Line, Vec<f64>)> = lines
        .filter_map(|line| {
            let difference = |(a, b): &(&Vec<&Query>, &Vec<&Query>)| Some(mean(b, line)? - mean(a, line)?);
            let differences = pairs.iter().map(difference).collect::<Option<Vec<f64>>>()?;
            Some((line, differences))
        })
        .collect();
    let (lines, differences): (Vec<&mut Line>, Vec<Vec<f64>>) = compared.into_iter().unzip();
    let streams = Streams::new(seed).named("diff");
    let found = paired_bootstrap(&differences, draws, &streams);
    let flips = sign_flip_test(&differences, draws, &streams);
    for ((line, difference), sign_flip) in lines.into_iter().zip(found).zip(flips) {
        let verdict = Verdict::of(&difference, more_is_better(&line.metric));
        line.cells[other].comparison =
            Some(Comparison { over: Over::Queries, difference, sign_flip: Some(sign_flip), verdict });
    }
}

/// What a group found for each image that it searched for, by the image's id and class: once a run, and once a repetition of the
/// protocol.
fn answers<'a>(place: &(String, String), group: &'a Group) -> BTreeMap<(u32, u32), Vec<&'a Query>> {
    let mut answers: BTreeMap<(u32, u32), Vec<&Query>> = BTreeMap::new();
    for query in group.queries.iter().filter_map(|queries| queries.get(place)).flatten() {
        answers.entry((query.id, query.label)).or_default().push(query);
    }
    answers
}

#[cfg(test)]
mod tests;
