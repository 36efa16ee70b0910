//! Disk: the objects of a store as files below one folder.
//!
//! An object is written under a private name in `tmp/`, made durable, and then renamed to its final name, so readers see the
//! whole object or none. Objects never change and are read-only files.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use crate::durable;
use crate::error::{CacheError, Result, found};
use crate::object::{Object, ObjectName};
use crate::session::Session;

/// Permissions of objects.
const READ_ONLY: u32 = 0o444;
/// Permissions of a file that is appended to.
const APPENDABLE: u32 = 0o644;

/// The folder of a store, and this process's session in it.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    session: Session,
}

impl Disk {
    /// Opens the folder and creates it if it does not exist.
    pub(crate) fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let root = std::path::absolute(&root).map_err(CacheError::io("find", &root))?;
        let session = Session::begin(&root.join("tmp"))?;
        Ok(Self { root, session })
    }

    /// The folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The path of an object, whether or not it exists.
    pub(crate) fn path(&self, name: &ObjectName) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// This process's temporary files, folders and claims.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Writes an object durably; replaces an existing one.
    pub(crate) fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        let file = self.write_temporary("put", bytes)?;
        self.move_durably(&file, name)
    }

    /// Like [`Disk::put`], for a file that may be appended to later.
    pub(crate) fn put_appendable(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        let file = self.write_temporary("put", bytes)?;
        fs::set_permissions(&file, Permissions::from_mode(APPENDABLE)).map_err(CacheError::io("write", &file))?;
        self.move_durably(&file, name)
    }

    /// The bytes of an object, or `None` if it does not exist.
    pub(crate) fn get(&self, name: &ObjectName) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        found(fs::read(&path)).map_err(CacheError::io("read", path))
    }

    /// The size of an object in bytes, or `None` if it does not exist.
    pub(crate) fn size(&self, name: &ObjectName) -> Result<Option<u64>> {
        let path = self.path(name);
        Ok(found(fs::metadata(&path)).map_err(CacheError::io("read", path))?.map(|metadata| metadata.len()))
    }

    /// All objects below a folder such as `blobs`, sorted by name.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<Object>> {
        let mut objects = Vec::new();
        list_below(&self.root, folder, &mut objects)?;
        objects.sort_unstable();
        Ok(objects)
    }

    /// Removes an object. Returns `false` if it did not exist.
    pub(crate) fn remove(&self, name: &ObjectName) -> Result<bool> {
        let path = self.path(name);
        Ok(found(fs::remove_file(&path)).map_err(CacheError::io("remove", path))?.is_some())
    }

    /// Moves a damaged object to `quarantine/<name>`, where nothing reads it. Returns `false` if it did not exist.
    pub(crate) fn quarantine(&self, name: &ObjectName) -> Result<bool> {
        let (from, to) = (self.path(name), self.path(&name.quarantined()));
        if !from.exists() {
            return Ok(false);
        }
        let moved = found(rename_creating_folder(&from, &to)).map_err(CacheError::io("quarantine", from))?;
        Ok(moved.is_some())
    }

    /// Writes a private, read-only file. Its bytes are not yet durable.
    pub(crate) fn write_temporary(&self, stem: &str, mut from: impl Read) -> Result<TempPath> {
        let path = self.session.path(stem);
        let created = File::options().write(true).create_new(true).mode(READ_ONLY).open(&path);
        let written =
            created.and_then(|mut file| io::copy(&mut from, &mut file)).and_then(|_| TempPath::try_from_path(&path));
        written.inspect_err(|_| drop(fs::remove_file(&path))).map_err(CacheError::io("write", path))
    }

    /// Renames a file on the same file system to the object `name` and returns its new path. The rename is not yet durable.
    pub(crate) fn move_in(&self, name: &ObjectName, file: &Path) -> Result<PathBuf> {
        let to = self.path(name);
        rename_creating_folder(file, &to).map_err(CacheError::io("move into the store", &to))?;
        Ok(to)
    }

    fn move_durably(&self, file: &Path, name: &ObjectName) -> Result<()> {
        durable::sync(&self.root, &[file])?;
        let path = self.move_in(name, file)?;
        durable::sync(&self.root, &Vec::from_iter(durable::folders_of(&self.root, &[&path])))
    }
}

/// Removes the write permission: objects are never changed in place.
pub(crate) fn make_read_only(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(READ_ONLY))
}

fn rename_creating_folder(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(to.parent().expect("an object is below the store's folder"))?;
            fs::rename(from, to)
        }
        other => other,
    }
}

/// Adds the files below `root/folder` in no particular order. A folder that does not exist contains none, and files that
/// disappear during the listing are left out.
fn list_below(root: &Path, folder: &str, objects: &mut Vec<Object>) -> Result<()> {
    let path = root.join(folder);
    let Some(entries) = found(fs::read_dir(&path)).map_err(CacheError::io("list", &path))? else { return Ok(()) };
    for entry in entries {
        let entry = entry.map_err(CacheError::io("list", &path))?;
        let Some(name) = entry.file_name().to_str().map(|name| format!("{folder}/{name}")) else { continue };
        if entry.file_type().map_err(CacheError::io("list", entry.path()))?.is_dir() {
            list_below(root, &name, objects)?;
        } else if let Some(metadata) = found(entry.metadata()).map_err(CacheError::io("list", entry.path()))? {
            objects.extend(ObjectName::new(name).ok().map(|name| Object { name, size: metadata.len() }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::digest::{Digest, Key};

    fn new_disk() -> (TempDir, Disk) {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path().join("disk")).unwrap();
        (folder, disk)
    }

    fn name(text: &str) -> ObjectName {
        ObjectName::new(text).unwrap()
    }

    #[test]
    fn a_missing_object_is_not_an_error() {
        let (_folder, disk) = new_disk();
        let missing = name("blobs/ab/missing");
        assert_eq!(disk.get(&missing).unwrap(), None);
        assert_eq!(disk.size(&missing).unwrap(), None);
        assert!(!disk.remove(&missing).unwrap());
        assert!(!disk.quarantine(&missing).unwrap());
        assert_eq!(disk.list("blobs").unwrap(), []);
    }

    #[test]
    fn put_and_get_round_trip() {
        let (_folder, disk) = new_disk();
        for bytes in [b"".as_slice(), b"bytes", &[0; 100_000]] {
            let blob = ObjectName::blob(&Digest::of(bytes));
            disk.put(&blob, bytes).unwrap();
            assert_eq!(disk.get(&blob).unwrap().as_deref(), Some(bytes));
            assert_eq!(disk.size(&blob).unwrap(), Some(bytes.len() as u64));
        }
    }

    #[test]
    fn a_listing_is_sorted_and_complete() {
        let (_folder, disk) = new_disk();
        for text in ["records/aa/2", "blobs/b", "records/aa/1", "records/ab", "format"] {
            disk.put(&name(text), text.as_bytes()).unwrap();
        }
        let listed = |folder: &str| {
            let objects = disk.list(folder).unwrap();
            assert!(objects.iter().all(|object| object.size == object.name.as_str().len() as u64));
            objects.into_iter().map(|object| object.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(listed("records"), ["records/aa/1", "records/aa/2", "records/ab"]);
        assert_eq!(listed("records/aa"), ["records/aa/1", "records/aa/2"]);
        assert_eq!(listed("scratch"), [""; 0]);
    }

    #[test]
    fn quarantine_keeps_the_bytes_under_another_name() {
        let (_folder, disk) = new_disk();
        let record = ObjectName::record(&Key::of("task"));
        disk.put(&record, b"rotten").unwrap();
        assert!(disk.quarantine(&record).unwrap());
        assert_eq!(disk.get(&record).unwrap(), None);
        assert_eq!(disk.list("records").unwrap(), []);
        let quarantined = name(&format!("quarantine/{record}"));
        assert_eq!(disk.list("quarantine").unwrap(), [Object { name: quarantined.clone(), size: 6 }]);
        assert_eq!(disk.get(&quarantined).unwrap().as_deref(), Some(b"rotten".as_slice()));
        // An object of the same name may be damaged again.
        disk.put(&record, b"again").unwrap();
        assert!(disk.quarantine(&record).unwrap());
        assert_eq!(disk.get(&quarantined).unwrap().as_deref(), Some(b"again".as_slice()));
    }

    #[test]
    fn readers_never_see_part_of_an_object() {
        let (_folder, disk) = new_disk();
        let name = name("blobs/ab/x");
        let put = |byte| disk.put(&name, &vec![byte; 50_000]).unwrap();
        put(0);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (1..10).for_each(put));
            while !writer.is_finished() {
                let bytes = disk.get(&name).unwrap().unwrap();
                assert_eq!(bytes.len(), 50_000);
                assert!(bytes.iter().all(|byte| *byte == bytes[0]));
            }
        });
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Put(u8, u8),
        Remove(u8),
        Quarantine(u8),
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let operation = prop_oneof![
            (0..4u8, any::<u8>()).prop_map(|(name, byte)| Operation::Put(name, byte)),
            (0..4u8).prop_map(Operation::Remove),
            (0..4u8).prop_map(Operation::Quarantine),
        ];
        proptest::collection::vec(operation, 1..10)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn any_sequence_of_operations_matches_a_map(operations in operations()) {
            let (_folder, disk) = new_disk();
            let mut map = BTreeMap::new();
            let object = |number: u8| name(&format!("blobs/a{}/{number}", number % 2));
            for operation in &operations {
                match *operation {
                    Operation::Put(number, byte) => {
                        disk.put(&object(number), &[byte]).unwrap();
                        map.insert(object(number), byte);
                    }
                    Operation::Remove(number) => {
                        prop_assert_eq!(disk.remove(&object(number)).unwrap(), map.remove(&object(number)).is_some());
                    }
                    Operation::Quarantine(number) => {
                        let byte = map.remove(&object(number));
                        prop_assert_eq!(disk.quarantine(&object(number)).unwrap(), byte.is_some());
                        map.extend(byte.map(|byte| (object(number).quarantined(), byte)));
                    }
                }
            }
            let listed = ["blobs", "quarantine"].map(|folder| disk.list(folder).unwrap()).concat();
            let got = listed.into_iter().map(|object| (object.name.clone(), disk.get(&object.name).unwrap().unwrap()[0]));
            prop_assert_eq!(got.collect::<BTreeMap<_, _>>(), map);
        }
    }
}
