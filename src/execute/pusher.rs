//! Sends what a run computes to its remote, while the run goes on.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dnc_cache::{Key, Store};

use super::outcome::Outcome;
use super::remote::RunRemote;
use super::result::NodeResult;

/// How often the results are searched for new nodes, of which there may be many thousands.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// Nodes wait to be sent with others for at most this share of the time that the run has taken so far, so that a long run writes few packs.
const WAIT: u32 = 10;

/// Nodes are never held back longer.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

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
            let begun = Instant::now();
            let mut last = begun;
            while let Some(batch) = next_batch(&received, last + ((last - begun) / WAIT).min(LONGEST_WAIT)) {
                remote.push(&store, &batch);
                last = Instant::now();
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

/// All keys that are received until `due`, or until there is no sender any more; at least one, unless there is no sender.
fn next_batch(received: &Receiver<Vec<Key>>, due: Instant) -> Option<Vec<Key>> {
    let mut batch = received.recv().ok()?;
    while let Ok(more) = received.recv_timeout(due.saturating_duration_since(Instant::now())) {
        batch.extend(more);
    }
    batch.extend(received.try_iter().flatten());
    Some(batch)
}
