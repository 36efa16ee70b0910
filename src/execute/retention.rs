//! What a run drops: models and embeddings of rounds that nothing needs any more, of the stages that retain the last only.
//!
//! Their records stay, so they remain hits; whoever needs the bytes later makes them again.

use std::collections::HashSet;

use dnc_cache::{CacheError, Digest, Store};
use dnc_stages::Kind;

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
    dropped: HashSet<NodeIndex>,
}

impl<'run> Retention<'run> {
    /// What is asked for by name is never dropped.
    pub(super) fn new(plan: &'run Plan, targets: &[NodeIndex]) -> Self {
        let last = plan.manifest.rounds().saturating_sub(1);
        let mut readers: Vec<Option<Vec<NodeIndex>>> = plan
            .nodes
            .iter()
            .map(|node| (plan.stage(node).retain == Retain::Last && node.round? < last).then(Vec::new))
            .collect();
        targets.iter().for_each(|&target| readers[target] = None);
        for (reader, node) in plan.nodes.iter().enumerate() {
            for feed in node.inputs.iter().flat_map(|wire| &wire.feeds) {
                readers[feed.node].iter_mut().for_each(|readers| readers.push(reader));
            }
        }
        let waiting = readers.into_iter().enumerate().filter_map(|(node, readers)| Some((node, readers?)));
        Self { plan, waiting: waiting.collect(), dropped: HashSet::new() }
    }

    /// Drops what all that read it are done with, except for what another artifact holds as well.
    pub(super) fn apply(&mut self, store: &Store, results: &[NodeResult]) -> Result<(), CacheError> {
        let is_done = |node: NodeIndex| matches!(results[node].outcome, Outcome::Hit | Outcome::Ran);
        let done: Vec<NodeIndex> = self
            .waiting
            .extract_if(.., |(node, readers)| is_done(*node) && readers.iter().all(|&reader| is_done(reader)))
            .map(|(node, _)| node)
            .collect();
        if done.is_empty() {
            return Ok(());
        }
        self.dropped.extend(&done);
        // All that was ever dropped goes: what somebody needed after all has been made again since.
        let (mut going, mut staying) = (HashSet::new(), HashSet::new());
        for (node, result) in results.iter().enumerate() {
            let is_dropped = self.dropped.contains(&node);
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
