//! The listener of a run: passes its events to a sink and writes the logs of the run and of its nodes.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use super::sinks::{Plain, Sink};
use crate::execute::{Event, Listener};
use crate::sync::lock;

/// Name of the log of a run itself, in its folder.
pub const RUN_LOG: &str = "run.log";

/// Passes events to a sink and writes the log of the run and those of its nodes, `logs/<node>.log`.
pub struct Reporter {
    sink: Mutex<Box<dyn Sink>>,
    logs: OnceLock<PathBuf>,
    /// The log of the run, if it can be written.
    run_log: Mutex<Option<(File, Plain)>>,
    /// The logs of running nodes.
    open: Mutex<HashMap<String, File>>,
    /// Warnings that were shown: nodes of one stage often give the same.
    shown: Mutex<HashSet<String>>,
}

impl Reporter {
    /// A reporter that writes no logs yet.
    pub fn new(sink: Box<dyn Sink>) -> Self {
        Self {
            sink: Mutex::new(sink),
            logs: OnceLock::new(),
            run_log: Mutex::default(),
            open: Mutex::default(),
            shown: Mutex::default(),
        }
    }

    /// Writes logs from now on, to the folder of a run: those of nodes to `logs`, which is created with the first line.
    pub fn write_logs_to(&self, run: &Path) {
        self.logs.set(run.join("logs")).expect("the logs of a run have one folder");
        // The run itself fails at its own files.
        *lock(&self.run_log) = File::create(run.join(RUN_LOG)).ok().map(|file| (file, Plain::default()));
    }

    fn tell(&self, event: &Event) {
        // A sink that panicked once is still usable: it holds nothing that matters to the run.
        lock(&self.sink).event(event);
        if let Some((file, plain)) = lock(&self.run_log).as_mut()
            && let Some(line) = plain.line(event)
        {
            let _ = writeln!(file, "{line}");
        }
    }

    fn log(&self, node: &str, line: &str) {
        let Some(logs) = self.logs.get() else { return };
        let mut open = lock(&self.open);
        if !open.contains_key(node) {
            let path = logs.join(format!("{node}.log"));
            let file = fs::create_dir_all(logs).and_then(|()| File::options().create(true).append(true).open(&path));
            match file {
                Ok(file) => drop(open.insert(node.to_owned(), file)),
                Err(error) => {
                    drop(open);
                    let message = format!("Cannot write `{}`: {error}; the line was: {line}", path.display());
                    return self.tell(&Event::Notice { node: Some(node.to_owned()), message });
                }
            }
        }
        if let Some(file) = open.get_mut(node) {
            // A full disk fails the node at its own files; a lost line of its log need not.
            let _ = writeln!(file, "{line}");
        }
    }
}

impl Listener for Reporter {
    fn event(&self, event: &Event) {
        match event {
            Event::NodeLog { node, line } => self.log(node, line),
            Event::NodeFinished { node, error, .. } => {
                self.tell(event);
                if let Some(error) = error {
                    self.log(node, &format!("failed: {error}"));
                }
                lock(&self.open).remove(node);
            }
            Event::Warning { message, .. } if !lock(&self.shown).insert(message.clone()) => {}
            _ => self.tell(event),
        }
    }
}
