//! The rows of the two tables as far as they are filled.

use crate::context::Context;
use crate::tables::Split;
use crate::tables::metrics::MetricRow;
use crate::tables::queries::QueryRow;

/// The round of a node that stands outside of rounds.
const NO_ROUND: i32 = -1;

/// The rows of the two tables as far as they are filled.
pub(super) struct Rows {
    round: i32,
    learners: i32,
    pub(super) metrics: Vec<MetricRow>,
    pub(super) queries: Vec<QueryRow>,
}

impl Rows {
    pub(super) fn of(context: &Context<'_>) -> Self {
        let ambient = context.ambient();
        let round = ambient.round.map_or(NO_ROUND, |round| round as i32);
        let learners = ambient.learners.map_or(0, |learners| learners as i32);
        Self { round, learners, metrics: Vec::new(), queries: Vec::new() }
    }

    pub(super) fn metric(&mut self, split: Split, name: impl Into<String>, k: Option<u32>, value: f64) {
        let (round, learners, metric) = (self.round, self.learners, name.into());
        self.metrics.push(MetricRow { round, learners, split, metric, k: k.map(|k| k as i32), value });
    }
}
