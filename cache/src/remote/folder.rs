//! Folder remote: a folder on any file system, such as a network share or an external disk.
//!
//! An object is written to a temporary file in `tmp/`, made durable, and then renamed to its final name, or hard-linked to it
//! if it must not replace an existing object. Objects are read-only files.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once};
use std::time::Duration;

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use tempfile::NamedTempFile;

use super::api::{ConditionalPut, ObjectListing, Remote, RemoteObject};
use crate::error::{CacheError, Result, found};
use crate::object::ObjectName;
use crate::{clock, durable, parallel, poison};

/// Enough to hide the latency of a network share and of fsync, and few enough for a single hard disk.
const CONCURRENT_REQUESTS: usize = 16;

/// The folder of unfinished objects, which is not part of listings.
const TEMPORARY: &str = "tmp";

/// Age at which an unfinished object was left by a process that was killed. Every write makes it young again.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// A remote in a folder.
#[derive(Debug)]
pub struct FolderRemote {
    root: PathBuf,
    url: String,
    /// Folders whose own names this process has made durable.
    durable_folders: Mutex<HashSet<PathBuf>>,
    /// Whether this process has removed abandoned objects.
    tidied: Once,
}

impl FolderRemote {
    /// The remote in the folder `root`. The folder is created when the first object is stored, but its parent folder must
    /// exist: otherwise a disk that is not mounted would go unnoticed.
    ///
    /// # Errors
    /// `root` exists but is not a folder.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let url = root.display().to_string();
        if url.is_empty() {
            return Err(CacheError::InvalidRemote { url, problem: "its path is empty" });
        }
        if root.exists() && !root.is_dir() {
            return Err(CacheError::InvalidRemote { url, problem: "it is not a folder" });
        }
        let root = std::path::absolute(&root).map_err(CacheError::io("find", &root))?;
        Ok(Self { url: root.display().to_string(), root, durable_folders: Mutex::default(), tidied: Once::new() })
    }

    fn path(&self, name: &ObjectName) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// Writes a temporary file and makes its bytes durable.
    fn write_temporary(&self, mut from: impl Read) -> Result<NamedTempFile> {
        let folder = self.root.join(TEMPORARY);
        let create = || tempfile::Builder::new().permissions(Permissions::from_mode(0o444)).tempfile_in(&folder);
        let mut file = match create() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                for folder in [&self.root, &folder] {
                    create_folder(folder).map_err(CacheError::io("create", folder))?;
                }
                create()
            }
            other => other,
        }
        .map_err(CacheError::io("create a file in", &folder))?;
        self.tidied.call_once(|| remove_abandoned(&folder, file.as_file()));
        let written = io::copy(&mut from, &mut file).and_then(|_| file.as_file().sync_all());
        written.map_err(CacheError::io("write", file.path()))?;
        Ok(file)
    }

    fn put_bytes(&self, name: &ObjectName, from: impl Read) -> Result<()> {
        let file = self.write_temporary(from)?;
        let path = self.path(name);
        creating_parent(&path, || fs::rename(file.path(), &path)).map_err(CacheError::io("write", &path))?;
        // The temporary name is gone, so there is nothing for `file` to remove.
        self.make_name_durable(&path)
    }

    /// Makes the name of a new object durable: its folder, and when this process uses that folder for the first time also all
    /// folders above it.
    fn make_name_durable(&self, object: &Path) -> Result<()> {
        let folder = object.parent().unwrap_or(&self.root);
        let is_new = poison::lock(&self.durable_folders).insert(folder.to_owned());
        if is_new {
            durable::sync(&self.root, &Vec::from_iter(durable::folders_of(&self.root, &[object])))
        } else {
            durable::sync(&self.root, &[folder])
        }
    }
}

impl Remote for FolderRemote {
    fn url(&self) -> &str {
        &self.url
    }

    fn concurrent_requests(&self) -> usize {
        CONCURRENT_REQUESTS
    }

    fn listed_per_request(&self) -> usize {
        1
    }

    fn sizes(&self, names: &[ObjectName]) -> Result<Vec<Option<u64>>> {
        parallel::map(names, CONCURRENT_REQUESTS, |name| {
            let path = self.path(name);
            let metadata = found(fs::metadata(&path)).map_err(CacheError::io("read", path))?;
            Ok(metadata.filter(|metadata| metadata.is_file()).map(|metadata| metadata.len()))
        })
    }

    fn get(&self, name: &ObjectName) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        let Some(mut file) = open_object(&path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(CacheError::io("read", &path))?;
        Ok(Some(bytes))
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        let Some(mut file) = open_object(&path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = || {
            file.seek(SeekFrom::Start(range.start))?;
            file.take(range.end - range.start).read_to_end(&mut bytes)
        };
        read().map_err(CacheError::io("read", &path))?;
        Ok(Some(bytes))
    }

    fn get_to_file(&self, name: &ObjectName, to: &Path) -> Result<bool> {
        let path = self.path(name);
        let Some(mut from) = open_object(&path)? else { return Ok(false) };
        let mut file = File::create_new(to).map_err(CacheError::io("create", to))?;
        let copied = io::copy(&mut from, &mut file).inspect_err(|_| drop(fs::remove_file(to)));
        copied.map_err(CacheError::io("write", to))?;
        Ok(true)
    }

    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.put_bytes(name, bytes)
    }

    fn put_from_file(&self, name: &ObjectName, file: &Path) -> Result<()> {
        self.put_bytes(name, File::open(file).map_err(CacheError::io("open", file))?)
    }

    fn put_if_absent(&self, name: &ObjectName, bytes: &[u8]) -> Result<ConditionalPut> {
        let path = self.path(name);
        loop {
            if let Some(existing) = self.get(name)? {
                return Ok(ConditionalPut::Existed(existing));
            }
            let file = self.write_temporary(bytes)?;
            match creating_parent(&path, || move_without_replacing(file.path(), &path)) {
                Ok(()) => {
                    self.make_name_durable(&path)?;
                    return Ok(ConditionalPut::Created);
                }
                // Another process has just created the object, so it is read in the next round.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(CacheError::io("write", &path)(error)),
            }
        }
    }

    fn remove(&self, names: &[ObjectName]) -> Result<()> {
        let removed = parallel::map(names, CONCURRENT_REQUESTS, |name| {
            let path = self.path(name);
            found(fs::remove_file(&path)).map_err(CacheError::io("remove", path))
        });
        removed.map(drop)
    }

    fn list(&self, folder: &str) -> ObjectListing<'_> {
        Box::new(FolderListing { root: &self.root, folders: vec![folder.to_owned()], objects: Vec::new() })
    }
}

/// Lists the objects below the remaining `folders`, one folder at a time.
struct FolderListing<'a> {
    root: &'a Path,
    /// Folders that are still to be read, relative to the root.
    folders: Vec<String>,
    /// Objects of the folders that were read.
    objects: Vec<RemoteObject>,
}

impl Iterator for FolderListing<'_> {
    type Item = Result<RemoteObject>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.objects.is_empty() {
            let folder = self.folders.pop()?;
            if let Err(error) = self.read_folder(&folder) {
                (self.folders, self.objects) = (Vec::new(), Vec::new());
                return Some(Err(error));
            }
        }
        self.objects.pop().map(Ok)
    }
}

impl FolderListing<'_> {
    fn read_folder(&mut self, folder: &str) -> Result<()> {
        let path = self.root.join(folder);
        let Some(entries) = found(fs::read_dir(&path)).map_err(CacheError::io("list", &path))? else { return Ok(()) };
        for entry in entries {
            let entry = entry.map_err(CacheError::io("list", &path))?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let kind = entry.file_type().map_err(CacheError::io("list", entry.path()))?;
            if kind.is_dir() {
                self.folders.extend((name != TEMPORARY).then_some(name));
            } else if (kind.is_file() || kind.is_symlink())
                // For a link to an object, that of the object.
                && let Some(metadata) = found(fs::metadata(entry.path())).map_err(CacheError::io("list", entry.path()))?
                && metadata.is_file()
            {
                let modified = metadata.modified().map_err(CacheError::io("list", entry.path()))?;
                let size = metadata.len();
                self.objects.extend(ObjectName::new(name).ok().map(|name| RemoteObject { name, size, modified }));
            }
        }
        Ok(())
    }
}

/// Opens an object for reading, or returns `None` if there is none.
fn open_object(path: &Path) -> Result<Option<File>> {
    // Without this flag, opening a pipe waits for somebody who writes to it.
    let opened = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let Some(file) = found(opened).map_err(CacheError::io("read", path))? else { return Ok(None) };
    let metadata = file.metadata().map_err(CacheError::io("read", path))?;
    if metadata.is_file() { Ok(Some(file)) } else { Err(CacheError::NotAnObject { path: path.to_owned() }) }
}

/// Removes what killed processes left in the folder of unfinished objects. Its file system may have a clock of its own, which has
/// just dated `new`. What cannot be removed stays.
fn remove_abandoned(folder: &Path, new: &File) {
    let Ok(now) = new.metadata().and_then(|metadata| metadata.modified()) else { return };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|modified| modified < clock::earlier(now, ABANDONED)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Moves a temporary file to `to`, atomically and without replacing an existing file.
fn move_without_replacing(file: &Path, to: &Path) -> io::Result<()> {
    use io::ErrorKind::{PermissionDenied, Unsupported};
    match fs::hard_link(file, to) {
        // Some file systems, such as FAT, have no hard links, but Linux can rename there without replacing.
        Err(error) if matches!(error.kind(), PermissionDenied | Unsupported) => {
            Ok(renameat_with(CWD, file, CWD, to, RenameFlags::NOREPLACE)?)
        }
        other => other,
    }
}

/// Calls `operation`, and if it fails because the parent folder of `path` does not exist, creates the folder and retries.
fn creating_parent(path: &Path, operation: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match operation() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().expect("an object is below the remote's folder"))?;
            operation()
        }
        other => other,
    }
}

fn create_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}
