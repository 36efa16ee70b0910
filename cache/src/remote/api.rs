//! The trait of all remotes.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

use crate::error::Result;
use crate::object::ObjectName;

/// An object store. All methods may be called from any thread.
///
/// Laws: an object is visible as a whole or not at all, even if the writing process dies; a successful put is durable; putting
/// an existing name replaces the object, except with [`Remote::put_if_absent`]; a missing object is not an error.
///
/// A remote need not protect against damage: whoever reads from it verifies the bytes.
pub trait Remote: fmt::Debug + Send + Sync {
    /// The URL or path of the remote, for messages.
    fn url(&self) -> &str;

    /// The number of requests that are best sent at the same time.
    fn concurrent_requests(&self) -> usize;

    /// The number of objects that one request of [`Remote::list`] lists.
    fn listed_per_request(&self) -> usize {
        1000
    }

    /// Whether [`Remote::put_if_absent`] can be relied on. Some servers ignore the condition; then two processes that write the
    /// same object at the same time may both succeed, and the last one stays.
    ///
    /// # Errors
    /// The remote cannot be accessed.
    fn has_conditional_puts(&self) -> Result<bool> {
        Ok(true)
    }

    /// The sizes of many objects in bytes, in the order of the names, with `None` for each object that does not exist.
    fn sizes(&self, names: &[ObjectName]) -> Result<Vec<Option<u64>>>;

    /// The bytes of a small object, or `None` if it does not exist.
    fn get(&self, name: &ObjectName) -> Result<Option<Vec<u8>>>;

    /// These bytes of an object, fewer if it ends before, or `None` if it does not exist.
    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Option<Vec<u8>>>;

    /// Writes the bytes of an object to the new file `to`. Returns `false` and creates no file if the object does not exist.
    fn get_to_file(&self, name: &ObjectName, to: &Path) -> Result<bool>;

    /// Stores a small object.
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()>;

    /// Stores the bytes of a file as an object.
    fn put_from_file(&self, name: &ObjectName, file: &Path) -> Result<()>;

    /// Stores a small object unless it exists. Of several processes that call this at the same time, exactly one creates the
    /// object, and all others get its bytes.
    fn put_if_absent(&self, name: &ObjectName, bytes: &[u8]) -> Result<ConditionalPut>;

    /// Removes objects. One that does not exist is no error.
    fn remove(&self, names: &[ObjectName]) -> Result<()>;

    /// All objects below a folder such as `records`, or of the whole remote for an empty folder name, in no particular order.
    fn list(&self, folder: &str) -> ObjectListing<'_>;
}

/// The objects of a listing, which is read from the remote bit by bit. After an error it ends.
pub type ObjectListing<'a> = Box<dyn Iterator<Item = Result<RemoteObject>> + Send + 'a>;

/// An object in a listing of a remote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemoteObject {
    /// The object's name.
    pub name: ObjectName,
    /// Size in bytes.
    pub size: u64,
    /// When the object was written, by the clock of the server.
    pub modified: SystemTime,
}

/// Result of [`Remote::put_if_absent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionalPut {
    /// The object did not exist and was created.
    Created,
    /// The object existed with these bytes and was not changed.
    Existed(Vec<u8>),
}
