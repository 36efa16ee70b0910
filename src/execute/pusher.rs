//! Sends what a run computes to its remote, while the run goes on.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dnc_cache::{Key, Store};

use super::outcome::Outcome;
use super::remote::RunRemote;
use super::result::NodeResult;

/// How often the results are searched for new nodes, of which there may be many thousands.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// Sends nodes that have run to a remote.
pub struct Pusher {
    keys: Sender<Vec<Key>>,
    thread: JoinHandle<()>,
    sent: HashSet<Key>,
    searched: Instant,
}

impl Pusher {
    /// Starts a thread that sends to `remote`.
    pub fn start(remote: Arc<RunRemote>, store: Arc<Store>) -> Self {
        let (keys, received) = mpsc::channel::<Vec<Key>>();
        let thread = thread::spawn(move || {
            while let Ok(mut batch) = received.recv() {
                batch.extend(received.try_iter().flatten());
                remote.push(&store, &batch);
            }
        });
        Self { keys, thread, sent: HashSet::new(), searched: Instant::now() }
    }

    /// Sends the nodes that have run since the last call, unless that was just now.
    pub fn offer(&mut self, results: &[NodeResult]) {
        if self.searched.elapsed() >= SEARCH_EVERY {
            self.send(results);
            self.searched = Instant::now();
        }
    }

    /// Sends the rest and waits until everything has arrived, or the remote has failed.
    pub fn finish(mut self, results: &[NodeResult]) {
        self.send(results);
        drop(self.keys);
        // A panic was printed, and the run itself is complete.
        let _ = self.thread.join();
    }

    fn send(&mut self, results: &[NodeResult]) {
        let ran = results.iter().filter(|result| result.outcome == Outcome::Ran).filter_map(|result| result.key);
        let new: Vec<Key> = ran.filter(|key| self.sent.insert(*key)).collect();
        if !new.is_empty() {
            // The thread receives until the sender is dropped; after a panic it does not.
            let _ = self.keys.send(new);
        }
    }
}
