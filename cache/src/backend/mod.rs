//! Where objects lie: a [`Backend`] keeps whole, named, immutable objects and knows nothing of what they mean.
//!
//! Reading order: the trait here, then [`Disk`] (what a store lies on), then [`Memory`] (for tests, and for a remote that
//! vanishes). All of them pass the same laws in `tests/backend.rs`.

mod disk;
mod memory;

pub use disk::Disk;
pub(crate) use disk::make_read_only;
pub use memory::Memory;

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::artifact::is_plain;
use crate::digest::{Digest, Key};
use crate::error::{CacheError, Result};

/// A keeper of named objects. All methods may be called from any thread.
///
/// Laws: an object is there whole or not at all, whatever dies meanwhile; putting a name again replaces the object; absence
/// is an answer and no error; a listing is sorted by name.
pub trait Backend: Send + Sync {
    /// Stores `bytes` under `name`, durably.
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()>;

    /// Stores a copy of the file's bytes under `name`, durably.
    fn put_file(&self, name: &ObjectName, file: &Path) -> Result<()>;

    /// The bytes of an object.
    fn get(&self, name: &ObjectName) -> Result<Option<Vec<u8>>>;

    /// Writes the bytes of an object to the new file `to`; `false`, and no file, if the object is absent.
    fn get_file(&self, name: &ObjectName, to: &Path) -> Result<bool>;

    /// The length of an object in bytes.
    fn size(&self, name: &ObjectName) -> Result<Option<u64>>;

    /// All objects whose names begin with `prefix` (`blobs/`, `records/`, `quarantine/`).
    fn list(&self, prefix: &str) -> Result<Vec<Object>>;

    /// Forgets an object; `false` if it was absent.
    fn remove(&self, name: &ObjectName) -> Result<bool>;

    /// Moves a damaged object to `quarantine/<name>`, where nobody takes it for sound; `false` if it was absent.
    fn quarantine(&self, name: &ObjectName) -> Result<bool>;
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// The object's name.
    pub name: ObjectName,
    /// Its length in bytes.
    pub size: u64,
}

/// The name of an object: a relative path of plain parts, such as `blobs/a/abcd…`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectName(String);

impl ObjectName {
    /// The name of the blob with these bytes.
    pub fn blob(digest: &Digest) -> Self {
        Self::fanned("blobs", &digest.to_string())
    }

    /// The name of the mark that says that this blob was dropped on purpose.
    pub(crate) fn dropped(digest: &Digest) -> Self {
        Self::fanned("dropped", &digest.to_string())
    }

    /// The name of the record of this key.
    pub fn record(key: &Key) -> Self {
        Self::fanned("records", &key.to_string())
    }

    /// The name of the file of all records on a disk.
    pub(crate) fn pack() -> Self {
        Self("records/pack".to_owned())
    }

    /// The name that lines at this place of the pack get which belong to no record.
    pub(crate) fn stray(place: usize) -> Self {
        Self(format!("records/{place}"))
    }

    /// Any other name.
    ///
    /// # Errors
    /// If the text is absolute, leaves the store, or is not in its plain form.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if is_plain(&text) { Ok(Self(text)) } else { Err(CacheError::NotAName { text }) }
    }

    /// The digest that a blob's name tells, if this is a blob's name.
    pub fn digest(&self) -> Option<Digest> {
        self.last().parse().ok().filter(|digest| *self == Self::blob(digest))
    }

    /// The digest that the mark of a dropped blob tells, if this is such a mark's name.
    pub(crate) fn dropped_digest(&self) -> Option<Digest> {
        self.last().parse().ok().filter(|digest| *self == Self::dropped(digest))
    }

    /// The key that a record's name tells, if this is a record's name.
    pub fn key(&self) -> Option<Key> {
        self.last().parse().ok().filter(|key| *self == Self::record(key))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of what tells a root's path, given that path's digest.
    pub(crate) fn root(path: &Digest) -> Self {
        Self(format!("roots/{path}"))
    }

    /// Where the object goes when it is damaged.
    pub(crate) fn quarantined(&self) -> Self {
        Self(format!("quarantine/{self}"))
    }

    /// Sixteen folders: file systems find a name among many, and making a folder takes ext4 as long as moving three files.
    fn fanned(folder: &str, hex: &str) -> Self {
        Self(format!("{folder}/{}/{hex}", &hex[..1]))
    }

    /// The last part of the name.
    pub(crate) fn last(&self) -> &str {
        self.0.rsplit('/').next().expect("splitting gives at least one part")
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
    fn names_tell_what_they_name() {
        let (digest, key) = (Digest::of(b""), Key::of(""));
        assert_eq!(ObjectName::blob(&digest).to_string(), format!("blobs/a/{digest}"));
        assert_eq!(ObjectName::blob(&digest).digest(), Some(digest));
        assert_eq!(ObjectName::blob(&digest).key(), None);
        assert_eq!(ObjectName::record(&key).key(), Some(key));
        assert_eq!(ObjectName::record(&key).digest(), None);
        let astray = ObjectName::new(format!("blobs/0/{digest}")).unwrap();
        assert_eq!(astray.digest(), None);
    }

    #[test]
    fn names_stay_in_the_store() {
        for text in ["", "/blobs", "blobs/../..", "blobs//a", "blobs/"] {
            assert!(ObjectName::new(text).is_err(), "{text:?}");
        }
    }
}
