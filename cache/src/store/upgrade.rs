//! Upgrade of stores of older formats. Format 1 had a file per record instead of the pack; formats 1 and 2 distributed objects
//! over folders by two digits of the digest instead of one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use super::format::{FORMAT, read_format, write_format};
use crate::digest::Key;
use crate::disk::Disk;
use crate::durable;
use crate::error::{CacheError, Result};
use crate::lock::LockFile;
use crate::object::ObjectName;
use crate::pack::Pack;
use crate::record::Record;
use crate::session::{self, FoundSession};

/// Formats that can be upgraded.
pub(super) const OLDER_FORMATS: [&str; 3] = ["dnc-store 1", "dnc-store 2", UPGRADING];

/// The format while a store is being upgraded. Older versions do not know it and refuse to open the store.
const UPGRADING: &str = "dnc-store 3, being upgraded";

/// Interval at which a process checks whether another process has finished the upgrade.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Upgrades the store in `root`, or waits until another process has done so. An interrupted upgrade is continued when the store
/// is opened next.
///
/// # Errors
/// A process that knows only the old format has the store open. It would not find upgraded objects, nor would its own be
/// found.
pub(super) fn upgrade(root: &Path) -> Result<()> {
    let claim = root.join("claims").join("upgrade");
    let _claim = loop {
        match LockFile::try_acquire(&claim).map_err(CacheError::io("lock", &claim))? {
            Some(claim) => break claim,
            None => thread::sleep(POLL_INTERVAL),
        }
    };
    let Some(from) = read_format(root)?.filter(|line| line != FORMAT) else { return Ok(()) };
    let disk = Disk::open(root)?;
    // From now on no older version opens the store. One that has it open already has a session.
    write_format(&disk, UPGRADING)?;
    let own = disk.session().name();
    let sessions = session::sessions(&root.join("tmp"))?;
    if sessions.iter().any(|session| matches!(session, FoundSession::Alive { name, .. } if name != own)) {
        write_format(&disk, &from)?;
        return Err(CacheError::InUse { path: root.to_owned(), format: from });
    }
    let mut touched = BTreeSet::new();
    move_blobs(&disk, &mut touched)?;
    let packed = pack_records(&disk, &mut touched)?;
    if !touched.is_empty() {
        durable::sync(root, &Vec::from_iter(touched.iter().map(PathBuf::as_path)))?;
    }
    write_format(&disk, FORMAT)?;
    for name in &packed {
        disk.remove(name)?;
    }
    Ok(())
}

/// Moves blobs and marks of dropped blobs to their paths in the current format.
fn move_blobs(disk: &Disk, touched: &mut BTreeSet<PathBuf>) -> Result<()> {
    for (folder, name_of) in [("blobs", ObjectName::blob as fn(&_) -> _), ("dropped", ObjectName::dropped)] {
        for object in disk.list(folder)? {
            let Ok(digest) = object.name.last_part().parse() else { continue };
            let new_name = name_of(&digest);
            if new_name != object.name {
                let path = disk.move_in(&new_name, &disk.path(&object.name))?;
                touched.extend(path.parent().map(Path::to_owned));
            }
        }
        let folder = disk.root().join(folder);
        for old_folder in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // Folders that are not empty stay.
            let _ = fs::remove_dir(old_folder.path());
        }
        touched.extend(folder.exists().then_some(folder));
    }
    Ok(())
}

/// Adds records with files of their own to the pack, with the times of their last use. Returns the names of the files.
fn pack_records(disk: &Disk, touched: &mut BTreeSet<PathBuf>) -> Result<Vec<ObjectName>> {
    let pack = Pack::new(disk.path(&ObjectName::pack()));
    let mut packed = Vec::new();
    for object in disk.list("records")? {
        let Ok(key) = object.name.last_part().parse::<Key>() else { continue };
        let path = disk.path(&object.name);
        let used = fs::metadata(&path).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let bytes = disk.get(&object.name)?;
        // Damaged records count as absent, as everywhere.
        if let Some(record) = bytes.and_then(|bytes| Record::decode(&key, &bytes)) {
            pack.add(&record.encode(), vec![key], used)?;
            touched.extend([pack.path().to_owned(), disk.root().join("records")]);
        }
        packed.push(object.name);
    }
    Ok(packed)
}
