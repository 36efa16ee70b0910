//! Dropping: removing blobs to save space while their records stay.
//!
//! A record with dropped blobs still has the digests of its outputs, so nodes that depend on it remain hits. It is computed
//! again only if its bytes are needed. The mark `dropped/a/abcd…` distinguishes a dropped blob from a lost one.

use super::handle::Store;
use crate::digest::Digest;
use crate::error::Result;
use crate::object::ObjectName;

impl Store {
    /// Removes those of the blobs that are in the store, and marks them as dropped. Returns the number of bytes that this
    /// freed.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn drop_blobs<'d>(&self, digests: impl IntoIterator<Item = &'d Digest>) -> Result<u64> {
        let disk = &self.state.disk;
        // No record that refers to one of the blobs can be added meanwhile.
        let _lock = self.state.lock_for_removing()?;
        let mut freed = 0;
        for digest in digests {
            let Some((_, metadata)) = self.state.blob_metadata(digest)? else { continue };
            disk.put(&ObjectName::dropped(digest), b"")?;
            if disk.remove(&ObjectName::blob(digest))? {
                freed += metadata.len();
            }
        }
        Ok(freed)
    }
}
