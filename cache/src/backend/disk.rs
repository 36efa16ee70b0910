//! Objects as files below one folder.
//!
//! An object is written under a private name in `tmp/`, made durable, and then renamed into place: readers see all of it or
//! nothing. Objects are read-only files, since they never change.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use super::{Backend, Object, ObjectName};
use crate::durable;
use crate::error::{CacheError, Result, found};
use crate::session::Session;

/// The permissions of every object.
const READ_ONLY: u32 = 0o444;
/// The permissions of a file to which is added.
const OPEN_ENDED: u32 = 0o644;

/// A backend on a local or network file system.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    session: Session,
}

impl Disk {
    /// Opens the folder, which is made if it is not there.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let root = std::path::absolute(&root).map_err(CacheError::io("find", &root))?;
        let session = Session::begin(&root.join("tmp"))?;
        Ok(Self { root, session })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the object lies, or would.
    pub fn path(&self, name: &ObjectName) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// What this process writes before it is done.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// As [`Backend::put`], of a file to which more may be added later.
    pub(crate) fn put_open_ended(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        let file = self.write_temporary("put", bytes)?;
        fs::set_permissions(&file, Permissions::from_mode(OPEN_ENDED)).map_err(CacheError::io("write", &file))?;
        self.move_durably(&file, name)
    }

    /// Writes a private, read-only file whose bytes are not yet durable.
    pub(crate) fn write_temporary(&self, stem: &str, mut from: impl Read) -> Result<TempPath> {
        let path = self.session.path(stem);
        let created = File::options().write(true).create_new(true).mode(READ_ONLY).open(&path);
        let written =
            created.and_then(|mut file| io::copy(&mut from, &mut file)).and_then(|_| TempPath::try_from_path(&path));
        // Nothing half-written stays.
        written.inspect_err(|_| drop(fs::remove_file(&path))).map_err(CacheError::io("write", path))
    }

    /// Makes a file on the same file system the object `name` by renaming it; not yet durable. Returns where it now lies.
    pub(crate) fn adopt(&self, name: &ObjectName, file: &Path) -> Result<PathBuf> {
        let to = self.path(name);
        rename_making_folder(file, &to).map_err(CacheError::io("move into the store", &to))?;
        Ok(to)
    }

    fn put_from(&self, name: &ObjectName, from: impl Read) -> Result<()> {
        let file = self.write_temporary("put", from)?;
        self.move_durably(&file, name)
    }

    fn move_durably(&self, file: &Path, name: &ObjectName) -> Result<()> {
        durable::sync(&self.root, &[file])?;
        let path = self.adopt(name, file)?;
        durable::sync(&self.root, &Vec::from_iter(durable::folders_of(&self.root, &[&path])))
    }
}

impl Backend for Disk {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.put_from(name, bytes)
    }

    fn put_file(&self, name: &ObjectName, file: &Path) -> Result<()> {
        self.put_from(name, File::open(file).map_err(CacheError::io("open", file))?)
    }

    fn get(&self, name: &ObjectName) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        found(fs::read(&path)).map_err(CacheError::io("read", path))
    }

    fn get_file(&self, name: &ObjectName, to: &Path) -> Result<bool> {
        let path = self.path(name);
        let Some(mut from) = found(File::open(&path)).map_err(CacheError::io("read", &path))? else { return Ok(false) };
        let mut file = File::create_new(to).map_err(CacheError::io("create", to))?;
        io::copy(&mut from, &mut file).map_err(CacheError::io("write", to))?;
        Ok(true)
    }

    fn size(&self, name: &ObjectName) -> Result<Option<u64>> {
        let path = self.path(name);
        Ok(found(fs::metadata(&path)).map_err(CacheError::io("read", path))?.map(|metadata| metadata.len()))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        // Only the folders that the prefix names are walked; what is left of it filters the names.
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut objects = Vec::new();
        walk(&self.root, folder, &mut objects)?;
        objects.retain(|object| object.name.as_str().starts_with(prefix));
        objects.sort_unstable();
        Ok(objects)
    }

    fn remove(&self, name: &ObjectName) -> Result<bool> {
        let path = self.path(name);
        Ok(found(fs::remove_file(&path)).map_err(CacheError::io("remove", path))?.is_some())
    }

    fn quarantine(&self, name: &ObjectName) -> Result<bool> {
        let (from, to) = (self.path(name), self.path(&name.quarantined()));
        if !from.exists() {
            return Ok(false);
        }
        let moved = found(rename_making_folder(&from, &to)).map_err(CacheError::io("set aside", from))?;
        Ok(moved.is_some())
    }
}

/// Takes away the right to write: an object is never changed in place.
pub(crate) fn make_read_only(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(READ_ONLY))
}

fn rename_making_folder(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(to.parent().expect("an object lies in the store's folder"))?;
            fs::rename(from, to)
        }
        other => other,
    }
}

/// The files below `root/folder`, in no order. A folder that is not there has none, and a file that disappears meanwhile is
/// not told.
fn walk(root: &Path, folder: &str, objects: &mut Vec<Object>) -> Result<()> {
    let path = root.join(folder);
    let Some(entries) = found(fs::read_dir(&path)).map_err(CacheError::io("list", &path))? else { return Ok(()) };
    for entry in entries {
        let entry = entry.map_err(CacheError::io("list", &path))?;
        let Some(name) = entry.file_name().to_str().map(|name| [folder, name].join("/")) else { continue };
        let name = name.trim_start_matches('/');
        if entry.file_type().map_err(CacheError::io("list", entry.path()))?.is_dir() {
            walk(root, name, objects)?;
        } else if let Some(metadata) = found(entry.metadata()).map_err(CacheError::io("list", entry.path()))? {
            objects.extend(ObjectName::new(name).ok().map(|name| Object { name, size: metadata.len() }));
        }
    }
    Ok(())
}
