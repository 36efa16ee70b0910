//! When nodes ran, and the critical path: the chain of nodes, each reading the one before, that took longest.

use std::collections::BTreeMap;

use crate::execute::Outcome;
use crate::pages::evidence::Evidence;

/// A node on the timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its name.
    pub node: String,
    /// Its stage, by number, for its colour.
    pub stage: usize,
    /// Seconds from the start of the run to its begin.
    pub begin: f64,
    /// Its seconds.
    pub seconds: f64,
    /// Whether it is on the critical path.
    pub is_critical: bool,
    /// Lane, from 0: nodes that ran at the same time have different lanes.
    pub lane: usize,
    /// Threads, memory and so on, as far as they are known.
    pub note: String,
}

/// The timeline of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// Nodes that ran, in the order in which they began.
    pub spans: Vec<Span>,
    /// Number of lanes.
    pub lanes: usize,
    /// Seconds of the critical path.
    pub critical: f64,
    /// Seconds that the records of hits once took.
    pub saved: f64,
}

impl Timeline {
    /// The timeline of a run; `None` if it does not say when its nodes began.
    pub fn new(evidence: &Evidence) -> Option<Self> {
        let _ = evidence;
        None
    }
}

/// The heaviest chain in a DAG in topological order: for each node whether it is on it, and its weight.
pub fn critical_path(weights: &[f64], upstream: &[Vec<usize>]) -> (Vec<bool>, f64) {
    let mut best: Vec<(f64, Option<usize>)> = Vec::with_capacity(weights.len());
    for (node, weight) in weights.iter().enumerate() {
        let before = upstream[node].iter().copied().max_by(|&a, &b| best[a].0.total_cmp(&best[b].0));
        best.push((weight + before.map_or(0.0, |before| best[before].0), before));
    }
    let mut is_on = vec![false; weights.len()];
    let mut at = (0..weights.len()).max_by(|&a, &b| best[a].0.total_cmp(&best[b].0));
    let total = at.map_or(0.0, |end| best[end].0);
    while let Some(node) = at {
        is_on[node] = true;
        at = best[node].1;
    }
    (is_on, total)
}

/// The lane of each span, given their begins (sorted) and ends: the first lane that is free.
pub fn lanes(spans: &[(f64, f64)]) -> Vec<usize> {
    let mut ends: Vec<f64> = Vec::new();
    let lane = |&(begin, end): &(f64, f64)| match ends.iter().position(|&busy| busy <= begin + 1e-9) {
        Some(lane) => {
            ends[lane] = end;
            lane
        }
        None => {
            ends.push(end);
            ends.len() - 1
        }
    };
    spans.iter().map(lane).collect()
}

#[expect(dead_code, reason = "used once runs say when their nodes began")]
type Begins = BTreeMap<String, (f64, Outcome)>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_critical_path_is_the_heaviest_chain() {
        // 0 → 1 → 3, 0 → 2 → 3
        let (on, total) = critical_path(&[1.0, 5.0, 2.0, 1.0], &[vec![], vec![0], vec![0], vec![1, 2]]);
        assert_eq!((on, total), (vec![true, true, false, true], 7.0));
        assert_eq!(critical_path(&[], &[]), (vec![], 0.0));
    }

    #[test]
    fn what_runs_at_the_same_time_has_lanes_of_its_own() {
        assert_eq!(lanes(&[(0.0, 2.0), (1.0, 3.0), (2.0, 4.0), (2.5, 3.0), (3.5, 4.0)]), [0, 1, 0, 2, 1]);
    }
}
