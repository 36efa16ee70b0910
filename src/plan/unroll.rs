//! From stages to nodes: a stage that is done once is one node, one that is done per round a node a round, one that is
//! done per learner a node a learner of each round.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Feed, Node, Wire};
use crate::manifest::{Manifest, Per, Reference, StageNode, When, Which, learner_then};
use crate::schedule::NodeIndex;

/// All nodes, each after those that it reads.
pub(super) fn unroll(manifest: &Manifest) -> Vec<Node> {
    let places = Places::new(manifest);
    let mut nodes = Vec::with_capacity(places.count);
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
        node.inputs = wires(manifest, &places, node);
    }
    sorted(nodes)
}

/// Where the nodes of each stage lie.
struct Places {
    /// Per stage and round (only round 0 for what is done once), the index of the first node.
    first: Vec<Vec<NodeIndex>>,
    count: usize,
}

impl Places {
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

fn wires(manifest: &Manifest, places: &Places, reader: &Node) -> Vec<Wire> {
    let planned = &manifest.stages[reader.stage];
    let ports = planned.ports.inputs.iter().zip(&planned.inputs);
    let wires = ports.map(|(port, wire)| Wire {
        port: port.name.clone(),
        columns: port.columns.clone(),
        feeds: wire
            .feeds
            .iter()
            .flat_map(|alternatives| first_that_exists(manifest, places, reader, alternatives))
            .collect(),
    });
    wires.filter(|wire| !wire.feeds.is_empty()).collect()
}

fn first_that_exists(manifest: &Manifest, places: &Places, reader: &Node, alternatives: &[Reference]) -> Vec<Feed> {
    let exists =
        |reference: &&Reference| reference.when.seen_from(reader.round.unwrap_or(0), manifest.rounds()).is_some();
    let Some(reference) = alternatives.iter().find(exists) else { return Vec::new() };
    let round = reference.when.seen_from(reader.round.unwrap_or(0), manifest.rounds()).unwrap_or(0);
    let first = places.first[reference.stage][round as usize];
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
    debug_assert!(reference.when != When::Once || round == 0, "what is done once has one place");
    nodes.map(|node| Feed { node, output: output.name.clone(), kind: output.kind }).collect()
}

/// The same nodes, each after those that it reads and otherwise in the order in which they were.
fn sorted(nodes: Vec<Node>) -> Vec<Node> {
    let mut missing: Vec<usize> = Vec::with_capacity(nodes.len());
    let mut downstream = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        let upstream = node.upstream();
        missing.push(upstream.len());
        for above in upstream {
            downstream[above].push(index);
        }
    }
    let mut ready: BinaryHeap<_> = (0..nodes.len()).filter(|&index| missing[index] == 0).map(Reverse).collect();
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
    assert_eq!(order.len(), nodes.len(), "a checked manifest has no cycle");
    let mut place = vec![0; nodes.len()];
    for (new, &old) in order.iter().enumerate() {
        place[old] = new;
    }
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    let mut moved: Vec<Node> =
        order.iter().map(|&old| nodes[old].take().expect("each node stands in the order once")).collect();
    for feed in moved.iter_mut().flat_map(|node| &mut node.inputs).flat_map(|wire| &mut wire.feeds) {
        feed.node = place[feed.node];
    }
    moved
}
