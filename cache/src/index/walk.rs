//! Walk: names and metadata of all files below an input folder. Files are not read.

use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::rules::SourceRules;
use crate::error::{CacheError, Result};

/// Folder entries per parallel piece of work, which takes about 50 µs.
const ENTRIES_PER_PIECE: usize = 32;

/// A file or empty folder below the root, or whatever else counts with its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SourceEntry {
    /// Path relative to the root, with `/` as the separator. It ends with `/` for an empty folder, and is empty if the root is
    /// itself a file.
    pub(super) path: String,
    /// `None` for what has no contents, or none that count.
    pub(super) stat: Option<FileStat>,
    /// What an entry without contents is. Empty for an empty folder.
    pub(super) kind: &'static str,
}

impl SourceEntry {
    fn file(path: String, stat: FileStat) -> Self {
        Self { path, stat: Some(stat), kind: "" }
    }

    fn without_contents(path: String, kind: &'static str) -> Self {
        Self { path, stat: None, kind }
    }
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
pub(super) fn walk(root: &Path, rules: &SourceRules) -> Result<Vec<SourceEntry>> {
    let metadata = fs::metadata(root).map_err(CacheError::io("read", root))?;
    if metadata.is_dir() {
        let excluded = rules.excluded.iter().filter_map(|path| Some(identity(&fs::metadata(path).ok()?)));
        let walk = Walk { rules, excluded: excluded.collect() };
        let mut entries = walk.folder(root, "", &Ancestors { folder: identity(&metadata), parent: None })?;
        entries.par_sort_unstable();
        return Ok(entries);
    }
    match metadata.is_file() {
        true => Ok(vec![SourceEntry::file(String::new(), FileStat::of(&metadata))]),
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
    Entry(SourceEntry),
    Folder { path: PathBuf, name: String, identity: (u64, u64) },
    Absent,
}

struct Walk<'r> {
    rules: &'r SourceRules,
    /// Identities of the excluded files and folders that exist.
    excluded: Vec<(u64, u64)>,
}

impl Walk<'_> {
    fn folder(&self, folder: &Path, prefix: &str, ancestors: &Ancestors<'_>) -> Result<Vec<SourceEntry>> {
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = entries.map_err(CacheError::io("list", folder))?;
        let classified = entries
            .par_iter()
            .with_min_len(ENTRIES_PER_PIECE)
            .map(|entry| self.classify(entry, prefix))
            .collect::<Result<Vec<_>>>()?;
        let mut sources = Vec::with_capacity(classified.len());
        let mut folders = Vec::new();
        for entry in classified {
            match entry {
                ClassifiedEntry::Absent => {}
                ClassifiedEntry::Entry(source) => sources.push(source),
                ClassifiedEntry::Folder { name, identity, .. } if self.rules.is_data && ancestors.contain(identity) => {
                    sources.push(SourceEntry::without_contents(name, "link to a folder that contains it"));
                }
                ClassifiedEntry::Folder { path, identity, .. } if ancestors.contain(identity) => {
                    return Err(CacheError::LinkLoop { path });
                }
                ClassifiedEntry::Folder { path, name, identity } => {
                    folders.push((path, name, Ancestors { folder: identity, parent: Some(ancestors) }))
                }
            }
        }
        if sources.is_empty() && folders.is_empty() && !prefix.is_empty() {
            return Ok(vec![SourceEntry::without_contents(prefix.to_owned(), "")]);
        }
        let deeper =
            folders.par_iter().map(|(path, name, ancestors)| self.folder(path, &format!("{name}/"), ancestors));
        sources.extend(deeper.collect::<Result<Vec<_>>>()?.into_iter().flatten());
        Ok(sources)
    }

    fn classify(&self, entry: &DirEntry, prefix: &str) -> Result<ClassifiedEntry> {
        let without_contents = |name: &str, kind| {
            Ok(ClassifiedEntry::Entry(SourceEntry::without_contents(format!("{prefix}{name}"), kind)))
        };
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str() else {
            return match self.rules.is_data {
                // Its bytes are never read as data, so that a name that only resembles its own is enough.
                true => without_contents(&file_name.to_string_lossy(), "name that is not UTF-8"),
                false => Err(CacheError::NotUtf8 { path: entry.path() }),
            };
        };
        // An entry's own metadata is cheaper than that of its path, but for a link it is not that of the target.
        let metadata = match entry.metadata() {
            Ok(metadata) if !metadata.is_symlink() => metadata,
            _ => match fs::metadata(entry.path()) {
                Ok(metadata) => metadata,
                Err(_) if self.rules.is_data => return without_contents(name, "link that leads nowhere"),
                Err(error) => return Err(CacheError::io("read", entry.path())(error)),
            },
        };
        if !self.excluded.is_empty() && self.excluded.contains(&identity(&metadata)) {
            return Ok(ClassifiedEntry::Absent);
        }
        if metadata.is_dir() {
            if self.rules.is_never_data(name) {
                return Ok(ClassifiedEntry::Absent);
            }
            let (path, name) = (entry.path(), format!("{prefix}{name}"));
            return Ok(ClassifiedEntry::Folder { path, name, identity: identity(&metadata) });
        }
        if metadata.is_file() {
            return match self.rules.has_contents(name) {
                true => {
                    let path = format!("{prefix}{name}");
                    Ok(ClassifiedEntry::Entry(SourceEntry::file(path, FileStat::of(&metadata))))
                }
                false => without_contents(name, "file whose contents do not count"),
            };
        }
        match self.rules.is_data {
            true => without_contents(name, "pipe, socket or device"),
            false => Err(CacheError::NotAFile { path: entry.path() }),
        }
    }
}

/// The device and inode number of a file or folder.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
