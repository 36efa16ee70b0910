//! The remote of a run: what other machines have computed, and where this run sends what it computes.
//!
//! A remote only saves work. It is opened when something is missing in the store, so that a run that finds everything asks it
//! nothing. Once it fails, the run says so and goes on without it.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use dnc_cache::{CacheError, Key, Outputs, Remote, RemoteOptions, Store, TransferFailure, TransferReport, open_remote};

use super::event::{Event, Listener};
use super::sources::is_due;
use crate::error_chain::error_chain;

/// Where a remote is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePlace {
    /// Its URL or folder.
    pub url: String,
    /// What the URL does not say.
    pub options: RemoteOptions,
}

/// The remote of a run.
pub struct RunRemote {
    place: RemotePlace,
    listener: Arc<dyn Listener>,
    opened: OnceLock<Result<Box<dyn Remote>, CacheError>>,
    has_failed: AtomicBool,
}

impl RunRemote {
    /// The remote at this place, which is not opened yet.
    pub fn new(place: RemotePlace, listener: Arc<dyn Listener>) -> Self {
        Self { place, listener, opened: OnceLock::new(), has_failed: AtomicBool::new(false) }
    }

    /// Looks for the records of `keys`, and takes over those that the remote has without their bytes.
    pub(super) fn look_up(&self, store: &Store, keys: &[Key]) -> BTreeMap<Key, Outputs> {
        let found = self.ask(|remote| match store.adopt(keys, remote) {
            // Nobody has pushed yet.
            Err(CacheError::NoRemote { .. }) => Ok(dnc_cache::Adopted::default()),
            other => other,
        });
        let adopted = found.unwrap_or_default();
        for key in adopted.damaged {
            self.notice(format!(
                "the record of key {} in `{}` is damaged; its node runs again",
                key.short(),
                self.url()
            ));
        }
        adopted.outputs
    }

    /// Fetches the bytes of the records of `keys` that are not in the store. Those that cannot be fetched are computed again.
    pub(super) fn fetch(&self, store: &Store, keys: &[Key]) {
        let progress = self.progress(false, Instant::now());
        let report = self.ask(|remote| match store.pull(keys, remote, &progress) {
            Err(CacheError::NoRemote { .. }) => Ok(TransferReport::default()),
            other => other,
        });
        for problem in report.unwrap_or_default().problems {
            // Most dropped bytes are nowhere else.
            if !matches!(problem.failure, TransferFailure::NoRecord | TransferFailure::MissingBlob(_)) {
                self.notice(format!("key {} in `{}`: {}", problem.key.short(), self.url(), problem.failure));
            }
        }
    }

    /// Sends the records of `keys` and their bytes, and reports those that cannot be sent.
    pub fn push(&self, store: &Store, keys: &[Key]) {
        let progress = self.progress(true, Instant::now());
        let report = self.ask(|remote| store.push(keys, remote, &progress)).unwrap_or_default();
        for problem in report.problems {
            self.notice(format!("key {} was not pushed to `{}`: {}", problem.key.short(), self.url(), problem.failure));
        }
    }

    /// Says in the remote which keys the project's runs need, so that gc keeps them there.
    pub fn keep(&self, store: &Store, project: &str, keys: &HashSet<Key>) {
        self.ask(|remote| store.set_remote_root(project, keys, remote));
    }

    /// Its URL, for messages.
    fn url(&self) -> &str {
        self.opened.get().and_then(|opened| opened.as_ref().ok()).map_or(self.place.url.as_str(), |remote| remote.url())
    }

    /// Whether it was asked for anything and has not failed.
    pub fn was_used(&self) -> bool {
        self.opened.get().is_some() && !self.has_failed()
    }

    /// Whether it has failed.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Reports that something concerning the remote was not done.
    pub fn notice(&self, message: String) {
        self.listener.event(&Event::Notice { node: None, message });
    }

    /// Reports how much of what is copied `since` then has been copied, once it has taken a while.
    fn progress(&self, sends: bool, since: Instant) -> impl Fn(u64, u64) + Sync {
        let (last, is_reported) = (Mutex::new(since), AtomicBool::new(false));
        move |done, total| {
            let ends = done >= total && is_reported.load(Ordering::Relaxed);
            if ends || is_due(&last) {
                is_reported.store(!ends, Ordering::Relaxed);
                self.listener.event(&Event::RemoteProgress { sends, done, total });
            }
        }
    }

    /// Asks the remote, unless it has failed before. `None` if it fails, which is reported.
    fn ask<T>(&self, ask: impl FnOnce(&dyn Remote) -> Result<T, CacheError>) -> Option<T> {
        if self.has_failed() {
            return None;
        }
        let answered = match self.opened.get_or_init(|| open_remote(&self.place.url, &self.place.options)) {
            Ok(remote) => ask(remote.as_ref()).map_err(|error| error_chain(&error)),
            Err(error) => Err(error_chain(error)),
        };
        answered
            .inspect_err(|message| {
                if !self.has_failed.swap(true, Ordering::Relaxed) {
                    self.notice(format!("the run goes on without the remote: {message}"));
                }
            })
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sync::lock;

    /// Bytes done and in all, of each report.
    #[derive(Default)]
    struct Heard(Mutex<Vec<(u64, u64)>>);

    impl Listener for Heard {
        fn event(&self, event: &Event) {
            if let Event::RemoteProgress { done, total, .. } = event {
                lock(&self.0).push((*done, *total));
            }
        }
    }

    #[test]
    fn what_takes_a_while_is_reported_until_its_end() {
        let heard = Arc::new(Heard::default());
        let place = RemotePlace { url: "nowhere".into(), options: RemoteOptions::default() };
        let remote = RunRemote::new(place, Arc::clone(&heard) as _);
        let now = Instant::now();
        let quick = remote.progress(true, now);
        [1, 2, 3].into_iter().for_each(|done| quick(done, 3));
        assert!(lock(&heard.0).is_empty());
        let slow = remote.progress(true, now.checked_sub(Duration::from_secs(2)).expect("the machine runs for longer"));
        [1, 2, 3].into_iter().for_each(|done| slow(done, 3));
        assert_eq!(*lock(&heard.0), [(1, 3), (3, 3)]);
    }
}
