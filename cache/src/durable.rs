//! Making bytes outlast a power cut.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;

use crate::error::{CacheError, Result};

/// Up to this many files are synced one by one, beyond it the file system as a whole. Measured on ext4: 4 ms a file, 4 ms
/// for the file system plus some 10 µs a file. A few single files leave alone what other programs have yet to write.
const FEW: usize = 5;

/// Returns when the bytes of these files, or the names in these folders, all of them below `root`, are on stable storage.
pub(crate) fn sync(root: &Path, paths: &[&Path]) -> Result<()> {
    if sync_many(root, paths.len())? {
        return Ok(());
    }
    for path in paths {
        File::open(path).and_then(|file| file.sync_all()).map_err(CacheError::io("make durable", path))?;
    }
    Ok(())
}

/// As [`sync`], with the names of these files and of all folders on the way to them.
pub(crate) fn sync_with_names(root: &Path, files: &[&Path]) -> Result<()> {
    if sync_many(root, files.len())? {
        return Ok(());
    }
    let folders = folders_of(root, files);
    sync(root, &files.iter().copied().chain(folders).collect::<Vec<_>>())
}

/// The folders between `root` and these files, each once: a file's name is durable only when they are.
pub(crate) fn folders_of<'a>(root: &Path, files: &[&'a Path]) -> BTreeSet<&'a Path> {
    files.iter().flat_map(|file| file.ancestors().skip(1).take_while(|folder| folder.starts_with(root))).collect()
}

/// Syncs the file system as a whole if there are `many` paths; whether it has.
fn sync_many(root: &Path, many: usize) -> Result<bool> {
    Ok(many > FEW && sync_file_system(root).map_err(CacheError::io("make durable", root))?)
}

/// `false` where the system has no such call.
#[cfg(target_os = "linux")]
fn sync_file_system(root: &Path) -> io::Result<bool> {
    match rustix::fs::syncfs(File::open(root)?) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(_root: &Path) -> io::Result<bool> {
    Ok(false)
}
