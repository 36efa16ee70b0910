//! Adopting: taking over records from a remote without their blobs.
//!
//! The blobs are marked as dropped, so the records are hits although the bytes are elsewhere. [`Store::pull`] fetches the bytes
//! once somebody needs them.

use std::collections::{BTreeMap, BTreeSet};

use super::handle::Store;
use super::push::distinct_blobs;
use super::transfer::TransferFailure;
use crate::digest::Key;
use crate::error::Result;
use crate::object::ObjectName;
use crate::parallel;
use crate::record::Outputs;
use crate::remote::Remote;

/// What [`Store::adopt`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adopted {
    /// The outputs of the records that the store has now.
    pub outputs: BTreeMap<Key, Outputs>,
    /// Keys of records in the remote that are damaged. They were not taken over.
    pub damaged: Vec<Key>,
}

/// Number of marks that are written at the same time, each of which waits for the disk.
const MARKS_AT_ONCE: usize = 16;

impl Store {
    /// Takes over the records of `keys` that a remote has, without their blobs: with few requests those in packs, with one each the
    /// others. A key that the remote does not have is not in the answer.
    ///
    /// # Errors
    /// There is no remote of the current format, the remote cannot be accessed, or the store cannot be written to.
    pub fn adopt(&self, keys: &[Key], remote: &dyn Remote) -> Result<Adopted> {
        let catalogue = self.state.recent_catalogue(remote)?;
        let state = &self.state;
        let keys: Vec<Key> = BTreeSet::from_iter(keys.iter().copied()).into_iter().collect();
        let mut fetched = state.fetch_records(&keys, &catalogue, remote)?;
        if !fetched.damaged.is_empty() {
            // gc may have replaced packs since the catalogue was read.
            fetched = state.fetch_records(&keys, &*state.catalogue(remote)?, remote)?;
        }
        let (mut adopted, mut records, mut known) = (Adopted::default(), Vec::new(), BTreeSet::new());
        for (key, fetched) in fetched.records {
            match fetched {
                Ok(fetched) => {
                    known.extend(fetched.exists.then_some(key));
                    records.push(fetched.record);
                }
                Err(TransferFailure::DamagedRecord) => adopted.damaged.push(key),
                Err(_) => {}
            }
        }
        {
            let _lock = state.lock_for_adding()?;
            let files = distinct_blobs(&records);
            parallel::map(&files, MARKS_AT_ONCE, |file| {
                if state.blob_metadata(&file.digest)?.is_none() && !state.is_dropped(&file.digest)? {
                    state.disk.put(&ObjectName::dropped(&file.digest), b"")?;
                }
                Ok(())
            })?;
        }
        let lost = state.add_durably(&records, &known)?;
        records.retain(|record| !lost.contains_key(&record.key));
        adopted.outputs = records.into_iter().map(|record| (record.key, record.outputs)).collect();
        Ok(adopted)
    }
}
