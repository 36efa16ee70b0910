//! Every node in a process of its own: `dnc-run task FILE`. A crash or a kill for lack of memory then fails one node and not
//! the run.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fs, io};

use dnc_stages::api::DeviceChoice;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::Executor;
use crate::execute::budget::{Budget, Grant, Limits};
use crate::execute::event::{Event, Listener};
use crate::execute::task_file::{TaskFile, take_answer};
use crate::execute::usage::Usage;
use crate::execute::work::{Answer, Attempt, Work};
use crate::plan::{Needs, NodeIndex};

/// Runs every node in a process of its own on this machine.
pub struct Processes {
    budget: Budget,
    program: PathBuf,
    store: PathBuf,
    listener: Arc<dyn Listener>,
    /// Holds the task files.
    folder: TempDir,
    /// Number of task files written. Each attempt has files of its own, so that no answer is taken for another's.
    attempts: u64,
    running: BTreeMap<NodeIndex, Running>,
    is_cancelled: bool,
    sender: Sender<Ended>,
    answers: Receiver<Ended>,
}

/// How a process ended.
struct Ended {
    /// The answer that it left, or one in its place.
    answer: Answer,
    /// Whether it was ended by a signal before it could answer.
    by_signal: bool,
}

/// A node that runs.
struct Running {
    grant: Grant,
    /// The process, unless it could not be started.
    process: Option<Pid>,
    /// Waits for the process to end.
    thread: Option<JoinHandle<()>>,
}

impl Processes {
    /// An executor within these limits that starts `program`, which must be this version of `dnc-run`.
    ///
    /// # Errors
    /// No temporary folder can be made, or the current folder does not exist.
    pub fn new(limits: Limits, program: PathBuf, store: &Path, listener: Arc<dyn Listener>) -> io::Result<Self> {
        let (sender, answers) = mpsc::channel();
        Ok(Self {
            budget: Budget::new(limits),
            program,
            store: std::path::absolute(store)?,
            listener,
            folder: tempfile::tempdir()?,
            attempts: 0,
            running: BTreeMap::new(),
            is_cancelled: false,
            sender,
            answers,
        })
    }

    fn start(&self, path: &Path, threads: usize, work: Work) -> io::Result<Child> {
        TaskFile::new(self.store.clone(), threads, work).write(path)?;
        Command::new(&self.program)
            .args(["task", "--attached"])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal reaches a whole process group: this process alone decides how its nodes stop.
            .process_group(0)
            .spawn()
    }
}

impl Executor for Processes {
    fn is_full(&self) -> bool {
        self.budget.is_spent()
    }

    fn has_room(&self, _stage: &str, needs: &Needs) -> bool {
        self.budget.fits(needs)
    }

    fn submit(&mut self, mut work: Work, ready: usize) {
        let grant = self.budget.grant(&work.needs, ready).expect("there is room for the work");
        if let Some(gpu) = grant.gpu {
            work.device = DeviceChoice::Cuda(gpu);
        }
        let (index, node) = (work.index, work.node.clone());
        self.attempts += 1;
        let path = self.folder.path().join(format!("{index}-{}.json", self.attempts));
        let threads = grant.share.now();
        let mut running = Running { grant, process: None, thread: None };
        match self.start(&path, threads, work) {
            Ok(child) => {
                running.process = Pid::from_child(&child).into();
                let (sender, listener) = (self.sender.clone(), Arc::clone(&self.listener));
                running.thread = Some(thread::spawn(move || {
                    let ended = wait(child, index, &node, &path, &listener);
                    // Nobody receives it once the executor has been dropped.
                    drop(sender.send(ended));
                }));
            }
            Err(error) => {
                let program = self.program.display();
                let message = format!("Cannot start `{program} task` with the file `{}`: {error}", path.display());
                let ended = Ended { answer: failed(index, message), by_signal: false };
                self.sender.send(ended).unwrap_or_else(|_| unreachable!("this value holds the receiver"));
            }
        }
        self.running.insert(index, running);
    }

    fn poll(&mut self, timeout: Duration) -> Option<Answer> {
        match self.answers.recv_timeout(timeout) {
            Ok(Ended { mut answer, by_signal }) => {
                if by_signal && self.is_cancelled {
                    // It was stopped before it could handle the signal.
                    answer.attempt = Attempt::Cancelled;
                }
                let running = self.running.remove(&answer.index).expect("work is answered once");
                self.budget.give_back(running.grant);
                Some(answer)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable!("this value holds a sender"),
        }
    }

    fn cancel(&mut self) {
        self.is_cancelled = true;
        for process in self.running.values().filter_map(|running| running.process) {
            // It may have ended meanwhile. One that is suspended handles the signal when it goes on.
            for signal in [Signal::TERM, Signal::CONT] {
                let _ = kill_process(process, signal);
            }
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.cancel();
        for thread in self.running.values_mut().filter_map(|running| running.thread.take()) {
            // Its panic was printed; there is nothing left to do for it.
            let _ = thread.join();
        }
    }
}

/// Passes on the events of a node until its process ends, then reads its answer.
fn wait(mut child: Child, index: NodeIndex, node: &str, path: &Path, listener: &Arc<dyn Listener>) -> Ended {
    let begun = Instant::now();
    let stderr = child.stderr.take().expect("standard error is piped");
    let log = {
        let (listener, node) = (Arc::clone(listener), node.to_owned());
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                listener.event(&Event::NodeLog { node: node.clone(), line });
            }
        })
    };
    let stdout = child.stdout.take().expect("standard output is piped");
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(event) => listener.event(&event),
            Err(_) => listener.event(&Event::NodeLog { node: node.to_owned(), line }),
        }
    }
    let status = child.wait();
    // The log belongs to the node and is complete before the node is.
    let _ = log.join();
    let answer = take_answer(path);
    let _ = fs::remove_file(path);
    let by_signal = answer.is_none() && status.as_ref().is_ok_and(|status| status.signal().is_some());
    let answer = answer.unwrap_or_else(|| {
        let ended = match status {
            Ok(status) => match (status.signal(), status.code()) {
                (Some(9), _) => "was killed (signal 9), perhaps because the machine ran out of memory".to_owned(),
                (Some(signal), _) => format!("was ended by signal {signal}"),
                (None, code) => format!("ended with exit code {}", code.unwrap_or(-1)),
            },
            Err(error) => format!("cannot be waited for: {error}"),
        };
        let usage = Usage { took: begun.elapsed(), ..Usage::default() };
        Answer { usage, ..failed(index, format!("Its process {ended}; the node's log may say more")) }
    });
    Ended { answer, by_signal }
}

fn failed(index: NodeIndex, message: String) -> Answer {
    Answer { index, attempt: Attempt::Failed { message }, usage: Usage::default(), warnings: Vec::new() }
}
