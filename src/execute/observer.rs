//! The observer of one running node: turns what a stage reports into events of the run.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dnc_stages::api::Observer;

use super::event::{Event, Listener};
use crate::sync::lock;

/// Observes one running node.
pub(super) struct NodeObserver<'run> {
    listener: &'run dyn Listener,
    node: &'run str,
    measured: Mutex<BTreeMap<String, f64>>,
}

impl<'run> NodeObserver<'run> {
    /// An observer of `node` that reports to `listener`.
    pub(super) fn new(listener: &'run dyn Listener, node: &'run str) -> Self {
        Self { listener, node, measured: Mutex::default() }
    }

    /// What the node measured.
    pub(super) fn into_measured(self) -> BTreeMap<String, f64> {
        self.measured.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for NodeObserver<'_> {
    fn progress(&self, done: u64, total: u64, unit: &str) {
        let (node, unit) = (self.node.to_owned(), unit.to_owned());
        self.listener.event(&Event::NodeProgress { node, done, total, unit });
    }

    fn log(&self, line: &str) {
        self.listener.event(&Event::NodeLog { node: self.node.to_owned(), line: line.to_owned() });
    }

    fn measured(&self, name: &str, value: f64) {
        lock(&self.measured).insert(name.to_owned(), value);
    }
}
