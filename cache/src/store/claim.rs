//! Claims: of all processes that need a key, one computes it and the others wait.

use std::thread;
use std::time::Duration;

use super::Store;
use crate::digest::Key;
use crate::error::{CacheError, Result};
use crate::lock::LockFile;
use crate::session::Claimed;

/// How often the one who waits looks again, at first and at most: quick tasks are not delayed, long ones not disturbed.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(100);

/// The right to compute a key, until it is dropped or handed to [`Store::commit`]. The kernel takes it back from a process
/// that dies.
#[derive(Debug)]
pub struct Claim {
    key: Key,
    _claimed: Claimed,
}

impl Claim {
    /// The key that is claimed.
    pub fn key(&self) -> &Key {
        &self.key
    }
}

impl Store {
    /// Waits until nobody else computes `key`, and claims it. **Look the record up again then**: whoever held the claim
    /// before has most likely committed it.
    ///
    /// `waiting` is called with the process number of the holder (if it can be told) when the wait begins and whenever the
    /// holder changes; `cancelled` is asked now and then.
    ///
    /// # Errors
    /// [`CacheError::Cancelled`] as soon as `cancelled` says so; otherwise if the claim's file cannot be made.
    pub fn claim(
        &self,
        key: &Key,
        cancelled: &dyn Fn() -> bool,
        waiting: &mut dyn FnMut(Option<u32>),
    ) -> Result<Claim> {
        let mut told = None;
        let mut pause = FIRST_LOOK;
        loop {
            if let Some(claim) = self.try_claim(key)? {
                return Ok(claim);
            }
            if cancelled() {
                return Err(CacheError::Cancelled { key: *key });
            }
            let holder = self.holder(key);
            if told != Some(holder) {
                waiting(holder);
                told = Some(holder);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    /// Claims `key` if nobody holds it.
    pub fn try_claim(&self, key: &Key) -> Result<Option<Claim>> {
        let path = self.claim_path(key);
        let claimed = self.inner.disk.session().claim(&path).map_err(CacheError::io("lock", &path))?;
        Ok(claimed.map(|claimed| Claim { key: *key, _claimed: claimed }))
    }

    /// The number of the process that holds the claim of `key`, if any does and it can be told.
    pub fn holder(&self, key: &Key) -> Option<u32> {
        LockFile::holder(&self.claim_path(key))
    }

    fn claim_path(&self, key: &Key) -> std::path::PathBuf {
        self.root().join("claims").join(key.to_string())
    }
}
