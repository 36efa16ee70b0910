//! Layout of a remote: its format version.

use super::api::{ConditionalPut, Remote};
use crate::error::{CacheError, Result};
use crate::object::ObjectName;

/// The line in the `format` object of every remote that this version writes.
const FORMAT: &str = "dnc-remote 2";

/// The format without packs. It is read, and a push turns it into the current one, so that older programs, which know no packs, refuse
/// the remote instead of missing what is in them.
const WITHOUT_PACKS: &str = "dnc-remote 1";

/// The folders of a remote.
const FOLDERS: [&str; 6] = ["records/", "blobs/", "dropped/", "packs/", "roots/", "gc/"];

/// How many objects of a remote without a `format` object are checked. A remote that lost this object may have millions.
const CHECKED_OBJECTS: usize = 100;

/// Checks that there is a remote store of a known format.
///
/// # Errors
/// There is no remote store of a known format, or it cannot be read.
pub fn check_readable(remote: &dyn Remote) -> Result<()> {
    match remote.get(&ObjectName::format())? {
        Some(bytes) => check_format(remote, &bytes).map(drop),
        None => Err(CacheError::NoRemote { url: remote.url().to_owned() }),
    }
}

/// Checks that there is a remote store of a known format, brings it to the current one, and creates one if the remote is empty.
pub(crate) fn prepare_for_writing(remote: &dyn Remote) -> Result<()> {
    let line = format!("{FORMAT}\n");
    if let Some(bytes) = remote.get(&ObjectName::format())? {
        let is_current = check_format(remote, &bytes)?;
        return if is_current { Ok(()) } else { remote.put(&ObjectName::format(), line.as_bytes()) };
    }
    for object in remote.list("").take(CHECKED_OBJECTS) {
        let name = object?.name;
        if name != ObjectName::format() && !FOLDERS.iter().any(|folder| name.as_str().starts_with(folder)) {
            return Err(CacheError::NotARemote { url: remote.url().to_owned(), object: name.to_string() });
        }
    }
    match remote.put_if_absent(&ObjectName::format(), line.as_bytes())? {
        ConditionalPut::Created => Ok(()),
        ConditionalPut::Existed(bytes) => check_format(remote, &bytes).map(drop),
    }
}

/// Whether a known format is the current one.
fn check_format(remote: &dyn Remote, bytes: &[u8]) -> Result<bool> {
    let text = String::from_utf8_lossy(bytes);
    let found = text.lines().next().unwrap_or_default().trim_end();
    if found == FORMAT || found == WITHOUT_PACKS {
        return Ok(found == FORMAT);
    }
    Err(CacheError::RemoteFormat { url: remote.url().to_owned(), found: found.to_owned(), known: FORMAT })
}
