//! Training curves: each term of the history, as the mean over the steps of an epoch, along all rounds.

use std::collections::BTreeMap;

use dnc_stages::ArtifactKind;
use dnc_stages::api::Columns;
use dnc_stages::tables::history;

use crate::pages::error::PagesError;
use crate::pages::evidence::Evidence;

/// One learner in one round.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The round; 0 without rounds.
    pub round: u32,
    /// The learner.
    pub learner: u32,
    /// Epoch, counted over all rounds, and mean over its steps.
    pub values: Vec<(f64, f64)>,
}

/// The training of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Training {
    /// Curves by term.
    pub terms: BTreeMap<String, Vec<Curve>>,
    /// The first epoch of each round, counted over all rounds.
    pub starts: Vec<f64>,
    /// Images per second of each training node.
    pub speed: Vec<(String, f64)>,
    /// Nodes that trained, but whose history is no longer in the store.
    pub lost: Vec<String>,
}

/// Sum and number of the values of a term in an epoch, by term, learner and epoch.
type Sums = BTreeMap<(String, u32, u32), (f64, usize)>;

/// Reads the histories of all training nodes.
///
/// # Errors
/// The store cannot be read, or a history is damaged.
pub fn training(evidence: &Evidence) -> Result<Training, PagesError> {
    let mut training = Training::default();
    let mut by_round: BTreeMap<u32, Sums> = BTreeMap::new();
    for node in evidence.json.nodes.iter().filter(|node| node.outputs.contains_key("history")) {
        if let Some(&speed) = node.measured.get("images per second") {
            training.speed.push((node.node.clone(), speed));
        }
        let opened = evidence.open(&node.node, "history", ArtifactKind::History, Columns::All, |_| true)?;
        let Some(artifact) = opened else {
            training.lost.push(node.node.clone());
            continue;
        };
        let (round, learner) = place(&node.node);
        let sums = by_round.entry(round).or_default();
        for row in history::open(&artifact)? {
            let entry = sums.entry((row.term, learner.unwrap_or(row.learner), row.epoch)).or_default();
            *entry = (entry.0 + row.value, entry.1 + 1);
        }
    }
    let mut start = 0.0;
    for (round, sums) in by_round {
        let epochs = sums.keys().map(|(_, _, epoch)| epoch + 1).max().unwrap_or(0);
        training.starts.push(start);
        for ((term, learner, epoch), (sum, count)) in sums {
            let curves = training.terms.entry(term).or_default();
            let is_new = curves.last().is_none_or(|curve| (curve.round, curve.learner) != (round, learner));
            if is_new {
                curves.push(Curve { round, learner, values: Vec::new() });
            }
            if let Some(curve) = curves.last_mut() {
                curve.values.push((start + f64::from(epoch), sum / count as f64));
            }
        }
        start += f64::from(epochs);
    }
    Ok(training)
}

/// Round and learner in a node's name, such as `train@2[3]`.
fn place(node: &str) -> (u32, Option<u32>) {
    let rest = node.split_once('@').map_or("", |(_, rest)| rest);
    let (round, learner) = rest.split_once('[').map_or((rest, None), |(round, learner)| (round, Some(learner)));
    let learner = learner.and_then(|learner| learner.trim_end_matches(']').parse().ok());
    (round.parse().unwrap_or(0), learner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes_tell_round_and_learner() {
        let names = [("train@2[3]", (2, Some(3))), ("train@1", (1, None)), ("train", (0, None))];
        names.iter().for_each(|(name, expected)| assert_eq!(place(name), *expected));
    }
}
