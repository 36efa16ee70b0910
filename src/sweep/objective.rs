//! The objective of a sweep: a metric that a node measures on validation classes.

use dnc_stages::api::{Measure, WantedMetric};
use dnc_stages::tables::Split;
use dnc_stages::tables::metrics::{MAP_AT_R, more_is_better, with_substitute};
use serde_json::Value;

use crate::manifest::{Per, StageNode, suggest};
use crate::plan::Plan;
use crate::report::metrics::{Metric, metric_label};

/// The split that settings are chosen on.
pub const VALIDATION: &str = "validation";

/// `[objective]` in a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The stage whose metric it is, or one node.
    pub node: String,
    /// The metric, without its k.
    pub metric: String,
    /// The k of the metric, if it has one.
    pub k: Option<i32>,
}

impl Default for Objective {
    fn default() -> Self {
        Self { node: "evaluate".to_owned(), metric: MAP_AT_R.to_owned(), k: None }
    }
}

impl Objective {
    /// The metric with its k, such as `recall@1`.
    pub fn label(&self) -> String {
        metric_label(&self.metric, self.k)
    }

    /// How good a value is, more being better.
    pub fn score(&self, value: f64) -> f64 {
        if more_is_better(&self.metric) { value } else { -value }
    }

    /// The node of `plan` that measures it: of the stage's nodes that of `round`, or without one that of the last round.
    ///
    /// # Errors
    /// A message: the plan has no such node, or it does not measure validation classes.
    pub fn node_of(&self, plan: &Plan, round: Option<u32>) -> Result<String, String> {
        let stages = &plan.manifest.stages;
        let stage_name = self.node.split('@').next().unwrap_or_default();
        let stage = stages.iter().find(|stage| stage.name == stage_name).ok_or_else(|| {
            let hint = suggest::did_you_mean(stage_name, stages.iter().map(|stage| stage.name.as_str()));
            let hint = hint.unwrap_or_else(|| "set `objective.node` to a stage that evaluates".to_owned());
            format!("The manifest has no stage `{stage_name}`, which is the sweep's objective; {hint}")
        })?;
        self.check(stage, plan)?;
        if self.node.contains('@') {
            if round.is_some() {
                return Err(format!(
                    "With `[halving]`, `objective.node` must be a stage and not one of its nodes: write `{stage_name}`, not `{}`",
                    self.node
                ));
            }
            let exists = plan.nodes.iter().any(|node| node.name == self.node);
            let rounds = plan.manifest.rounds();
            return exists
                .then(|| self.node.clone())
                .ok_or_else(|| format!("The plan has no node `{}`; it has {rounds} rounds, from 0", self.node));
        }
        let last = plan.manifest.rounds().saturating_sub(1);
        match (stage.per, round) {
            (Per::Learner, _) => Err(format!(
                "`{stage_name}` runs once per learner, so it has no single value; the sweep's objective must be a stage that runs once, or \
                 once per round"
            )),
            (Per::Once, None) => Ok(stage_name.to_owned()),
            (Per::Once, Some(_)) => Err(format!(
                "`{stage_name}` runs once and not once per round, so its trials cannot be compared at `halving.rungs`"
            )),
            (Per::Round, Some(round)) if round > last => Err(format!(
                "The last of `halving.rungs` is {round}, but the last round of the manifest is {last}; rounds count from 0"
            )),
            (Per::Round, round) => Ok(format!("{stage_name}@{}", round.unwrap_or(last))),
        }
    }

    /// Refuses what is known, before anything runs, not to measure validation classes.
    fn check(&self, stage: &StageNode, plan: &Plan) -> Result<(), String> {
        let StageNode { params, .. } = stage;
        let (node, reason) = (&self.node, "settings that are chosen on other classes say nothing about unseen ones");
        let is_validation = |split: &Value| split.as_str() == Some(VALIDATION);
        match stage.kind.name {
            "evaluate" => {
                if params["splits"].as_array().is_some_and(|splits| !splits.iter().any(is_validation)) {
                    return Err(format!(
                        "`splits` of stage `{node}` leaves out `{VALIDATION}`, which is what a sweep is judged by: {reason}"
                    ));
                }
            }
            "choose" if !is_validation(&params["split"]) => {
                return Err(format!(
                    "Stage `{node}` chooses on split {} instead of `{VALIDATION}`: {reason}",
                    params["split"]
                ));
            }
            "choose" => {}
            kind => {
                return Err(format!(
                    "Stage `{node}` is of kind `{kind}`; an objective is a stage of kind `evaluate` or `choose`"
                ));
            }
        }
        self.check_measured(stage)?;
        match plan.manifest.stages.iter().find(|stage| !stage.job.may_assign(Split::Validation)) {
            Some(stage) => Err(format!(
                "The manifest holds out no validation classes, which a sweep is judged by; add `split = {{ validation = 0.1 }}` to \
                 stage `{}`",
                stage.name
            )),
            None => Ok(()),
        }
    }

    /// Refuses a metric that the stage does not measure, whatever the data are.
    fn check_measured(&self, stage: &StageNode) -> Result<(), String> {
        let wanted = WantedMetric {
            names: with_substitute(&self.metric).map(str::to_owned).collect(),
            k: self.k.and_then(|k| u32::try_from(k).ok()),
            split: Split::Validation,
        };
        let measures = stage.job.measures(wanted.split);
        let Some(measures) = measures.filter(|measures| !wanted.is_among(measures)) else { return Ok(()) };
        let labels: Vec<String> = measures.iter().flat_map(Measure::labels).collect();
        let all = suggest::all_of(labels.iter().map(String::as_str));
        let (name, label) = (&stage.name, self.label());
        Err(format!(
            "Stage `{name}` does not measure `{label}`, which is the sweep's objective; it may measure {all}: change `metric` or `k` under \
             `[objective]`, or the parameters of `{name}`"
        ))
    }

    /// The value that `node` measured, among the metrics of a run.
    ///
    /// # Errors
    /// A message that lists what was measured instead.
    pub fn find<'m>(&self, metrics: &'m [Metric], node: &str) -> Result<&'m Metric, String> {
        let of_node = || metrics.iter().filter(|metric| metric.node == node && metric.split == VALIDATION);
        let named = |name: &str| of_node().find(|metric| metric.metric == name && metric.k == self.k);
        if let Some(found) = with_substitute(&self.metric).find_map(named) {
            return Ok(found);
        }
        let labels: Vec<String> = of_node().map(Metric::label).collect();
        Err(match labels.as_slice() {
            [] => format!(
                "Node `{node}` measured nothing on validation classes, which a sweep is judged by; hold some out in `decode`, as in \
                 `split = {{ validation = 0.1 }}`"
            ),
            labels => format!(
                "Node `{node}` did not measure `{}` on validation classes, but {}; change `metric` or `k` under `[objective]`",
                self.label(),
                suggest::all_of(labels.iter().map(String::as_str))
            ),
        })
    }
}
