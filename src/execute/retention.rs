//! What a run drops: models and embeddings of rounds that nothing needs any more, of the stages that retain the last only.
//!
//! Their records stay, so they remain hits; whoever needs the bytes later makes them again. A run knows its own nodes only: what
//! ends one run may be in the middle of another, which drops it.

use std::collections::{HashMap, HashSet};

use dnc_cache::{CacheError, Digest, Store};
use dnc_stages::Kind;

use super::reason::Reason;
use super::{NodeResult, Outcome};
use crate::manifest::Retain;
use crate::plan::Plan;
use crate::schedule::NodeIndex;

/// The kinds whose bytes are worth dropping.
const LARGE: [Kind; 2] = [Kind::Model, Kind::Embeddings];

/// Which nodes' artifacts may go, and which have gone.
pub(super) struct Retention<'run> {
    plan: &'run Plan,
    /// The nodes whose artifacts are still there, each with those that read it.
    waiting: Vec<(NodeIndex, Vec<NodeIndex>)>,
    /// Whether all of the plan was asked for.
    is_whole: bool,
    /// The nodes whose artifacts were dropped, likewise.
    dropped: HashMap<NodeIndex, Vec<NodeIndex>>,
}

impl<'run> Retention<'run> {
    /// What is asked for by name is never dropped, nor is what is of the last round that is asked for.
    pub(super) fn new(plan: &'run Plan, targets: &[NodeIndex]) -> Self {
        let wanted = plan.above(targets);
        let last = plan.nodes.iter().zip(&wanted).filter_map(|(node, &wanted)| node.round.filter(|_| wanted)).max();
        let mut readers: Vec<Option<Vec<NodeIndex>>> = plan
            .nodes
            .iter()
            .map(|node| (plan.stage(node).retain == Retain::Last && node.round? < last?).then(Vec::new))
            .collect();
        targets.iter().for_each(|&target| readers[target] = None);
        // What nobody asked for is never done, so it is not waited for.
        for (reader, node) in plan.nodes.iter().enumerate().filter(|(reader, _)| wanted[*reader]) {
            for feed in node.inputs.iter().flat_map(|wire| &wire.feeds) {
                readers[feed.node].iter_mut().for_each(|readers| readers.push(reader));
            }
        }
        let waiting = readers.into_iter().enumerate().filter_map(|(node, readers)| Some((node, readers?)));
        let is_whole = wanted.iter().all(|&wanted| wanted);
        Self { plan, waiting: waiting.collect(), is_whole, dropped: HashMap::new() }
    }

    /// Drops what all that read it are done with, except for what another artifact holds as well.
    pub(super) fn apply(&mut self, store: &Store, results: &[NodeResult]) -> Result<(), CacheError> {
        // A look at a part of what is there drops nothing: the rest of the plan, whose records it does not read, may hold the same bytes.
        if self.waiting.is_empty() || !(self.is_whole || results.iter().any(|result| result.outcome == Outcome::Ran)) {
            return Ok(());
        }
        // A hit whose bytes turned out to be gone is made again, and reads what it is made of.
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
        // All that was ever dropped goes: what somebody needed after all has been made again since.
        let (mut going, mut staying) = (HashSet::new(), HashSet::new());
        for (node, result) in results.iter().enumerate() {
            let is_dropped = self.dropped.get(&node).is_some_and(|readers| may_go(node, readers));
            for output in &self.plan.stage(&self.plan.nodes[node]).ports.outputs {
                let Some(artifact) = result.outputs.get(&output.name) else { continue };
                let side = if is_dropped && LARGE.contains(&output.kind) { &mut going } else { &mut staying };
                side.extend(artifact.files().iter().map(|file| file.digest));
            }
        }
        // A blob goes only after the records of what was made of it are safe.
        store.flush()?;
        let going: HashSet<&Digest> = going.difference(&staying).collect();
        store.drop_blobs(going).map(drop)
    }
}
