//! A task file: one piece of work that a process of its own runs (`dnc-run task FILE`), and the answer that it leaves.
//!
//! The process opens the store, claims the key, runs the stage, commits, and writes its answer beside the file. Until then it
//! writes the node's events to standard output, one JSON object per line. A process that ends without an answer has failed.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dnc_cache::{CacheError, Store};
use dnc_stages::api::cpu_arithmetic;
use serde::{Deserialize, Serialize};

use super::event::{Event, Listener};
use super::host::Host;
use super::result::not_recorded;
use super::run_work::run_work;
use super::thread_share::ThreadShare;
use super::usage::Usage;
use super::work::{Answer, Attempt, Work};
use super::workers::NodePool;
use crate::error_chain::error_chain;
use crate::sync::lock;

/// What a task file holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TaskFile {
    /// Version of the program that wrote the file.
    pub(super) version: String,
    /// The store, as an absolute path.
    pub(super) store: PathBuf,
    /// Number of threads that the node may use.
    pub(super) threads: usize,
    /// The work.
    pub(super) work: Work,
}

/// How often a job of a batch system writes progress, which goes to a file that is kept until the node has finished.
const PROGRESS: Duration = Duration::from_secs(1);

/// How often such a job asks whether another process still computes the same key.
const CLAIMED: Duration = Duration::from_millis(500);

/// How long a signal to all processes of a job takes to arrive at most.
const SIGNAL: Duration = Duration::from_millis(300);

/// The version that task files carry. Another version may have other stages or another form of `Work`.
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl TaskFile {
    /// The file for `work`, to be run by this version of the program.
    pub(super) fn new(store: PathBuf, threads: usize, work: Work) -> Self {
        Self { version: VERSION.to_owned(), store, threads, work }
    }

    /// Writes the file.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_vec(self)?)
    }

    fn read(path: &Path) -> io::Result<Self> {
        /// The part that every version can read.
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let text = fs::read(path)?;
        let Version { version } = serde_json::from_slice(&text)?;
        if version != VERSION {
            return Err(io::Error::other(format!(
                "it was written by dnc-run {version}, but this is dnc-run {VERSION}"
            )));
        }
        Ok(serde_json::from_slice(&text)?)
    }
}

/// Where the answer to the task file at `path` is left.
fn answer_path(path: &Path) -> PathBuf {
    path.with_extension("answer.json")
}

/// Reads and removes the answer to the task file at `path`, if there is one. One that another machine has written may not be
/// complete on this machine yet; it stays.
pub(super) fn take_answer(path: &Path) -> Option<Answer> {
    let text = fs::read(answer_path(path)).ok()?;
    let answer = serde_json::from_slice(&text).ok()?;
    // What cannot be removed goes with the folder of task files.
    let _ = fs::remove_file(answer_path(path));
    Some(answer)
}

/// Who started the process that runs a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A person.
    User,
    /// A driver on the same machine: work stops when standard input ends, that is, when the driver is gone.
    Driver,
    /// A batch system, on a machine that may differ from the driver's. The driver may be gone meanwhile.
    BatchSystem,
}

/// Runs the work in the task file at `path` and leaves the answer beside it. Work stops when `stop` is set. Returns whether an
/// answer was left; a batch system's job that was stopped leaves none, since it may be queued again.
///
/// # Errors
/// The file cannot be read, the store cannot be opened, or the answer cannot be written.
pub fn run_task_file(path: &Path, caller: Caller, stop: &Arc<AtomicBool>) -> io::Result<bool> {
    let TaskFile { store, threads, work, .. } = TaskFile::read(path)?;
    if caller == Caller::Driver {
        let stop = Arc::clone(stop);
        thread::spawn(move || {
            // Whether it ended or failed, there is nobody left to work for.
            let _ = io::stdin().read_to_end(&mut Vec::new());
            stop.store(true, Ordering::Relaxed);
        });
    }
    let host = Host {
        store: Arc::new(Store::open(&store).map_err(io::Error::other)?),
        devices: Arc::default(),
        listener: Arc::new(Lines {
            pause: (caller == Caller::BatchSystem).then_some(PROGRESS),
            last: Mutex::default(),
        }),
        stop: Arc::clone(stop),
    };
    let share = Arc::new(ThreadShare::fixed(threads));
    let mut answer = match caller {
        Caller::BatchSystem => run_alone(&work, &share, &host),
        Caller::User | Caller::Driver => run_work(&work, &share, &mut NodePool::default(), &host),
    };
    if caller == Caller::BatchSystem && was_stopped(&answer.attempt, stop) {
        return Ok(false);
    }
    match host.store.flush() {
        Err(CacheError::Commit { source, .. }) => {
            let message = not_recorded(&*source);
            answer.attempt = Attempt::Failed { message };
        }
        other => other.map_err(io::Error::other)?,
    }
    let unfinished = path.with_extension("answer.tmp");
    fs::write(&unfinished, serde_json::to_vec(&answer)?)?;
    fs::rename(unfinished, answer_path(path))?;
    Ok(true)
}

/// Whether the work was stopped from outside. A batch system signals all processes of a job at once, so that a program which the
/// work started may end, and the work fail, before this process hears of it.
fn was_stopped(attempt: &Attempt, stop: &AtomicBool) -> bool {
    let until = Instant::now() + SIGNAL;
    while matches!(attempt, Attempt::Failed { .. }) && Instant::now() < until {
        if stop.load(Ordering::Relaxed) {
            return true;
        }
        thread::sleep(SIGNAL / 20);
    }
    matches!(attempt, Attempt::Cancelled)
}

/// Runs the work of a job of a batch system: only where the arithmetic is that of the key, and when no other process computes
/// the same key, which an earlier job of the same work may do that its driver lost sight of.
fn run_alone(work: &Work, share: &Arc<ThreadShare>, host: &Host) -> Answer {
    if let Some(message) = wrong_arithmetic(work, host) {
        let attempt = Attempt::Failed { message };
        return Answer { index: work.index, attempt, usage: Usage::default(), warnings: Vec::new() };
    }
    loop {
        let answer = run_work(work, share, &mut NodePool::default(), host);
        if !matches!(answer.attempt, Attempt::Claimed { .. }) {
            return answer;
        }
        thread::sleep(CLAIMED);
    }
}

/// Why this machine would compute other bytes than the key promises, if it would.
fn wrong_arithmetic(work: &Work, host: &Host) -> Option<String> {
    for expected in work.task.fingerprint.arithmetic.iter().flat_map(|all| all.split(" + ")) {
        let actual = match expected.starts_with("cpu/") {
            true => cpu_arithmetic(),
            false => match host.devices.arithmetic(work.device) {
                Ok(actual) => actual,
                Err(error) => return Some(error_chain(&error)),
            },
        };
        if actual != expected {
            return Some(format!(
                "This machine computes with `{actual}`, but the run was planned on one that computes with `{expected}`, \
                 and their results differ in the last digits; start the run on a machine like this one, or choose others \
                 with `options = [\"--constraint=…\"]` in `[executor.slurm]` of dnc.toml"
            ));
        }
    }
    None
}

/// Writes events to standard output.
struct Lines {
    /// Shortest time between two lines about progress, if there is a limit.
    pause: Option<Duration>,
    last: Mutex<Option<Instant>>,
}

impl Lines {
    /// Whether progress was written too short a time ago.
    fn is_too_soon(&self) -> bool {
        let (Some(pause), mut last) = (self.pause, lock(&self.last)) else { return false };
        let is_too_soon = last.is_some_and(|last| last.elapsed() < pause);
        if !is_too_soon {
            *last = Some(Instant::now());
        }
        is_too_soon
    }
}

impl Listener for Lines {
    fn event(&self, event: &Event) {
        if matches!(event, Event::NodeProgress { done, total, .. } if done != total) && self.is_too_soon() {
            return;
        }
        let mut line = serde_json::to_vec(event).expect("events have string keys");
        line.push(b'\n');
        // Without a reader there is nobody to inform; the answer counts.
        let _ = io::stdout().write_all(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_stays_until_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("task.json");
        assert!(take_answer(&path).is_none(), "there is none");
        let answer = Answer { index: 7, attempt: Attempt::Cancelled, usage: Usage::default(), warnings: Vec::new() };
        let text = serde_json::to_vec(&answer).unwrap();
        for visible in [0, text.len() / 2] {
            fs::write(answer_path(&path), &text[..visible]).unwrap();
            assert!(take_answer(&path).is_none() && answer_path(&path).exists());
        }
        fs::write(answer_path(&path), &text).unwrap();
        assert_eq!(take_answer(&path).map(|answer| answer.index), Some(7));
        assert!(!answer_path(&path).exists());
    }
}
