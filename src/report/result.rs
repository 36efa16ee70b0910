//! The result of a run in one sentence, and in one number.

use std::collections::HashMap;

use super::metrics::{Metric, metric_label};
use super::run_folder::RunJson;
use crate::execute::Outcome;

/// Metrics that the sentence gives, where they were computed. Without cameras the first three, with cameras the last two.
const TOLD: [(&str, Option<i32>); 5] =
    [("recall", Some(1)), ("map_at_r", None), ("r_precision", None), ("cmc", Some(1)), ("map", None)];

/// Splits that a result is about, the most telling first.
const SPLITS: [&str; 3] = ["test", "query", "validation"];

/// The result of a run whose rounds were chosen from, or `None`, also if a choice could not be made: that of earlier rounds is not the
/// run's. `stage_of` gives the kind of the stage of a node, and `ended` that of each node with how it ended; `metrics` are in the order
/// of the plan.
///
/// For example: ``Round 2 (K = 4) was chosen by map_at_r 0.3127 on validation classes: test recall@1 0.3962, map_at_r
/// 0.2247, r_precision 0.3010.``
pub fn sentence<'a>(
    stage_of: impl Fn(&str) -> Option<&'a str>,
    mut ended: impl Iterator<Item = (&'a str, Outcome)>,
    metrics: &[Metric],
) -> Option<String> {
    if ended.any(|(stage, outcome)| stage == "choose" && matches!(outcome, Outcome::Failed | Outcome::Skipped)) {
        return None;
    }
    let (chosen, node) = chosen(&stage_of, metrics)?;
    let (split, values) = told(metrics, node)?;
    Some(format!(
        "Round {} (K = {}) was chosen by {} {:.4} on {} classes: {split} {}.",
        chosen.round,
        chosen.learners,
        chosen.label(),
        chosen.value,
        chosen.split,
        values.join(", ")
    ))
}

/// The first metric of the chosen round, or of the last evaluation if rounds are not chosen from: `test recall@1 0.3962`. `None` if the
/// run did not get to this choice or evaluation: what it measured before, such as an untrained model, is not its result.
pub fn headline(run: &RunJson, metrics: &[Metric]) -> Option<String> {
    let last_of = |stage: &str| run.nodes.iter().rfind(|node| node.stage == stage);
    let deciding = last_of("choose").or_else(|| last_of("evaluate"))?;
    if !matches!(deciding.outcome, Outcome::Hit | Outcome::Ran) {
        return None;
    }
    let stages: HashMap<&str, &str> = run.nodes.iter().map(|node| (node.node.as_str(), node.stage.as_str())).collect();
    let stage_of = |node: &str| stages.get(node).copied();
    let last = || metrics.iter().rfind(|metric| stage_of(&metric.node) == Some("evaluate"));
    let node = chosen(&stage_of, metrics).map(|(_, node)| node).or_else(|| Some(last()?.node.as_str()))?;
    let (split, values) = told(metrics, node)?;
    Some(format!("{split} {}", values.first()?))
}

/// The metric that the last `choose` chose by, and the evaluation that it is from.
fn chosen<'a, 'm>(stage_of: &impl Fn(&str) -> Option<&'a str>, metrics: &'m [Metric]) -> Option<(&'m Metric, &'m str)> {
    let chosen = metrics.iter().rfind(|metric| stage_of(&metric.node) == Some("choose"))?;
    let is_base = |metric: &&Metric| {
        let Metric { round, learners, split, metric: name, k, value, .. } = metric;
        (*round, *learners, split, name, *k, *value)
            == (chosen.round, chosen.learners, &chosen.split, &chosen.metric, chosen.k, chosen.value)
            && stage_of(&metric.node) == Some("evaluate")
    };
    Some((chosen, &metrics.iter().find(is_base)?.node))
}

/// The split that an evaluation is mainly about, and its metrics on it, such as `recall@1 0.3962`.
fn told(metrics: &[Metric], node: &str) -> Option<(&'static str, Vec<String>)> {
    let of_node = || metrics.iter().filter(|metric| metric.node == node);
    let split = SPLITS.into_iter().find(|split| of_node().any(|metric| metric.split == *split))?;
    let value = |(name, k): (&str, Option<i32>)| {
        let found = of_node().find(|metric| metric.split == split && metric.metric == name && metric.k == k)?;
        Some(format!("{} {:.4}", metric_label(name, k), found.value))
    };
    Some((split, TOLD.into_iter().filter_map(value).collect()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_sentence_names_the_chosen_round_not_the_last() {
        let stage_of = |node: &str| Some(if node.starts_with("choose") { "choose" } else { "evaluate" });
        let metric = |node: &str, round, split: &str, metric: &str, k, value| Metric {
            run: "sop/1".into(),
            node: node.into(),
            round,
            learners: 1 << round,
            split: split.into(),
            metric: metric.into(),
            k,
            value,
        };
        let metrics = [
            metric("evaluate@0", 0, "validation", "map_at_r", None, 0.5),
            metric("evaluate@0", 0, "test", "recall", Some(1), 0.25),
            metric("evaluate@0", 0, "test", "map_at_r", None, 0.125),
            metric("evaluate@1", 1, "validation", "map_at_r", None, 0.25),
            metric("evaluate@1", 1, "test", "recall", Some(1), 0.75),
            metric("choose@0", 0, "validation", "map_at_r", None, 0.5),
            metric("choose@1", 0, "validation", "map_at_r", None, 0.5),
        ];
        insta::assert_snapshot!(
            sentence(stage_of, [("choose", Outcome::Ran)].into_iter(), &metrics).expect("a round was chosen"),
            @"Round 0 (K = 1) was chosen by map_at_r 0.5000 on validation classes: test recall@1 0.2500, map_at_r 0.1250."
        );
        assert_eq!(sentence(stage_of, std::iter::empty(), &metrics[..5]), None, "nothing was chosen");
        let ended = [("choose", Outcome::Ran), ("choose", Outcome::Skipped)].into_iter();
        assert_eq!(sentence(stage_of, ended, &metrics[..6]), None, "the second round failed");

        let run = |nodes: &[(&str, &str)]| -> RunJson {
            let node = |&(name, outcome): &(&str, &str)| {
                let stage = stage_of(name).expect("it has one");
                json!({ "node": name, "stage": stage, "outcome": outcome })
            };
            let nodes: Vec<Value> = nodes.iter().map(node).collect();
            let run = json!({
                "run": "sop/1", "manifest": "", "store": "", "started": 0, "seconds": 0.0, "version": "", "device": "",
                "arithmetic": "", "threads": 1, "jobs": 1, "overrides": [], "nodes": nodes,
            });
            serde_json::from_value(run).expect("it has all fields without a default")
        };
        let check = |nodes: &[(&str, &str)], metrics: &[Metric], expected: Option<&str>| {
            assert_eq!(headline(&run(nodes), metrics).as_deref(), expected, "{nodes:?}");
        };
        let (first, second) = (("evaluate@0", "ran"), ("evaluate@1", "hit"));
        let (first_choice, second_choice) = (("choose@0", "ran"), ("choose@1", "ran"));
        check(&[first, second, first_choice, second_choice], &metrics, Some("test recall@1 0.2500"));
        check(&[first, second], &metrics[..5], Some("test recall@1 0.7500"));
        check(&[first, ("evaluate@1", "cancelled")], &metrics[..3], None);
        check(&[first, second, first_choice, ("choose@1", "cancelled")], &metrics[..6], None);
    }
}
