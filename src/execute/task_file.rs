//! A task file: one piece of work that a process of its own runs (`dnc-run task FILE`), and the answer that it leaves.
//!
//! The process opens the store, claims the key, runs the stage, commits, and writes its answer beside the file. Until then it
//! writes the node's events to standard output, one JSON object per line. A process that ends without an answer has failed.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dnc_cache::{CacheError, Store};
use serde::{Deserialize, Serialize};

use super::event::{Event, Listener};
use super::host::Host;
use super::result::not_recorded;
use super::run_work::run_work;
use super::thread_share::ThreadShare;
use super::work::{Answer, Attempt, Work};
use super::workers::NodePool;

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

/// Reads and removes the answer to the task file at `path`, if there is one.
pub(super) fn take_answer(path: &Path) -> Option<Answer> {
    let text = fs::read(answer_path(path)).ok()?;
    // What cannot be removed goes with the folder of task files.
    let _ = fs::remove_file(answer_path(path));
    serde_json::from_slice(&text).ok()
}

/// Runs the work in the task file at `path` and leaves the answer beside it. Work stops when `stop` is set and, where
/// `attached`, when standard input ends, that is, when the process that started this one is gone.
///
/// # Errors
/// The file cannot be read, the store cannot be opened, or the answer cannot be written.
pub fn run_task_file(path: &Path, attached: bool, stop: &Arc<AtomicBool>) -> io::Result<()> {
    let TaskFile { store, threads, work, .. } = TaskFile::read(path)?;
    if attached {
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
        listener: Arc::new(Lines),
        stop: Arc::clone(stop),
    };
    let share = Arc::new(ThreadShare::fixed(threads));
    let mut answer = run_work(&work, &share, &mut NodePool::default(), &host);
    match host.store.flush() {
        Err(CacheError::Commit { source, .. }) => {
            let message = not_recorded(&*source);
            answer.attempt = Attempt::Failed { message };
        }
        other => other.map_err(io::Error::other)?,
    }
    let unfinished = path.with_extension("answer.tmp");
    fs::write(&unfinished, serde_json::to_vec(&answer)?)?;
    fs::rename(unfinished, answer_path(path))
}

/// Writes events to standard output.
struct Lines;

impl Listener for Lines {
    fn event(&self, event: &Event) {
        let mut line = serde_json::to_vec(event).expect("events have string keys");
        line.push(b'\n');
        // Without a reader there is nobody to inform; the answer counts.
        let _ = io::stdout().write_all(&line);
    }
}
