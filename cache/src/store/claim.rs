//! Claims: among all processes that need a key, one computes it and the others wait.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::state::StoreState;
use crate::digest::Key;
use crate::error::{CacheError, Result};
use crate::lock::LockFile;
use crate::session::PathClaim;

/// Initial and maximum interval at which a waiting process tries again: short enough not to delay quick tasks, long enough not
/// to cost anything during long ones.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The exclusive right to compute a key, until it is dropped or passed to [`Store::commit`](super::Store::commit). The kernel
/// releases it if the process dies.
#[derive(Debug)]
pub struct Claim {
    key: Key,
    _path: PathClaim,
}

impl Claim {
    /// The claimed key.
    pub fn key(&self) -> &Key {
        &self.key
    }
}

impl StoreState {
    /// See [`Store::claim`](super::Store::claim).
    pub(super) fn claim(
        &self,
        key: &Key,
        cancelled: &dyn Fn() -> bool,
        waiting: &mut dyn FnMut(Option<u32>),
    ) -> Result<Claim> {
        let mut reported_holder = None;
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(claim) = self.try_claim(key)? {
                return Ok(claim);
            }
            if cancelled() {
                return Err(CacheError::Cancelled { key: *key });
            }
            let holder = self.claim_holder(key);
            if reported_holder != Some(holder) {
                waiting(holder);
                reported_holder = Some(holder);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Claims `key`. Returns `None` if it is already claimed.
    pub(super) fn try_claim(&self, key: &Key) -> Result<Option<Claim>> {
        let path = self.claim_path(key);
        let claimed = self.disk.session().claim(&path).map_err(CacheError::io("lock", &path))?;
        Ok(claimed.map(|path| Claim { key: *key, _path: path }))
    }

    /// The process number of the claim's holder, if the key is claimed and the number is known.
    pub(super) fn claim_holder(&self, key: &Key) -> Option<u32> {
        LockFile::holder(&self.claim_path(key))
    }

    fn claim_path(&self, key: &Key) -> PathBuf {
        self.disk.root().join("claims").join(key.to_string())
    }
}
