//! The folder or file of a data set, and what lies in its folders: images, and whatever else people and programs leave there.

use std::fs::{self, DirEntry, Metadata};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use super::error::DecodeError;

/// Names that operating systems and archive programs leave in folders. Names that start with a dot count as well.
const JUNK: [&str; 6] = ["__MACOSX", "Thumbs.db", "desktop.ini", "Desktop.ini", "@eaDir", "lost+found"];

/// Folders whose contents are not part of the key, since no data are expected in them.
const NEVER_DATA: [&str; 2] = [".git", ".dnc"];

/// The folder or file of a data set.
pub struct DataFolder {
    path: PathBuf,
    /// Files and folders that the program itself writes.
    own: Vec<Own>,
}

/// A file or folder that the program itself writes.
#[derive(Clone)]
struct Own {
    /// Its path relative to the data, if its path says that it lies among them.
    relative: Option<PathBuf>,
    /// What it is on disk, if it exists.
    identity: Option<Identity>,
}

/// Device and inode number.
pub type Identity = (u64, u64);

/// Something in a folder.
pub struct FolderEntry {
    /// Its name; of a name that is not UTF-8, what resembles it.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
}

/// What something in a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file, or a link to one.
    File,
    /// A folder, or a link to one.
    Folder(Identity),
    /// Something that an operating system or archive program left.
    Junk,
    /// Something that cannot be read, with what it is: `is a link that leads nowhere`.
    Unreadable(&'static str),
}

impl DataFolder {
    /// The folder or file at `path`, to which the `own` files and folders of the program do not belong.
    pub fn new(path: &Path, own: &[PathBuf]) -> Self {
        let own = own.iter().map(|own| Own {
            relative: own.strip_prefix(path).ok().filter(|own| *own != Path::new("")).map(Path::to_owned),
            identity: fs::metadata(own).ok().map(|found| identity(&found)),
        });
        Self { path: path.to_owned(), own: own.collect() }
    }

    /// The folder called `name` in it.
    pub fn below(&self, name: &str) -> Self {
        let below = |own: &Own| Own {
            relative: own.relative.as_ref().and_then(|own| own.strip_prefix(name).ok().map(Path::to_owned)),
            ..own.clone()
        };
        Self { path: self.path.join(name), own: self.own.iter().map(below).collect() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something in it.
    pub fn join(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.path.join(relative)
    }

    /// What the folder at the path `relative` (`""` for the root) is on disk.
    pub fn identity(&self, relative: &str) -> Option<Identity> {
        fs::metadata(self.join(relative)).ok().map(|found| identity(&found))
    }

    /// What lies in the folder at the path `relative` (`""` for the root), sorted by name. What the program itself writes is left
    /// out.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn entries(&self, relative: &str) -> Result<Vec<FolderEntry>, DecodeError> {
        let folder = if relative.is_empty() { self.path.clone() } else { self.path.join(relative) };
        let read = |source| DecodeError::file("read the folder", &folder, source);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&folder).map_err(read)? {
            entries.extend(self.classified(&entry.map_err(read)?));
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn classified(&self, entry: &DirEntry) -> Option<FolderEntry> {
        let name = match entry.file_name().into_string() {
            Ok(name) => name,
            Err(name) => {
                let name = name.to_string_lossy().into_owned();
                return Some(FolderEntry { name, kind: EntryKind::Unreadable("has a name that is not UTF-8") });
            }
        };
        if is_junk(&name) {
            let is_own = fs::metadata(entry.path()).is_ok_and(|found| self.is_own(identity(&found)));
            return (!is_own && !NEVER_DATA.contains(&name.as_str()))
                .then_some(FolderEntry { name, kind: EntryKind::Junk });
        }
        let kind = entry.file_type().ok();
        let metadata = match kind {
            // What a plain file is called is enough, unless it may be one of the program's own.
            Some(kind) if kind.is_file() && !self.may_be_own(entry.ino()) => {
                return Some(FolderEntry { name, kind: EntryKind::File });
            }
            _ => fs::metadata(entry.path()),
        };
        let kind = match metadata {
            Ok(metadata) if self.is_own(identity(&metadata)) => return None,
            Ok(metadata) if metadata.is_dir() => EntryKind::Folder(identity(&metadata)),
            Ok(metadata) if metadata.is_file() => EntryKind::File,
            Ok(_) => EntryKind::Unreadable("is a pipe, socket or device"),
            Err(_) if kind.is_some_and(|kind| kind.is_symlink()) => {
                EntryKind::Unreadable("is a link that leads nowhere")
            }
            Err(_) => EntryKind::Unreadable("cannot be read"),
        };
        Some(FolderEntry { name, kind })
    }

    /// Whether an inode of this number may be one of the program's own.
    fn may_be_own(&self, inode: u64) -> bool {
        self.own.iter().any(|own| own.identity.is_some_and(|(_, own)| own == inode))
    }

    fn is_own(&self, found: Identity) -> bool {
        self.own.iter().any(|own| own.identity == Some(found))
    }

    /// The path relative to the root of an image that a list calls `written`, absolute or relative to the root; `None` if it is
    /// outside, or in a folder whose contents are not data and so not part of the key.
    pub fn relative(&self, written: &str) -> Option<String> {
        let below = |root: &Path| Path::new(written).strip_prefix(root).map(Path::to_owned).ok();
        let path = match Path::new(written).is_absolute() {
            true => below(&self.path).or_else(|| below(&self.path.canonicalize().ok()?))?,
            false => PathBuf::from(written),
        };
        let mut names: Vec<&str> = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name.to_str()?),
                Component::CurDir => {}
                Component::ParentDir => drop(names.pop()?),
                Component::RootDir | Component::Prefix(_) => return None,
            }
        }
        let relative = names.join("/");
        let is_own = |own: &Own| own.relative.as_ref().is_some_and(|own| Path::new(&relative).starts_with(own));
        let is_data = !names.iter().any(|name| NEVER_DATA.contains(name)) && !self.own.iter().any(is_own);
        is_data.then_some(relative)
    }
}

/// Whether files and folders of this name are left by operating systems and archive programs.
pub fn is_junk(name: &str) -> bool {
    name.starts_with('.') || JUNK.contains(&name)
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_lists_are_relative_to_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        fs::create_dir_all(root.join("runs")).unwrap();
        let data = DataFolder::new(&root, &[root.join("runs")]);
        let check = |written: &str, expected: Option<&str>| {
            assert_eq!(data.relative(written).as_deref(), expected, "{written}");
        };
        check("a/b.png", Some("a/b.png"));
        check("./a/../b.png", Some("b.png"));
        check(&root.join("a/b.png").display().to_string(), Some("a/b.png"));
        check("../b.png", None);
        check("a/../../b.png", None);
        check("/b.png", None);
        check("runs/x/1/b.png", None);
        check("a/.git/b.png", None);
        std::os::unix::fs::symlink(&root, folder.path().join("link")).unwrap();
        let linked = DataFolder::new(&folder.path().join("link"), &[]);
        let canonical = root.canonicalize().unwrap().join("c.png");
        assert_eq!(linked.relative(&canonical.display().to_string()).as_deref(), Some("c.png"));
    }
}
