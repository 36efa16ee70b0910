//! From stages to nodes: a stage that runs `once` becomes one node, `per = "round"` one node per round, and
//! `per = "learner"` one node per learner of each round.
//!
//! With a single learner there is nothing to divide: in such rounds, optional ports that take a division stay empty, and
//! nodes that exist only for that division are left out of the plan.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use dnc_stages::api::Arity;

use super::node::{Feed, Node, NodeIndex, Wire};
use crate::manifest::{Manifest, Per, Reference, StageNode, When, Which, learner_then};

/// All nodes in topological order.
pub(super) fn unroll(manifest: &Manifest) -> Vec<Node> {
    let positions = Positions::new(manifest);
    let mut nodes = Vec::with_capacity(positions.count);
    for (stage, planned) in manifest.stages.iter().enumerate().filter(|(_, planned)| planned.per == Per::Once) {
        nodes.push(node(manifest, stage, planned, None, None));
    }
    for round in 0..manifest.rounds() {
        for (stage, planned) in manifest.stages.iter().enumerate() {
            match planned.per {
                Per::Once => {}
                Per::Round => nodes.push(node(manifest, stage, planned, Some(round), None)),
                Per::Learner => {
                    let learners = 0..manifest.learners[round as usize];
                    nodes.extend(learners.map(|learner| node(manifest, stage, planned, Some(round), Some(learner))));
                }
            }
        }
    }
    for node in &mut nodes {
        node.inputs = wires(manifest, &positions, node);
    }
    let wanted = drop_needless_divisions(manifest, &mut nodes);
    sorted(nodes, &wanted)
}

/// Positions of the nodes of each stage.
struct Positions {
    /// Per stage and round (only round 0 for stages that run once), the index of the first node.
    first: Vec<Vec<NodeIndex>>,
    count: usize,
}

impl Positions {
    fn new(manifest: &Manifest) -> Self {
        let mut first = vec![Vec::new(); manifest.stages.len()];
        let mut count = 0;
        for (stage, _) in manifest.stages.iter().enumerate().filter(|(_, planned)| planned.per == Per::Once) {
            first[stage].push(count);
            count += 1;
        }
        for &learners in &manifest.learners {
            for (stage, planned) in manifest.stages.iter().enumerate() {
                if planned.per != Per::Once {
                    first[stage].push(count);
                    count += if planned.per == Per::Learner { learners as usize } else { 1 };
                }
            }
        }
        Self { first, count }
    }
}

fn node(manifest: &Manifest, stage: usize, planned: &StageNode, round: Option<u32>, learner: Option<u32>) -> Node {
    let name = match (round, learner) {
        (Some(round), Some(learner)) => format!("{}@{round}[{learner}]", planned.name),
        (Some(round), None) => format!("{}@{round}", planned.name),
        _ => planned.name.clone(),
    };
    let learners = |round: u32| manifest.learners[round as usize];
    Node {
        name,
        stage,
        round,
        learners: round.map(learners),
        previous_learners: round.and_then(|round| round.checked_sub(1)).map(learners),
        learner,
        inputs: Vec::new(),
    }
}

fn wires(manifest: &Manifest, positions: &Positions, reader: &Node) -> Vec<Wire> {
    let planned = &manifest.stages[reader.stage];
    let ports = planned.ports.inputs.iter().zip(&planned.inputs);
    let wires = ports.map(|(port, wire)| Wire {
        port: port.name.clone(),
        columns: port.columns.clone(),
        feeds: wire
            .feeds
            .iter()
            .flat_map(|alternatives| first_existing(manifest, positions, reader, alternatives))
            .collect(),
    });
    wires.filter(|wire| !wire.feeds.is_empty()).collect()
}

fn first_existing(manifest: &Manifest, positions: &Positions, reader: &Node, alternatives: &[Reference]) -> Vec<Feed> {
    let exists =
        |reference: &&Reference| reference.when.seen_from(reader.round.unwrap_or(0), manifest.rounds()).is_some();
    let Some(reference) = alternatives.iter().find(exists) else { return Vec::new() };
    let round = reference.when.seen_from(reader.round.unwrap_or(0), manifest.rounds()).unwrap_or(0);
    let first = positions.first[reference.stage][round as usize];
    let nodes = match reference.which {
        Which::Shared => first..first + 1,
        Which::All => first..first + manifest.learners[round as usize] as usize,
        Which::Own => {
            let (now, then) = (reader.learners.unwrap_or(1), manifest.learners[round as usize]);
            let own = first + learner_then(reader.learner.unwrap_or(0), now, then) as usize;
            own..own + 1
        }
    };
    let output = &manifest.stages[reference.stage].ports.outputs[reference.output];
    debug_assert!(reference.when != When::Once || round == 0, "a stage that runs once has one node");
    nodes.map(|node| Feed { node, output: output.name.clone(), kind: output.kind }).collect()
}

/// Empties the optional ports that would be fed the division of a single learner. Returns, for each node, whether
/// anything still reads it or asks for it.
fn drop_needless_divisions(manifest: &Manifest, nodes: &mut [Node]) -> Vec<bool> {
    let needless: Vec<bool> = nodes.iter().map(|node| node.learners == Some(1)).collect();
    if !needless.contains(&true) {
        return vec![true; nodes.len()];
    }
    let mut readers = vec![0_usize; nodes.len()];
    let mut unread = Vec::new();
    for node in nodes.iter_mut() {
        let ports = &manifest.stages[node.stage].ports.inputs;
        node.inputs.retain(|wire| {
            let is_optional = ports.iter().any(|port| port.name == wire.port && port.arity == Arity::Optional);
            let is_needless =
                is_optional && wire.feeds.iter().all(|feed| feed.kind.is_division() && needless[feed.node]);
            for feed in &wire.feeds {
                match is_needless {
                    true => unread.push(feed.node),
                    false => readers[feed.node] += 1,
                }
            }
            !is_needless
        });
    }
    let mut wanted = vec![true; nodes.len()];
    while let Some(node) = unread.pop() {
        if readers[node] == 0 && std::mem::replace(&mut wanted[node], false) {
            for feed in nodes[node].feeds() {
                readers[feed.node] -= 1;
                unread.push(feed.node);
            }
        }
    }
    wanted
}

/// The wanted nodes in topological order; ties keep their order.
fn sorted(nodes: Vec<Node>, wanted: &[bool]) -> Vec<Node> {
    let mut missing: Vec<usize> = Vec::with_capacity(nodes.len());
    let mut downstream = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        let upstream = if wanted[index] { node.upstream() } else { Vec::new() };
        missing.push(upstream.len());
        for above in upstream {
            downstream[above].push(index);
        }
    }
    let mut ready: BinaryHeap<_> =
        (0..nodes.len()).filter(|&index| wanted[index] && missing[index] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &below in &downstream[index] {
            missing[below] -= 1;
            if missing[below] == 0 {
                ready.push(Reverse(below));
            }
        }
    }
    let count = wanted.iter().filter(|&&wanted| wanted).count();
    assert_eq!(order.len(), count, "a checked manifest has no cycle");
    let mut position = vec![0; nodes.len()];
    for (new, &old) in order.iter().enumerate() {
        position[old] = new;
    }
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    let mut moved: Vec<Node> =
        order.iter().map(|&old| nodes[old].take().expect("each node is in the order once")).collect();
    for feed in moved.iter_mut().flat_map(|node| &mut node.inputs).flat_map(|wire| &mut wire.feeds) {
        feed.node = position[feed.node];
    }
    moved
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use crate::manifest::{Manifest, Override, ReadOptions};
    use crate::plan::Plan;

    fn plan(path: &Path, sets: &[&str]) -> Plan {
        let overrides: Vec<Override> = sets.iter().map(|set| Override::set(set).expect("it is right")).collect();
        let reading = ReadOptions { check_sources: false, overrides: &overrides, ..ReadOptions::default() };
        Plan::new(Manifest::load(path, reading).unwrap_or_else(|problems| panic!("{problems:?}")))
    }

    fn pipelines() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines")
    }

    #[test]
    fn every_pipeline_plans_with_its_single_metric_beside_it() {
        let mut count = 0;
        for entry in pipelines().read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            count += 1;
            let nodes = plan(&path, &[]).nodes.len();
            let single = plan(&path, &["rounds.learners=[1, 1]"]);
            assert!(single.nodes.len() < nodes, "{}", path.display());
            let divides = |name: &str| name.starts_with("cluster") || name.starts_with("embed");
            assert!(!single.nodes.iter().any(|node| divides(&node.name)), "{}", path.display());
        }
        assert!(count >= 2, "there are pipelines");
    }

    #[test]
    fn a_single_learner_is_not_divided() {
        let plan = plan(&pipelines().join("quickstart.toml"), &["rounds.learners=[1, 2, 2, 1]"]);
        let names: Vec<&str> = plan.nodes.iter().map(|node| node.name.as_str()).collect();
        let divisions: Vec<&str> =
            names.iter().copied().filter(|name| name.starts_with("cluster") || name.starts_with("embed")).collect();
        assert_eq!(divisions, ["embed@1", "cluster@1", "embed@2", "cluster@2"]);
        let ports = |name: &str| -> Vec<&str> {
            let node = plan.nodes.iter().find(|node| node.name == name).expect("it is there");
            node.inputs.iter().map(|wire| wire.port.as_str()).collect()
        };
        assert_eq!(ports("train@0[0]"), ["images", "views", "model"]);
        assert_eq!(ports("train@1[0]"), ["images", "views", "clusters", "model"]);
        assert_eq!(ports("cluster@1"), ["embeddings"], "the first division has no former one");
        assert_eq!(ports("cluster@2"), ["embeddings", "previous"]);
        let order = |name: &str| names.iter().position(|&other| other == name);
        assert!(order("merge@0") < order("embed@1") && order("cluster@1") < order("train@1[0]"));
    }
}
