//! A store of the format before: a file for each record instead of the pack.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::{FORMAT, write_format};
use crate::backend::{Backend, Disk, ObjectName};
use crate::durable;
use crate::error::{CacheError, Result};
use crate::lock::LockFile;
use crate::pack::Pack;
use crate::record::Record;
use crate::session::{self, Found};

/// The line in the `format` file of a store that can be upgraded.
pub(super) const FROM: &str = "dnc-store 1";

/// Packs the records of the store in `root`, with the times of their last use.
///
/// # Errors
/// A process that knows no pack has the store open, and would write records that nobody finds.
pub(super) fn upgrade(root: &Path) -> Result<()> {
    let claim = root.join("claims").join("upgrade");
    let claim = LockFile::try_acquire(&claim).map_err(CacheError::io("lock", &claim))?;
    let sessions = session::sessions(&root.join("tmp"))?;
    if claim.is_none() || sessions.iter().any(|session| matches!(session, Found::Alive { .. })) {
        return Err(CacheError::Format { path: root.to_owned(), found: FROM.to_owned(), known: FORMAT });
    }
    let disk = Disk::open(root)?;
    let pack = Pack::new(disk.path(&ObjectName::pack()));
    let objects = disk.list("records/")?;
    for object in &objects {
        let Some(key) = object.name.key() else { continue };
        let path = disk.path(&object.name);
        let used = fs::metadata(&path).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let bytes = disk.get(&object.name)?;
        // What is damaged counts as absent, here as elsewhere.
        if let Some(record) = bytes.and_then(|bytes| Record::decode(&key, &bytes)) {
            pack.add(&record.encode(), vec![key], used)?;
        }
    }
    if !pack.keys()?.is_empty() {
        durable::sync(root, &[pack.path(), &root.join("records")])?;
    }
    write_format(&disk)?;
    for object in objects.iter().filter(|object| object.name.key().is_some()) {
        disk.remove(&object.name)?;
    }
    Ok(())
}
