//! A trial: a setting of the space, and what it reached.

use super::objective::Objective;
use super::space::Point;
use crate::report::metrics::Metric;
use crate::report::run_folder::RunFolder;

/// A setting of the space, and what it reached.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Its number, from 1.
    pub number: usize,
    /// Its coordinates.
    pub point: Point,
    /// The value of each key, as TOML.
    pub texts: Vec<String>,
    /// What it reached at each rung that it ran to, in their order.
    pub rungs: Vec<Rung>,
}

/// What a trial reached at a rung.
#[derive(Clone, Debug)]
pub struct Rung {
    /// The round; `None` in a sweep without halving.
    pub round: Option<u32>,
    /// What it reached with each seed, in the order of the seeds. What comes after a failure is left out.
    pub seeds: Vec<Reached>,
}

/// What a trial reached with one seed.
#[derive(Clone, Debug)]
pub enum Reached {
    /// It measured the objective.
    Value {
        /// The objective.
        metric: Metric,
        /// The run that measured it.
        run: RunFolder,
    },
    /// A node failed.
    Failed {
        /// Which, and why.
        reason: String,
        /// The run, if there was one.
        run: Option<RunFolder>,
    },
    /// It has not run, since nothing should.
    NotRun {
        /// Number of nodes that have a record.
        hit: usize,
        /// Number of nodes that would run.
        stale: usize,
    },
}

/// One run of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialRun {
    /// Number of the trial, from 1.
    pub trial: usize,
    /// Number of trials in the sweep.
    pub trials: usize,
    /// The seed, if the sweep has seeds.
    pub seed: Option<u64>,
    /// The round at which it stops; `None` in a sweep without halving.
    pub round: Option<u32>,
    /// Its settings: `train.epochs=5 train.loss.margin=0.2`.
    pub label: String,
}

impl Trial {
    /// How good it is at rung number `rung`, more being better; `None` if it failed or did not run to it.
    pub fn score(&self, rung: usize, objective: &Objective) -> Option<f64> {
        Some(objective.score(self.rungs.get(rung)?.mean()?))
    }
}

impl Rung {
    /// The objective with each seed; `None` if one is missing.
    pub fn metrics<'r>(&'r self) -> Option<Vec<&'r Metric>> {
        let metric = |reached: &'r Reached| match reached {
            Reached::Value { metric, .. } => Some(metric),
            Reached::Failed { .. } | Reached::NotRun { .. } => None,
        };
        self.seeds.iter().map(metric).collect()
    }

    /// Mean over the seeds; `None` if one is missing.
    pub fn mean(&self) -> Option<f64> {
        let metrics = self.metrics()?;
        Some(metrics.iter().map(|metric| metric.value).sum::<f64>() / metrics.len() as f64)
    }

    /// The first failure.
    pub fn failure(&self) -> Option<&str> {
        self.seeds.iter().find_map(|reached| match reached {
            Reached::Failed { reason, .. } => Some(reason.as_str()),
            _ => None,
        })
    }

    /// Whether a seed has not run.
    pub fn is_open(&self) -> bool {
        self.seeds.iter().any(|reached| matches!(reached, Reached::NotRun { .. }))
    }

    /// The runs.
    pub fn runs(&self) -> impl Iterator<Item = &RunFolder> {
        self.seeds.iter().filter_map(|reached| match reached {
            Reached::Value { run, .. } => Some(run),
            Reached::Failed { run, .. } => run.as_ref(),
            Reached::NotRun { .. } => None,
        })
    }
}
