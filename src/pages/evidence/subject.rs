//! The subject of a report: the evaluated rounds, the chosen one, and the references that it has to beat.

use crate::plan::Plan;
use crate::report::metrics::Metric;
use crate::report::run_folder::RunJson;

/// An evaluated model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluated {
    /// The node that evaluated it.
    pub node: String,
    /// Its round; -1 if the manifest has no rounds.
    pub round: i32,
    /// Number of learners, K; 0 if the manifest has no rounds.
    pub learners: i32,
}

/// The last choice of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The node that chose.
    pub node: String,
    /// The split whose classes it chose by.
    pub split: String,
}

/// What the report is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The evaluated rounds in order.
    pub rounds: Vec<Evaluated>,
    /// Position of the chosen round.
    chosen: usize,
    /// What chose the round, if the manifest has such a stage; otherwise the last round is reported.
    pub chosen_by: Option<Choice>,
    /// Evaluations outside the rounds: raw pixels, the untrained network.
    pub references: Vec<String>,
    /// The split that is reported.
    pub split: String,
    /// The metrics of the headline: Recall@1 and MAP@R, or CMC@1 and mAP.
    pub headline: [(&'static str, Option<i32>); 2],
}

/// Kind of the stages that evaluate, and of those that choose a round.
const EVALUATE: &str = "evaluate";
const CHOOSE: &str = "choose";

impl Subject {
    /// Finds the subject of a run.
    pub fn find(json: &RunJson, plan: Option<&Plan>, metrics: &[Metric]) -> Option<Self> {
        let of_kind = |kind: &str| {
            let nodes = json.nodes.iter().filter(|node| node.stage == kind).map(|node| node.node.clone());
            nodes.filter(|node| metrics.iter().any(|row| row.node == *node)).collect::<Vec<String>>()
        };
        let evaluated = of_kind(EVALUATE);
        let choosers = of_kind(CHOOSE);
        let stage_of = |node: &str| node.split_once('@').map(|(stage, _)| stage.to_owned());
        // With several evaluations per round, the one that chooses the round is reported.
        let compared = choosers.last().and_then(|chooser| {
            let plan = plan?;
            let chooser = plan.nodes.iter().find(|node| node.name == *chooser)?;
            let feed = chooser.inputs.iter().find(|wire| wire.port == "metrics")?.feeds.first()?;
            stage_of(&plan.nodes[feed.node].name)
        });
        let stage = compared.or_else(|| evaluated.iter().find_map(|node| stage_of(node)));
        let in_rounds: Vec<String> =
            evaluated.iter().filter(|node| stage.is_some() && stage_of(node) == stage).cloned().collect();
        let (nodes, references): (Vec<String>, Vec<String>) = if in_rounds.is_empty() {
            let last = evaluated.last()?.clone();
            (vec![last.clone()], evaluated.into_iter().filter(|node| *node != last).collect())
        } else {
            (in_rounds, evaluated.into_iter().filter(|node| !node.contains('@')).collect())
        };
        let row = |node: &String| metrics.iter().find(|row| row.node == *node);
        let rounds: Vec<Evaluated> = nodes
            .iter()
            .filter_map(|node| {
                row(node).map(|row| Evaluated { node: node.clone(), round: row.round, learners: row.learners })
            })
            .collect();
        let choice = choosers.last().and_then(row);
        let chosen_by = choice.map(|row| Choice { node: row.node.clone(), split: row.split.clone() });
        let chosen = choice.and_then(|row| rounds.iter().position(|known| known.round == row.round));
        let chosen = chosen.unwrap_or(rounds.len().checked_sub(1)?);
        let node = &rounds[chosen].node;
        let has = |split: &str| metrics.iter().any(|row| row.node == *node && row.split == split);
        let split = ["test", "query", "validation", "train"].into_iter().find(|split| has(split))?.to_owned();
        let is_cmc = metrics.iter().any(|row| row.node == *node && row.metric == "cmc");
        let headline =
            if is_cmc { [("cmc", Some(1)), ("map", None)] } else { [("recall", Some(1)), ("map_at_r", None)] };
        Some(Self { rounds, chosen, chosen_by, references, split, headline })
    }

    /// The chosen round.
    pub fn chosen(&self) -> &Evaluated {
        &self.rounds[self.chosen]
    }

    /// The round before division, with a single metric, if the chosen one has several learners.
    pub fn single(&self) -> Option<&Evaluated> {
        self.rounds.iter().find(|round| round.learners == 1).filter(|_| self.chosen().learners > 1)
    }

    /// All evaluated nodes: references first, then rounds.
    pub fn nodes(&self) -> impl Iterator<Item = &String> {
        self.references.iter().chain(self.rounds.iter().map(|round| &round.node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_with_a_single_metric_is_not_compared_with_an_earlier_one_of_its_kind() {
        let check = |learners: &[i32], chosen: usize, expected: Option<i32>| {
            let round =
                |(round, &learners): (i32, &i32)| Evaluated { node: format!("evaluate@{round}"), round, learners };
            let subject = Subject {
                rounds: (0..).zip(learners).map(round).collect(),
                chosen,
                chosen_by: None,
                references: Vec::new(),
                split: "test".to_owned(),
                headline: [("recall", Some(1)), ("map_at_r", None)],
            };
            assert_eq!(subject.single().map(|single| single.round), expected, "{learners:?}");
        };
        check(&[1, 2, 4], 2, Some(0));
        check(&[1, 2, 4], 0, None);
        check(&[1, 1, 1], 2, None);
        check(&[4], 0, None);
    }
}
