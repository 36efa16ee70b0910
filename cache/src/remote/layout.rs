//! Layout of a remote: its format version, and the records in it.

use super::api::{ConditionalPut, Remote};
use crate::digest::Key;
use crate::error::{CacheError, Result};
use crate::object::ObjectName;

/// The line in the `format` object of every remote that this version reads and writes.
const FORMAT: &str = "dnc-remote 1";

/// The folders of a remote.
const FOLDERS: [&str; 3] = ["records/", "blobs/", "dropped/"];

/// How many objects of a remote without a `format` object are checked. A remote that lost this object may have millions.
const CHECKED_OBJECTS: usize = 100;

/// Checks that there is a remote store of the current format.
pub(crate) fn check_readable(remote: &dyn Remote) -> Result<()> {
    match remote.get(&ObjectName::format())? {
        Some(bytes) => check_format(remote, &bytes),
        None => Err(CacheError::NoRemote { url: remote.url().to_owned() }),
    }
}

/// Checks that there is a remote store of the current format, and creates one if the remote is empty.
pub(crate) fn prepare_for_writing(remote: &dyn Remote) -> Result<()> {
    if let Some(bytes) = remote.get(&ObjectName::format())? {
        return check_format(remote, &bytes);
    }
    for object in remote.list("").take(CHECKED_OBJECTS) {
        let name = object?.name;
        if name != ObjectName::format() && !FOLDERS.iter().any(|folder| name.as_str().starts_with(folder)) {
            return Err(CacheError::NotARemote { url: remote.url().to_owned(), object: name.to_string() });
        }
    }
    match remote.put_if_absent(&ObjectName::format(), format!("{FORMAT}\n").as_bytes())? {
        ConditionalPut::Created => Ok(()),
        ConditionalPut::Existed(bytes) => check_format(remote, &bytes),
    }
}

fn check_format(remote: &dyn Remote, bytes: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(bytes);
    let found = text.lines().next().unwrap_or_default().trim_end();
    if found == FORMAT {
        return Ok(());
    }
    Err(CacheError::RemoteFormat { url: remote.url().to_owned(), found: found.to_owned(), known: FORMAT })
}

/// The keys of all records in a remote, sorted.
///
/// # Errors
/// There is no remote store of the current format, or it cannot be read.
pub fn record_keys(remote: &dyn Remote) -> Result<Vec<Key>> {
    check_readable(remote)?;
    let mut keys = Vec::new();
    for object in remote.list("records") {
        keys.extend(object?.name.key());
    }
    keys.sort_unstable();
    Ok(keys)
}
