//! Walk: names and metadata of all files below an input folder. Files are not read.

use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::{CacheError, Result};

/// Folder entries per parallel piece of work, which takes about 50 µs.
const ENTRIES_PER_PIECE: usize = 32;

/// A file or empty folder below the root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SourceEntry {
    /// Path relative to the root, with `/` as the separator. It ends with `/` for an empty folder, and is empty if the root is
    /// itself a file.
    pub(super) path: String,
    /// `None` for an empty folder.
    pub(super) stat: Option<FileStat>,
}

/// File metadata that changes whenever the file is written to: programs cannot set the change time (ctime).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileStat {
    pub(super) size: u64,
    pub(super) inode: u64,
    /// When the bytes last changed (mtime), in nanoseconds since 1970.
    pub(super) modified: i64,
    /// When the bytes, name or permissions last changed (ctime), in nanoseconds since 1970.
    pub(super) changed: i64,
}

impl FileStat {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            size: metadata.len(),
            inode: metadata.ino(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// All files and empty folders at or below `root`, sorted by path. Symbolic links are followed.
pub(super) fn walk(root: &Path) -> Result<Vec<SourceEntry>> {
    let metadata = fs::metadata(root).map_err(CacheError::io("read", root))?;
    if metadata.is_dir() {
        let mut entries = walk_folder(root, "", &Ancestors { folder: identity(&metadata), parent: None })?;
        entries.par_sort_unstable();
        return Ok(entries);
    }
    match metadata.is_file() {
        true => Ok(vec![SourceEntry { path: String::new(), stat: Some(FileStat::of(&metadata)) }]),
        false => Err(CacheError::NotAFile { path: root.to_owned() }),
    }
}

/// A folder and all folders above it up to the root, to detect links back to one of them.
struct Ancestors<'a> {
    folder: (u64, u64),
    parent: Option<&'a Ancestors<'a>>,
}

impl Ancestors<'_> {
    fn contain(&self, folder: (u64, u64)) -> bool {
        self.folder == folder || self.parent.is_some_and(|parent| parent.contain(folder))
    }
}

enum ClassifiedEntry {
    File(SourceEntry),
    Folder { path: PathBuf, name: String, identity: (u64, u64) },
}

fn walk_folder(folder: &Path, prefix: &str, ancestors: &Ancestors<'_>) -> Result<Vec<SourceEntry>> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(CacheError::io("list", folder))?;
    if entries.is_empty() && !prefix.is_empty() {
        return Ok(vec![SourceEntry { path: prefix.to_owned(), stat: None }]);
    }
    let classified = entries
        .par_iter()
        .with_min_len(ENTRIES_PER_PIECE)
        .map(|entry| classify(entry, prefix))
        .collect::<Result<Vec<_>>>()?;
    let mut sources = Vec::with_capacity(classified.len());
    let mut folders = Vec::new();
    for entry in classified {
        match entry {
            ClassifiedEntry::File(source) => sources.push(source),
            ClassifiedEntry::Folder { path, identity, .. } if ancestors.contain(identity) => {
                return Err(CacheError::LinkLoop { path });
            }
            ClassifiedEntry::Folder { path, name, identity } => {
                folders.push((path, name, Ancestors { folder: identity, parent: Some(ancestors) }))
            }
        }
    }
    let deeper = folders.par_iter().map(|(path, name, ancestors)| walk_folder(path, &format!("{name}/"), ancestors));
    sources.extend(deeper.collect::<Result<Vec<_>>>()?.into_iter().flatten());
    Ok(sources)
}

fn classify(entry: &DirEntry, prefix: &str) -> Result<ClassifiedEntry> {
    let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else {
        return Err(CacheError::NotUtf8 { path: entry.path() });
    };
    // An entry's own metadata is cheaper than that of its path, but for a link it is not that of the target.
    let metadata = match entry.metadata() {
        Ok(metadata) if !metadata.is_symlink() => metadata,
        _ => fs::metadata(entry.path()).map_err(CacheError::io("read", entry.path()))?,
    };
    if metadata.is_dir() {
        return Ok(ClassifiedEntry::Folder { path: entry.path(), name, identity: identity(&metadata) });
    }
    if metadata.is_file() {
        return Ok(ClassifiedEntry::File(SourceEntry { path: name, stat: Some(FileStat::of(&metadata)) }));
    }
    Err(CacheError::NotAFile { path: entry.path() })
}

/// The device and inode number of a file or folder.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
