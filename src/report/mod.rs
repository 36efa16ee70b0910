//! How a run is told: as events while it goes on ([`event`], [`sinks`]), as a folder when it is over ([`run_folder`]), as
//! tables for people ([`metrics`]) and as metrics of several runs side by side ([`difference`], over [`queries`]).

pub mod difference;
pub mod event;
pub mod metrics;
pub mod queries;
pub mod run_folder;
pub mod sheet;
pub mod sinks;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use dnc_stages::context::Observer;

use crate::execute::NodeResult;
use event::{Event, Sink};

/// A table for a terminal: heads, then rows, columns parted by space, numbers to the right.
pub fn text_table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(heads);
    let is_number = |text: &str| text.is_empty() || text.parse::<f64>().is_ok();
    for column in 0..heads.len() {
        if rows.iter().all(|row| row.get(column).is_none_or(|cell| is_number(cell)))
            && let Some(column) = table.column_mut(column)
        {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    table.add_rows(rows);
    table.trim_fmt()
}

/// Tells a run's events to its sink and writes the nodes' logs.
pub struct Reporter {
    sink: Mutex<Box<dyn Sink>>,
    logs: PathBuf,
    nodes: usize,
    finished: AtomicUsize,
}

impl Reporter {
    /// A reporter for a run that was asked for `nodes` nodes and keeps their logs in the folder `logs`.
    pub fn new(sink: Box<dyn Sink>, logs: PathBuf, nodes: usize) -> Self {
        Self { sink: Mutex::new(sink), logs, nodes, finished: AtomicUsize::new(0) }
    }

    /// Tells an event.
    pub fn tell(&self, event: &Event) {
        // A sink that panicked once may be told on: it holds nothing that matters to the run.
        self.sink.lock().unwrap_or_else(PoisonError::into_inner).tell(event);
    }

    /// Tells something that stops nothing.
    pub fn notice(&self, node: Option<&str>, message: impl Into<String>) {
        self.tell(&Event::Notice { node: node.map(str::to_owned), message: message.into() });
    }

    /// Counts finished nodes from zero, since all are looked at anew.
    pub fn begin_pass(&self) {
        self.finished.store(0, Ordering::Relaxed);
    }

    /// Counts a node that was told to have finished as one that did not.
    pub fn reopen(&self) {
        self.finished.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a node whose end was told in a pass before.
    pub fn finished_before(&self) {
        self.finished.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells that a node came to its end.
    pub fn finished(&self, node: &str, result: &NodeResult) {
        self.tell(&Event::NodeFinished {
            node: node.to_owned(),
            outcome: result.outcome,
            took: result.took,
            error: result.error.clone(),
            finished: self.finished.fetch_add(1, Ordering::Relaxed) + 1,
            nodes: self.nodes,
        });
        if let Some(error) = &result.error {
            self.observer(node).log(&format!("failed: {error}"));
        }
    }

    /// Who listens to the running node called `node`.
    pub fn observer<'run>(&'run self, node: &'run str) -> NodeObserver<'run> {
        NodeObserver { reporter: self, node, log: Mutex::default(), measured: Mutex::default() }
    }
}

/// Listens to one running node.
pub struct NodeObserver<'run> {
    reporter: &'run Reporter,
    node: &'run str,
    log: Mutex<Option<File>>,
    measured: Mutex<BTreeMap<String, f64>>,
}

impl NodeObserver<'_> {
    /// What the node measured.
    pub fn into_measured(self) -> BTreeMap<String, f64> {
        self.measured.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for NodeObserver<'_> {
    fn progress(&self, done: u64, total: u64, unit: &str) {
        let (node, unit) = (self.node.to_owned(), unit.to_owned());
        self.reporter.tell(&Event::NodeProgress { node, done, total, unit });
    }

    fn log(&self, line: &str) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.is_none() {
            let path = self.reporter.logs.join(format!("{}.log", self.node));
            let open = fs::create_dir_all(&self.reporter.logs)
                .and_then(|()| File::options().create(true).append(true).open(&path));
            match open {
                Ok(file) => *log = Some(file),
                Err(error) => {
                    let message = format!("Cannot write `{}`: {error}; the log goes here: {line}", path.display());
                    return self.reporter.notice(Some(self.node), message);
                }
            }
        }
        if let Some(file) = log.as_mut() {
            // A full disk stops the node at its own files; a lost line of its log does not.
            drop(writeln!(file, "{line}"));
        }
    }

    fn measured(&self, name: &str, value: f64) {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), value);
    }
}
