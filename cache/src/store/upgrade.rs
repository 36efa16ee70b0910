//! A store of a format before: the first had a file for each record instead of the pack, the first two a folder for two
//! digits of a digest instead of one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use super::{FORMAT, format_of, write_format};
use crate::backend::{Backend, Disk, ObjectName};
use crate::digest::Key;
use crate::durable;
use crate::error::{CacheError, Result};
use crate::lock::LockFile;
use crate::pack::Pack;
use crate::record::Record;
use crate::session::{self, Found};

/// The lines in the `format` files of stores that can be upgraded.
pub(super) const FROM: [&str; 3] = ["dnc-store 1", "dnc-store 2", UNDER_WAY];

/// The line while a store is being upgraded, which no version before takes for its own.
const UNDER_WAY: &str = "dnc-store 3, being upgraded";

/// How often the one who waits for another's upgrade looks again.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Makes the store in `root` one of this format, or waits until another process has. What is interrupted goes on at the
/// next opening.
///
/// # Errors
/// A process has the store open that knows the old format only, and would neither find nor be found.
pub(super) fn upgrade(root: &Path) -> Result<()> {
    let claim = root.join("claims").join("upgrade");
    let _claim = loop {
        match LockFile::try_acquire(&claim).map_err(CacheError::io("lock", &claim))? {
            Some(claim) => break claim,
            None => thread::sleep(LOOK_EVERY),
        }
    };
    let Some(from) = format_of(root)?.filter(|line| line != FORMAT) else { return Ok(()) };
    let disk = Disk::open(root)?;
    // From now on no old version opens it; one that has it open is a session.
    write_format(&disk, UNDER_WAY)?;
    let own = disk.session().name();
    let sessions = session::sessions(&root.join("tmp"))?;
    if sessions.iter().any(|session| matches!(session, Found::Alive { name, .. } if name != own)) {
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

/// Moves blobs, and marks of dropped ones, to where they lie now.
fn move_blobs(disk: &Disk, touched: &mut BTreeSet<PathBuf>) -> Result<()> {
    for (folder, name_of) in [("blobs", ObjectName::blob as fn(&_) -> _), ("dropped", ObjectName::dropped)] {
        for object in disk.list(&format!("{folder}/"))? {
            let Ok(digest) = object.name.last().parse() else { continue };
            let now = name_of(&digest);
            if now != object.name {
                let path = disk.adopt(&now, &disk.path(&object.name))?;
                touched.extend(path.parent().map(Path::to_owned));
            }
        }
        let folder = disk.root().join(folder);
        for emptied in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // A folder that still holds something stays.
            let _ = fs::remove_dir(emptied.path());
        }
        touched.extend(folder.exists().then_some(folder));
    }
    Ok(())
}

/// Packs records that have files of their own, with the times of their last use; returns the files' names.
fn pack_records(disk: &Disk, touched: &mut BTreeSet<PathBuf>) -> Result<Vec<ObjectName>> {
    let pack = Pack::new(disk.path(&ObjectName::pack()));
    let mut packed = Vec::new();
    for object in disk.list("records/")? {
        let Ok(key) = object.name.last().parse::<Key>() else { continue };
        let path = disk.path(&object.name);
        let used = fs::metadata(&path).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let bytes = disk.get(&object.name)?;
        // What is damaged counts as absent, here as elsewhere.
        if let Some(record) = bytes.and_then(|bytes| Record::decode(&key, &bytes)) {
            pack.add(&record.encode(), vec![key], used)?;
            touched.extend([pack.path().to_owned(), disk.root().join("records")]);
        }
        packed.push(object.name);
    }
    Ok(packed)
}
