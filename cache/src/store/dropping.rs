//! Dropping blobs that somebody may ask for again, while their records stay.
//!
//! A record whose blobs were dropped still tells the digests of its outputs, so that what was made of them stays a hit;
//! only who needs the bytes themselves computes them anew. A mark, `dropped/a/abcd…`, tells such a blob from a lost one.

use super::Store;
use crate::backend::{Backend, ObjectName};
use crate::digest::Digest;
use crate::error::Result;

impl Store {
    /// Removes these blobs, as far as they are there; says how many bytes that frees. Nothing is added meanwhile that could
    /// rest on them.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn drop_blobs<'d>(&self, digests: impl IntoIterator<Item = &'d Digest>) -> Result<u64> {
        let disk = &self.inner.disk;
        let _taking = self.inner.taking()?;
        let mut freed = 0;
        for digest in digests {
            let Some((_, metadata)) = self.inner.blob_metadata(digest)? else { continue };
            disk.put(&ObjectName::dropped(digest), b"")?;
            if disk.remove(&ObjectName::blob(digest))? {
                freed += metadata.len();
            }
        }
        Ok(freed)
    }
}
