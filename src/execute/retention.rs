//! `retain = "last"`: drops the large artifacts of rounds that no remaining node needs.
//!
//! Their records stay, so the nodes remain hits; a later run that needs the bytes computes them again. A run knows only its
//! own nodes: the last round of one run may be in the middle of another, which drops it.

use std::collections::{HashMap, HashSet};

use dnc_cache::{CacheError, Digest, Store};

use super::outcome::Outcome;
use super::reason::Reason;
use super::result::NodeResult;
use crate::manifest::Retain;
use crate::plan::{NodeIndex, Plan};

/// Which artifacts may be dropped, and which have been.
pub(super) struct Retention<'run> {
    plan: &'run Plan,
    /// Nodes whose artifacts are still there, each with the nodes that read it.
    waiting: Vec<(NodeIndex, Vec<NodeIndex>)>,
    /// Whether the run covers the whole plan.
    is_whole: bool,
    /// Nodes whose artifacts were dropped, each with the nodes that read it.
    dropped: HashMap<NodeIndex, Vec<NodeIndex>>,
}

impl<'run> Retention<'run> {
    /// Nothing dropped yet. Targets and artifacts of the last round of the run are never dropped.
    pub(super) fn new(plan: &'run Plan, targets: &[NodeIndex]) -> Self {
        let wanted = plan.above(targets);
        let last = plan.nodes.iter().zip(&wanted).filter_map(|(node, &wanted)| node.round.filter(|_| wanted)).max();
        let mut readers: Vec<Option<Vec<NodeIndex>>> = plan
            .nodes
            .iter()
            .map(|node| (plan.stage(node).retain == Retain::Last && node.round? < last?).then(Vec::new))
            .collect();
        targets.iter().for_each(|&target| readers[target] = None);
        // Nodes outside of the run never finish, so they are not waited for.
        for (reader, node) in plan.nodes.iter().enumerate().filter(|(reader, _)| wanted[*reader]) {
            for feed in node.feeds() {
                readers[feed.node].iter_mut().for_each(|readers| readers.push(reader));
            }
        }
        let waiting = readers.into_iter().enumerate().filter_map(|(node, readers)| Some((node, readers?)));
        let is_whole = wanted.iter().all(|&wanted| wanted);
        Self { plan, waiting: waiting.collect(), is_whole, dropped: HashMap::new() }
    }

    /// Drops the artifacts whose readers have all finished, except for bytes that another artifact shares.
    pub(super) fn apply(&mut self, store: &Store, results: &[NodeResult]) -> Result<(), CacheError> {
        // A run of hits over a part of the plan drops nothing: the rest of the plan, whose records were not read, may share bytes.
        if self.waiting.is_empty() || !(self.is_whole || results.iter().any(|result| result.outcome == Outcome::Ran)) {
            return Ok(());
        }
        // A hit whose bytes are lost runs again and reads its inputs.
        let is_done = |node: NodeIndex| match results[node].outcome {
            Outcome::Ran => true,
            Outcome::Hit => !matches!(results[node].reason, Some(Reason::Lost)),
            _ => false,
        };
        let may_go =
            |node: NodeIndex, readers: &[NodeIndex]| is_done(node) && readers.iter().all(|&node| is_done(node));
        let before = self.dropped.len();
        self.dropped.extend(self.waiting.extract_if(.., |(node, readers)| may_go(*node, readers)));
        if self.dropped.len() == before {
            return Ok(());
        }
        // Everything dropped so far is dropped again: some of it may have been restored since for a node that needed it.
        let (mut going, mut staying) = (HashSet::new(), HashSet::new());
        for (node, result) in results.iter().enumerate() {
            let is_dropped = self.dropped.get(&node).is_some_and(|readers| may_go(node, readers));
            for output in &self.plan.stage(&self.plan.nodes[node]).ports.outputs {
                let Some(artifact) = result.outputs.get(&output.name) else { continue };
                let side = if is_dropped && output.kind.is_large() { &mut going } else { &mut staying };
                side.extend(artifact.files().iter().map(|file| file.digest));
            }
        }
        // Drop a blob only after the records of the nodes that read it are durable.
        store.flush()?;
        let going: HashSet<&Digest> = going.difference(&staying).collect();
        store.drop_blobs(going).map(drop)
    }
}
