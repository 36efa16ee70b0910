//! Objects: named files of a store or a remote, with the same names in both.

use std::fmt;

use serde::Serialize;

use crate::artifact::is_normalised_path;
use crate::digest::{Digest, Key};
use crate::error::{CacheError, Result};

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// The object's name.
    pub name: ObjectName,
    /// Size in bytes.
    pub size: u64,
}

/// The name of an object: a normalised relative path such as `blobs/a/abcd…`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectName(String);

impl ObjectName {
    /// The name of the blob with this digest.
    pub fn blob(digest: &Digest) -> Self {
        Self::sharded("blobs", &digest.to_string())
    }

    /// The name of the empty object that marks a blob as deliberately dropped.
    pub fn dropped(digest: &Digest) -> Self {
        Self::sharded("dropped", &digest.to_string())
    }

    /// The name of the record of this key: an object in a remote, and the name of a damaged record in quarantine. In a store,
    /// intact records are all in one pack.
    pub fn record(key: &Key) -> Self {
        Self::sharded("records", &key.to_string())
    }

    /// The name of the file with the version of the format.
    pub(crate) fn format() -> Self {
        Self("format".to_owned())
    }

    /// The name of the file that contains all records of a store.
    pub(crate) fn pack() -> Self {
        Self("records/pack".to_owned())
    }

    /// The name under which lines of the pack that belong to no record are quarantined, given their offset.
    pub(crate) fn stray_lines(offset: usize) -> Self {
        Self(format!("records/{offset}"))
    }

    /// The name of the file that contains a garbage-collection root, given the digest of the root's path.
    pub(crate) fn root(path: &Digest) -> Self {
        Self(format!("roots/{path}"))
    }

    /// The name of a pack of a remote, given the digest and the size of its index.
    pub(crate) fn pack_of_remote(index: &Digest, index_size: u64) -> Self {
        Self(format!("packs/{index}-{index_size}"))
    }

    /// Any other name.
    ///
    /// # Errors
    /// The text is not a normalised relative path.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if is_normalised_path(&text) { Ok(Self(text)) } else { Err(CacheError::InvalidName { text }) }
    }

    /// The blob's digest, if this is the name of a blob.
    pub fn digest(&self) -> Option<Digest> {
        self.last_part().parse().ok().filter(|digest| *self == Self::blob(digest))
    }

    /// The dropped blob's digest, if this is the name of a mark of a dropped blob.
    pub(crate) fn dropped_digest(&self) -> Option<Digest> {
        self.last_part().parse().ok().filter(|digest| *self == Self::dropped(digest))
    }

    /// The record's key, if this is the name of a record.
    pub fn key(&self) -> Option<Key> {
        self.last_part().parse().ok().filter(|key| *self == Self::record(key))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that a damaged object gets in quarantine.
    pub(crate) fn quarantined(&self) -> Self {
        Self(format!("quarantine/{self}"))
    }

    /// The part after the last `/`.
    pub(crate) fn last_part(&self) -> &str {
        self.0.rsplit('/').next().expect("splitting gives at least one part")
    }

    /// Distributes objects over sixteen folders by their first digit. File systems find a name quickly among many others, and
    /// creating a folder takes ext4 as long as moving three files, so more folders would not pay.
    fn sharded(folder: &str, hex: &str) -> Self {
        Self(format!("{folder}/{}/{hex}", &hex[..1]))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_back_their_digest_or_key() {
        let (digest, key) = (Digest::of(b""), Key::of(""));
        assert_eq!(ObjectName::blob(&digest).to_string(), format!("blobs/a/{digest}"));
        assert_eq!(ObjectName::blob(&digest).digest(), Some(digest));
        assert_eq!(ObjectName::blob(&digest).key(), None);
        assert_eq!(ObjectName::record(&key).key(), Some(key));
        assert_eq!(ObjectName::record(&key).digest(), None);
        assert_eq!(ObjectName::dropped(&digest).dropped_digest(), Some(digest));
        let in_the_wrong_folder = ObjectName::new(format!("blobs/0/{digest}")).unwrap();
        assert_eq!(in_the_wrong_folder.digest(), None);
    }

    #[test]
    fn names_outside_the_store_are_refused() {
        for text in ["", "/blobs", "blobs/../..", "blobs//a", "blobs/"] {
            assert!(ObjectName::new(text).is_err(), "{text:?}");
        }
    }
}
