//! Rows of the output tables `metrics`, `queries` and `nuisances`, collected while splits are evaluated.

use dnc_tables::Split;
use dnc_tables::metrics::MetricRow;
use dnc_tables::nuisances::NuisanceRow;
use dnc_tables::queries::QueryRow;

use crate::api::Context;

/// Round of a node that does not belong to a round.
const NO_ROUND: i32 = -1;

/// Rows of the output tables.
pub(super) struct Results {
    round: i32,
    learners: i32,
    pub(super) metrics: Vec<MetricRow>,
    pub(super) queries: Vec<QueryRow>,
    pub(super) nuisances: Vec<NuisanceRow>,
}

impl Results {
    /// No rows yet, for the round of this node and this number of learners.
    pub(super) fn new(context: &Context<'_>, learners: u32) -> Self {
        let round = context.ambient().round.map_or(NO_ROUND, |round| round as i32);
        let (metrics, queries, nuisances) = (Vec::new(), Vec::new(), Vec::new());
        Self { round, learners: learners as i32, metrics, queries, nuisances }
    }

    /// Adds the value of a metric.
    pub(super) fn add(&mut self, split: Split, name: impl Into<String>, k: Option<u32>, value: f64) {
        let (round, learners, metric) = (self.round, self.learners, name.into());
        self.metrics.push(MetricRow { round, learners, split, metric, k: k.map(|k| k as i32), value });
    }
}
