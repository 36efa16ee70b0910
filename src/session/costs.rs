//! What nodes took in earlier runs.

use std::collections::HashMap;
use std::sync::Arc;

use dnc_cache::{Artifact, CacheError, Store};
use dnc_stages::api::DeviceChoice;

use crate::execute::Outcome;
use crate::plan::{Node, NodeIndex, Plan};
use crate::report::run_folder::{NodeJson, RunFolder, RunJson};

/// The most earlier runs that are read.
const MOST_RUNS: usize = 100;
/// Number of nodes in earlier runs after which no further run is read: the files of runs of large plans take long to read.
const MOST_NODES: usize = 200_000;

/// What a node took in an earlier run.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// The run, as `<name>/<n>`.
    pub run: Arc<str>,
    /// The node; another one of the same stage if the node itself has never run.
    pub node: String,
    /// Its run time in seconds.
    pub seconds: f64,
    /// The part of the run's threads that it had, in seconds of one thread.
    pub thread_seconds: f64,
    /// Bytes that it wrote, if its record is still in the store.
    pub bytes: Option<u64>,
}

/// What the `wanted` nodes of `plan` took when they last ran, looked for in `runs` one after the other; for a node that never ran
/// in a run of the plan's name, what the median node of its stage took in the first run that has one. Runs on another kind of
/// device do not count.
pub(super) fn costs(
    plan: &Plan,
    wanted: &[bool],
    runs: impl IntoIterator<Item = RunFolder>,
    store: &Store,
    device: DeviceChoice,
) -> Result<Vec<Option<Cost>>, CacheError> {
    let mut costs: Vec<Option<Cost>> = vec![None; plan.nodes.len()];
    let open = plan.nodes.iter().enumerate().filter(|(index, _)| wanted[*index]);
    let mut open: HashMap<&str, NodeIndex> = open.map(|(index, node)| (node.name.as_str(), index)).collect();
    let mut of_stages: HashMap<(&str, &str), Cost> = HashMap::new();
    let mut read = 0;
    for folder in runs.into_iter().take(MOST_RUNS) {
        if open.is_empty() || read > MOST_NODES {
            break;
        }
        let Some(run) = folder.read().ok().filter(|run| kind_of(&run.device) == kind_of(&device.to_string())) else {
            continue;
        };
        read += run.nodes.len();
        let name = Arc::from(folder.id());
        let shares = shares(&run.nodes);
        let cost = |position: usize| cost_of(&run, position, shares[position], &name, store);
        let mut by_stage: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
        for (position, node) in run.nodes.iter().enumerate().filter(|(_, node)| node.outcome == Outcome::Ran) {
            let index = open.get(node.node.as_str()).copied();
            if let Some(index) =
                index.filter(|&index| is_of_stage(plan, index, node) && folder.name == plan.manifest.name)
            {
                costs[index] = Some(cost(position)?);
                open.remove(node.node.as_str());
            }
            by_stage.entry((stage_name(&node.node), &node.stage)).or_default().push(position);
        }
        let stages = open.values().map(|&index| stage_of(plan, &plan.nodes[index]));
        let unknown: Vec<_> = stages.filter(|stage| !of_stages.contains_key(stage)).collect();
        for stage in unknown {
            if let Some(positions) = by_stage.get_mut(&stage) {
                positions.sort_by(|&one, &other| run.nodes[one].seconds.total_cmp(&run.nodes[other].seconds));
                of_stages.insert(stage, cost(positions[positions.len() / 2])?);
                by_stage.remove(&stage);
            }
        }
    }
    for index in open.into_values() {
        costs[index] = of_stages.get(&stage_of(plan, &plan.nodes[index])).cloned();
    }
    Ok(costs)
}

fn cost_of(run: &RunJson, position: usize, share: f64, name: &Arc<str>, store: &Store) -> Result<Cost, CacheError> {
    let node = &run.nodes[position];
    let outputs = node.key.map(|key| store.outputs(&key)).transpose()?.flatten();
    Ok(Cost {
        run: Arc::clone(name),
        node: node.node.clone(),
        seconds: node.seconds,
        // One that uses a single thread leaves the others free, even if it ran alone.
        thread_seconds: (share * run.threads as f64).min(node.seconds * node.threads.unwrap_or(1) as f64),
        bytes: outputs.map(|outputs| outputs.values().map(Artifact::size).sum()),
    })
}

/// For each node, its share of the run's time in seconds: each moment is divided equally among the nodes that ran in it.
fn shares(nodes: &[NodeJson]) -> Vec<f64> {
    let mut moments = Vec::with_capacity(2 * nodes.len());
    for (position, node) in nodes.iter().enumerate() {
        if let Some(began) = node.began {
            moments.extend([(began, false, position), (began + node.seconds, true, position)]);
        }
    }
    // A node that took no time begins before it ends.
    moments.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    let mut shares = vec![0.0; nodes.len()];
    let (mut running, mut before, mut share) = (0_u32, 0.0, 0.0);
    for (moment, ends, position) in moments {
        if running > 0 {
            share += (moment - before) / f64::from(running);
        }
        before = moment;
        if ends {
            shares[position] += share;
            running -= 1;
        } else {
            shares[position] -= share;
            running += 1;
        }
    }
    shares
}

fn is_of_stage(plan: &Plan, index: NodeIndex, node: &NodeJson) -> bool {
    plan.stage(&plan.nodes[index]).kind.name == node.stage
}

/// Name and kind of a node's stage.
fn stage_of<'p>(plan: &'p Plan, node: &'p Node) -> (&'p str, &'p str) {
    let stage = plan.stage(node);
    (&stage.name, stage.kind.name)
}

/// The stage in a node's name: `train` of `train@2[3]`.
fn stage_name(node: &str) -> &str {
    node.split(['@', '[']).next().unwrap_or(node)
}

/// `cuda` of `cuda:1`.
fn kind_of(device: &str) -> &str {
    device.split(':').next().unwrap_or(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_divided_among_the_nodes_that_run_in_it() {
        let node = |began: Option<f64>, seconds: f64| {
            let text = serde_json::json!({
                "node": "n", "stage": "command", "outcome": "ran", "began": began, "seconds": seconds
            });
            serde_json::from_value::<NodeJson>(text).expect("it has all fields without a default")
        };
        // Alone for 1 s, two for 2 s, three for 1 s, then a pause, one that takes no time, and one that never began.
        let nodes =
            [node(Some(0.0), 4.0), node(Some(1.0), 3.0), node(Some(3.0), 1.0), node(Some(5.0), 0.0), node(None, 0.0)];
        let expected = [1.0 + 1.0 + 1.0 / 3.0, 1.0 + 1.0 / 3.0, 1.0 / 3.0, 0.0, 0.0];
        for (share, expected) in shares(&nodes).iter().zip(expected) {
            assert!((share - expected).abs() < 1e-12, "{share} is not {expected}");
        }
    }
}
