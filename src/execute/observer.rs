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
    warnings: Mutex<Vec<String>>,
}

impl<'run> NodeObserver<'run> {
    /// An observer of `node` that reports to `listener`.
    pub(super) fn new(listener: &'run dyn Listener, node: &'run str) -> Self {
        Self { listener, node, measured: Mutex::default(), warnings: Mutex::default() }
    }

    /// What the node measured, and what it warned about.
    pub(super) fn into_parts(self) -> (BTreeMap<String, f64>, Vec<String>) {
        let measured = self.measured.into_inner().unwrap_or_else(PoisonError::into_inner);
        (measured, self.warnings.into_inner().unwrap_or_else(PoisonError::into_inner))
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

    fn warn(&self, message: &str) {
        self.log(&format!("Warning: {message}"));
        lock(&self.warnings).push(message.to_owned());
        self.listener.event(&Event::Warning { node: self.node.to_owned(), message: message.to_owned() });
    }

    fn measured(&self, name: &str, value: f64) {
        lock(&self.measured).insert(name.to_owned(), value);
    }
}
