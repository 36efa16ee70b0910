//! What lies below an input folder: names and `stat`s, no bytes.

use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::{CacheError, Result};

/// Entries per piece of work when a folder is read in parallel: some 50 µs.
const ENTRIES_AT_ONCE: usize = 32;

/// A file below the root, or a folder without entries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    /// Relative to the root, parted by `/`; of an empty folder with a `/` at the end; of a root that is a file, empty.
    pub(crate) path: String,
    /// `None` for an empty folder.
    pub(crate) stat: Option<Stat>,
}

/// What tells that a file has changed. No program can set the time of change, so a file that was written to never keeps its
/// stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stat {
    pub(crate) size: u64,
    pub(crate) inode: u64,
    /// Of the bytes, in nanoseconds since 1970.
    pub(crate) modified: i64,
    /// Of the bytes, the name or the permissions, in nanoseconds since 1970.
    pub(crate) changed: i64,
}

impl Stat {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            size: metadata.len(),
            inode: metadata.ino(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// All sources at or below `root`, sorted by path. Symbolic links are followed.
pub(crate) fn walk(root: &Path) -> Result<Vec<Source>> {
    let metadata = fs::metadata(root).map_err(CacheError::io("read", root))?;
    if metadata.is_dir() {
        let mut sources = below(root, "", &Parents { folder: identity(&metadata), above: None })?;
        sources.par_sort_unstable();
        return Ok(sources);
    }
    Ok(vec![file(root, String::new(), &metadata)?])
}

/// The folders that lead to the one that is being read.
struct Parents<'a> {
    folder: (u64, u64),
    above: Option<&'a Parents<'a>>,
}

impl Parents<'_> {
    fn include(&self, folder: (u64, u64)) -> bool {
        self.folder == folder || self.above.is_some_and(|above| above.include(folder))
    }
}

enum Found {
    File(Source),
    Folder { path: PathBuf, name: String, identity: (u64, u64) },
}

fn below(folder: &Path, prefix: &str, parents: &Parents<'_>) -> Result<Vec<Source>> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(CacheError::io("list", folder))?;
    if entries.is_empty() && !prefix.is_empty() {
        return Ok(vec![Source { path: prefix.to_owned(), stat: None }]);
    }
    let found = entries
        .par_iter()
        .with_min_len(ENTRIES_AT_ONCE)
        .map(|entry| look(entry, prefix))
        .collect::<Result<Vec<_>>>()?;
    let mut sources = Vec::with_capacity(found.len());
    let mut folders = Vec::new();
    for found in found {
        match found {
            Found::File(source) => sources.push(source),
            Found::Folder { path, identity, .. } if parents.include(identity) => {
                return Err(CacheError::LinkLoop { path });
            }
            Found::Folder { path, name, identity } => {
                folders.push((path, name, Parents { folder: identity, above: Some(parents) }))
            }
        }
    }
    let deeper = folders.par_iter().map(|(path, name, parents)| below(path, &format!("{name}/"), parents));
    sources.extend(deeper.collect::<Result<Vec<_>>>()?.into_iter().flatten());
    Ok(sources)
}

fn look(entry: &DirEntry, prefix: &str) -> Result<Found> {
    let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else {
        return Err(CacheError::NotUtf8 { path: entry.path() });
    };
    // An entry's own metadata is cheaper to get than that of its path, but is not that of a link's target.
    let metadata = match entry.metadata() {
        Ok(metadata) if !metadata.is_symlink() => metadata,
        _ => fs::metadata(entry.path()).map_err(CacheError::io("read", entry.path()))?,
    };
    if metadata.is_dir() {
        return Ok(Found::Folder { path: entry.path(), name, identity: identity(&metadata) });
    }
    if metadata.is_file() {
        return Ok(Found::File(Source { path: name, stat: Some(Stat::of(&metadata)) }));
    }
    Err(CacheError::NotAFile { path: entry.path() })
}

fn file(path: &Path, name: String, metadata: &Metadata) -> Result<Source> {
    match metadata.is_file() {
        true => Ok(Source { path: name, stat: Some(Stat::of(metadata)) }),
        false => Err(CacheError::NotAFile { path: path.to_owned() }),
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
