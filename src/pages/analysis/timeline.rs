//! When nodes ran, what hits saved, and the critical path: the chain of nodes, each reading the one before, that took longest.

use std::collections::BTreeMap;

use dnc_cache::Key;

use crate::execute::Outcome;
use crate::pages::budget::Budget;
use crate::pages::evidence::Evidence;
use crate::report::run_folder::NodeJson;

/// Number of earlier runs in which the seconds of a hit are looked for.
const EARLIER: usize = 10;

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
    /// Seconds that the records of hits once took, as far as an earlier run of the same name tells.
    pub saved: f64,
}

impl Timeline {
    /// The timeline of a run; `None` if it does not say when its nodes began.
    pub fn new(evidence: &Evidence) -> Option<Self> {
        let nodes = &evidence.json.nodes;
        if nodes.iter().all(|node| node.began.is_none()) {
            return None;
        }
        let position: BTreeMap<&str, usize> =
            nodes.iter().enumerate().map(|(at, node)| (node.node.as_str(), at)).collect();
        let mut upstream = vec![Vec::new(); nodes.len()];
        let mut stages = vec![0; nodes.len()];
        if let Some(plan) = &evidence.plan {
            for node in &plan.nodes {
                let Some(&at) = position.get(node.name.as_str()) else { continue };
                stages[at] = node.stage;
                let names = node.upstream().into_iter().map(|index| plan.nodes[index].name.as_str());
                upstream[at] = names.filter_map(|name| position.get(name).copied()).collect();
            }
        }
        let ran = |at: usize| matches!(nodes[at].outcome, Outcome::Ran | Outcome::Failed);
        let weights: Vec<f64> = (0..nodes.len()).map(|at| if ran(at) { nodes[at].seconds } else { 0.0 }).collect();
        let (is_critical, critical) = critical_path(&weights, &upstream);
        let mut spans: Vec<Span> = (0..nodes.len())
            .filter(|&at| ran(at))
            .filter_map(|at| {
                let node = &nodes[at];
                Some(Span {
                    node: node.node.clone(),
                    stage: stages[at],
                    begin: node.began?,
                    seconds: node.seconds,
                    is_critical: is_critical[at],
                    lane: 0,
                    note: note(node),
                })
            })
            .collect();
        spans.sort_by(|a, b| a.begin.total_cmp(&b.begin).then_with(|| a.node.cmp(&b.node)));
        let lanes = lanes(&spans.iter().map(|span| (span.begin, span.begin + span.seconds)).collect::<Vec<_>>());
        spans.iter_mut().zip(&lanes).for_each(|(span, &lane)| span.lane = lane);
        let lanes = lanes.into_iter().max().map_or(0, |last| last + 1);
        Some(Self { spans, lanes, critical, saved: saved(evidence) })
    }
}

/// What a node used, as far as it is known: `, up to 8 threads, GPU 0`.
fn note(node: &NodeJson) -> String {
    let threads = node.threads.map(|threads| format!(", up to {threads} threads"));
    let gpu = node.gpu.map(|gpu| format!(", GPU {gpu}"));
    let memory = node.peak_memory.map(|bytes| format!(", peak memory of its process {}", Budget(bytes as usize)));
    [threads, gpu, memory].into_iter().flatten().collect()
}

/// Seconds that the records of the hits took when earlier runs of the same name computed them.
fn saved(evidence: &Evidence) -> f64 {
    let hits = evidence.json.nodes.iter().filter(|node| node.outcome == Outcome::Hit);
    let mut open: BTreeMap<Key, usize> = BTreeMap::new();
    hits.filter_map(|node| node.key).for_each(|key| *open.entry(key).or_default() += 1);
    let mut saved = 0.0;
    for run in evidence.folder.before().into_iter().take(EARLIER) {
        let Ok(run) = run.read() else { continue };
        for node in run.nodes.iter().filter(|node| node.outcome == Outcome::Ran) {
            if let Some(times) = node.key.and_then(|key| open.remove(&key)) {
                saved += node.seconds * times as f64;
            }
        }
    }
    saved
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
