//! The result of a sweep: which trial is best, and which are not distinguishable from it.
//!
//! Every trial that reached the last rung is compared with the best one, as `dnc-run diff` compares runs: over seeds where there are
//! several, else over queries. Intervals are those of single comparisons. A verdict accounts for their number by Holm's method:
//! a trial is worse if its adjusted p is below 0.05.
//!
//! **Source** Holm, *A simple sequentially rejective multiple test procedure*, 1979.

use std::cmp::Ordering;

use dnc_learn::statistics::Difference;

use super::conduct::Course;
use super::file::SweepFile;
use super::trial::{Rung, Trial};
use crate::report::difference::comparison::{Basis, Comparison, GroupValues, MeanInterval, Resampling, compare_groups};
use crate::report::difference::group::Group;
use crate::report::metrics::Metric;
use crate::report::queries::{self, Queries};
use crate::session::SessionError;

/// Largest adjusted p of a trial that is worse than the best.
const SIGNIFICANT: f64 = 0.05;
/// Number of bootstrap samples where trials are compared over queries, as in `dnc-run diff`.
const DRAWS: usize = 10_000;

/// The result of a sweep.
pub struct SweepResult {
    /// The trials, the best first: those that reached the last rung by their objective, then those that were stopped, then those
    /// that failed.
    pub trials: Vec<TrialResult>,
}

/// The result of a trial.
pub struct TrialResult {
    /// Its number, from 1.
    pub number: usize,
    /// The value of each key, as TOML.
    pub texts: Vec<String>,
    /// The round of the last rung that it reached; `None` without halving.
    pub round: Option<u32>,
    /// The value with each seed.
    pub values: Vec<f64>,
    /// Their mean.
    pub mean: Option<f64>,
    /// 95 % interval of the mean, with two or more seeds.
    pub interval: Option<MeanInterval>,
    /// Its difference to the best trial.
    pub difference: Option<ComparedWithBest>,
    /// What became of it.
    pub verdict: TrialVerdict,
    /// Why it failed, if it did.
    pub reason: Option<String>,
    /// Its runs until the last rung that it reached, as `<name>/<n>`.
    pub runs: Vec<String>,
}

/// The difference of a trial to the best one: this minus the best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ComparedWithBest {
    /// What it was computed over.
    pub basis: Basis,
    /// The difference with its 95 % interval, and p of this comparison alone.
    pub difference: Difference,
    /// p, adjusted for the number of comparisons.
    pub adjusted_p: f64,
}

/// What became of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialVerdict {
    /// Its objective is the best of all.
    Best,
    /// It may be as good as the best.
    Indistinguishable,
    /// It is worse than the best.
    Worse,
    /// Neither seeds nor queries say how far its difference to the best is chance.
    NotCompared,
    /// Others were better at this round, so it ran no further.
    Stopped(u32),
    /// A node failed.
    Failed,
}

impl TrialVerdict {
    /// The text in tables and JSON.
    pub fn name(self) -> String {
        match self {
            Self::Best => "best".to_owned(),
            Self::Indistinguishable => "not distinguishable".to_owned(),
            Self::Worse => "worse".to_owned(),
            Self::NotCompared => "not compared".to_owned(),
            Self::Stopped(round) => format!("stopped at round {round}"),
            Self::Failed => "failed".to_owned(),
        }
    }
}

impl SweepResult {
    /// Ranks and compares the trials of a sweep that has ended.
    ///
    /// # Errors
    /// A run folder cannot be read.
    pub fn new(file: &SweepFile, course: &Course) -> Result<Self, SessionError> {
        let last = course.rungs.len() - 1;
        let mut order: Vec<&Trial> = course.trials.iter().collect();
        order.sort_by(|a, b| rank(b, file).partial_cmp(&rank(a, file)).unwrap_or(Ordering::Equal));
        let finalists = order.iter().take_while(|trial| trial.score(last, &file.objective).is_some()).count();
        let compared = compare_with_best(&order[..finalists])?;
        let results = order.iter().enumerate().map(|(place, trial)| {
            let (rung, difference) = (trial.rungs.last(), compared.get(place).copied().flatten());
            let failure = rung.and_then(Rung::failure);
            let verdict = match (failure, place, difference) {
                (Some(_), ..) => TrialVerdict::Failed,
                (None, place, _) if place >= finalists => {
                    TrialVerdict::Stopped(rung.and_then(|rung| rung.round).unwrap_or_default())
                }
                (None, 0, _) => TrialVerdict::Best,
                (None, _, None) => TrialVerdict::NotCompared,
                (None, _, Some(compared)) if compared.adjusted_p < SIGNIFICANT => TrialVerdict::Worse,
                (None, _, Some(_)) => TrialVerdict::Indistinguishable,
            };
            let metrics = rung.and_then(Rung::metrics).unwrap_or_default();
            let group =
                GroupValues { values: metrics.iter().map(|metric| metric.value).collect(), ..GroupValues::default() };
            TrialResult {
                number: trial.number,
                texts: trial.texts.clone(),
                round: rung.and_then(|rung| rung.round),
                mean: group.mean(),
                interval: metrics.first().and_then(|metric| group.interval(&metric.metric)),
                values: group.values,
                difference,
                verdict,
                reason: failure.map(str::to_owned),
                runs: rung.map(|rung| rung.runs().map(|run| run.id()).collect()).unwrap_or_default(),
            }
        });
        Ok(Self { trials: results.collect() })
    }

    /// The best trial, unless all failed.
    pub fn best(&self) -> Option<&TrialResult> {
        self.trials.first().filter(|trial| trial.verdict == TrialVerdict::Best)
    }

    /// Number of trials with this verdict.
    pub fn count(&self, is_it: impl Fn(TrialVerdict) -> bool) -> usize {
        self.trials.iter().filter(|trial| is_it(trial.verdict)).count()
    }
}

/// Whether it did not fail, how far it ran, how good it was there; of equals, the earlier is better.
fn rank(trial: &Trial, file: &SweepFile) -> (bool, usize, f64, i64) {
    let rungs = trial.rungs.len();
    let score = trial.score(rungs.saturating_sub(1), &file.objective);
    (score.is_some(), rungs, score.unwrap_or(f64::NEG_INFINITY), -(trial.number as i64))
}

/// The comparison of each of these trials, of which the first is the best, with the best.
fn compare_with_best(finalists: &[&Trial]) -> Result<Vec<Option<ComparedWithBest>>, SessionError> {
    let Some((best, others)) = finalists.split_first() else { return Ok(Vec::new()) };
    let best = group_of(best)?;
    let comparisons = others.iter().map(|other| {
        let groups = [best.clone(), group_of(other)?];
        let mut metrics = compare_groups(&groups, Resampling { draws: DRAWS, seed: 0 });
        Ok(metrics.pop().and_then(|metric| metric.groups.into_iter().nth(1)?.comparison))
    });
    let comparisons = comparisons.collect::<Result<Vec<Option<Comparison>>, SessionError>>()?;
    let p: Vec<f64> = comparisons.iter().flatten().map(|comparison| comparison.difference.p).collect();
    let mut adjusted = holm(&p).into_iter();
    let with_p = comparisons.into_iter().map(|comparison| {
        let Comparison { basis, difference, .. } = comparison?;
        let adjusted_p = adjusted.next().expect("there is one for each comparison");
        Some(ComparedWithBest { basis, difference, adjusted_p })
    });
    Ok(std::iter::once(None).chain(with_p).collect())
}

/// The objective of a trial at its last rung; with one seed, also its queries.
fn group_of(trial: &Trial) -> Result<Group, SessionError> {
    let mut group = Group::default();
    let Some(rung) = trial.rungs.last() else { return Ok(group) };
    let metrics = rung.metrics().unwrap_or_default();
    for (index, (run, &metric)) in rung.runs().zip(&metrics).enumerate() {
        let json = run.read().map_err(SessionError::cannot(format!("Cannot read run `{}`", run.id())))?;
        if let Some(images) = json.evaluated_images(&metric.node) {
            group.images.entry(String::new()).or_default().insert(images);
        }
        group.runs.push(run.id());
        // Only pairs of equal seeds are compared, and every trial has the same.
        group.seeds.push(index as i64);
        let queries = if metrics.len() == 1 { queries_of(run.path.as_path(), metric)? } else { Queries::new() };
        group.queries.push(queries);
        group.metrics.push(vec![Metric { node: String::new(), ..metric.clone() }]);
    }
    Ok(group)
}

/// The queries that a metric is the mean of. Their node is left unnamed: trials may have chosen different rounds.
fn queries_of(run: &std::path::Path, metric: &Metric) -> Result<Queries, SessionError> {
    let all = queries::read(run).map_err(SessionError::cannot("Cannot read the queries of a run"))?;
    Ok(queries::unnamed(all, &metric.node))
}

/// Adjusts p for their number: the smallest is multiplied by n, the next one by n − 1, and so on; no p is below a smaller one's.
fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest: f64 = 0.0;
    for (place, index) in order.into_iter().enumerate() {
        largest = largest.max(p[index] * (p.len() - place) as f64).min(1.0);
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_is_adjusted_for_the_number_of_comparisons() {
        // Values of R's p.adjust(p, "holm").
        assert_eq!(holm(&[0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02]);
        assert_eq!(holm(&[0.5, 0.9, 0.0]), [1.0, 1.0, 0.0]);
        assert_eq!(holm(&[]), [0.0; 0]);
    }
}
