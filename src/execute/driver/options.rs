//! What a run is made of.

use std::sync::atomic::AtomicBool;

use dnc_cache::Store;
use dnc_stages::api::DeviceChoice;

use crate::execute::event::Listener;
use crate::execute::remote::RunRemote;
use crate::execute::result::NodeResult;
use crate::execute::task::Ingredients;
use crate::fingerprint::Fingerprint;
use crate::plan::{NodeIndex, Plan};

/// What is run, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Device on which floats are computed.
    pub device: DeviceChoice,
    /// The nodes to bring up to date, with everything upstream of them.
    pub targets: Vec<NodeIndex>,
    /// For each node, whether it runs even if it has a record.
    pub forced: Vec<bool>,
    /// Whether each stale node runs twice, to compare the outputs.
    pub verify: bool,
}

impl Options {
    /// The defaults for `plan`: all of its goals, nothing forced.
    pub fn everything(plan: &Plan, device: DeviceChoice) -> Self {
        Self { device, targets: plan.goals(), forced: vec![false; plan.nodes.len()], verify: false }
    }
}

/// What a run needs besides an executor.
pub struct Run<'run> {
    /// The plan.
    pub plan: &'run Plan,
    /// The store with records and blobs.
    pub store: &'run Store,
    /// Where results of other machines are looked for.
    pub remote: Option<&'run RunRemote>,
    /// What enters all keys.
    pub ingredients: &'run Ingredients,
    /// What is run, and how.
    pub options: &'run Options,
    /// The fingerprint of a node, by name, in the last run that contains it.
    pub previous: &'run (dyn Fn(&str) -> Option<Fingerprint> + Sync),
    /// Receives the events of the run.
    pub listener: &'run dyn Listener,
    /// Called often with the results so far, whether or not a node has finished since.
    pub checkpoint: &'run (dyn Fn(&[NodeResult]) + Sync),
    /// Set when the user asks to stop.
    pub stop: &'run AtomicBool,
}
