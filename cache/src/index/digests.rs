//! Index of input files.
//!
//! For each input path that was ever hashed, `index/<digest of the path>` lists the files below it with their metadata and
//! digests. The next call walks the folder, merges it with the list, and hashes only files whose metadata differ.
//!
//! A file that changed very recently could change again within the same clock tick and then have the same metadata with
//! different bytes. Such a file is not written to the list (git calls these entries racy).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;

use super::file_list::{FileList, IndexedFile, list_name};
use super::rules::SourceRules;
use super::walk::{FileStat, SourceEntry, walk};
use crate::artifact::digest_of_files;
use crate::clock;
use crate::digest::Digest;
use crate::disk::Disk;
use crate::error::{CacheError, Result};
use crate::hash_file::OnBytesRead;

/// At least the clock tick of every file system (FAT has two seconds).
const CLOCK_TICK: Duration = Duration::from_secs(2);

/// Progress callback with the bytes read so far and the total. It is called from several threads at once.
type OnProgress<'a> = &'a (dyn Fn(u64, u64) -> io::Result<()> + Sync);

/// Digests of input files and folders outside the store.
#[derive(Clone, Debug)]
pub struct Index {
    disk: Arc<Disk>,
}

/// The digest of an input file or folder, and how much had to be read for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceDigest {
    /// For a file, the digest of its bytes. For a folder, a digest of the relative paths and digests of all files and of the
    /// names of empty folders; it does not depend on the folder's location, on times or on permissions.
    pub digest: Digest,
    /// Number of files.
    pub files: u64,
    /// Total size in bytes.
    pub bytes: u64,
    /// Number of files that were read. The digests of the others were in the index.
    pub hashed: u64,
}

impl Index {
    pub(crate) fn new(disk: Arc<Disk>) -> Self {
        Self { disk }
    }

    /// The digest of a file, or of a folder and everything below it. Symbolic links are followed.
    ///
    /// # Errors
    /// The path does not exist; a file or folder cannot be read, changes during the call, or has a name that is not UTF-8; a
    /// link points to a folder that contains it; or an entry is neither a file nor a folder. The error names the path.
    pub fn digest_path(&self, path: impl AsRef<Path>) -> Result<SourceDigest> {
        self.digest_path_with_progress(path, &SourceRules::default(), &|_, _| Ok(()))
    }

    /// Like [`Index::digest_path`], of what counts under these rules, with a callback that receives the bytes read so far and the
    /// total, from several threads at once. An error of the callback stops the reading. Files that were hashed before an error
    /// are in the index afterwards.
    ///
    /// # Errors
    /// As for [`Index::digest_path`] as far as the rules do not allow it, and any error that the callback returns.
    pub fn digest_path_with_progress(
        &self,
        path: impl AsRef<Path>,
        rules: &SourceRules,
        on_progress: &(dyn Fn(u64, u64) -> io::Result<()> + Sync),
    ) -> Result<SourceDigest> {
        self.digest_path_at(path.as_ref(), rules, clock::now(), on_progress)
    }

    /// `now` is a time that is not later than the start of the call.
    fn digest_path_at(
        &self,
        path: &Path,
        rules: &SourceRules,
        now: SystemTime,
        on_progress: OnProgress<'_>,
    ) -> Result<SourceDigest> {
        let root = fs::canonicalize(path).map_err(CacheError::io("find", path))?;
        let name = list_name(&root);
        let list = self.disk.get(&name)?.unwrap_or_default();
        let indexed = FileList::decode(&list).filter(|list| list.root == root).map_or(Vec::new(), |list| list.files);
        let sources = walk(&root, rules)?;
        let (digests, hashed) = digests(&root, &sources, &indexed, rules, on_progress);

        let since_1970 = clock::earlier(now, CLOCK_TICK).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let not_racy_before = i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX);
        let files = sources.iter().zip(&digests).filter_map(|(source, digest)| {
            let stat = source.stat.filter(|stat| stat.changed < not_racy_before)?;
            let digest = *digest.as_ref()?.as_ref().ok()?;
            (digest != unreadable()).then_some(IndexedFile { path: &source.path, stat, digest })
        });
        let files: Vec<_> = files.collect();
        if files != indexed {
            let list = FileList { root: root.clone(), files }.encode();
            let file = self.disk.write_temporary("index", list.as_slice())?;
            self.disk.move_in(&name, &file)?;
        }
        // A file was only skipped after an error of another file, which is returned here.
        let digests: Vec<Digest> = digests.into_iter().flatten().collect::<Result<_>>()?;

        let stats = || sources.iter().filter_map(|source| source.stat);
        let digest = match sources.as_slice() {
            [SourceEntry { path, .. }] if path.is_empty() => digests[0],
            _ => digest_of_files(
                sources
                    .iter()
                    .zip(&digests)
                    .map(|(source, digest)| (source.path.as_str(), source.stat.map_or(0, |stat| stat.size), *digest)),
            ),
        };
        Ok(SourceDigest { digest, files: stats().count() as u64, bytes: stats().map(|stat| stat.size).sum(), hashed })
    }

    /// The digests of the files below `path` as of the last [`Index::digest_path`]. Nothing is hashed.
    ///
    /// # Errors
    /// The path does not exist, or the list cannot be read.
    pub fn indexed_files(&self, path: impl AsRef<Path>) -> Result<IndexedFiles> {
        let root = fs::canonicalize(path.as_ref()).map_err(CacheError::io("find", path.as_ref()))?;
        let list = self.disk.get(&list_name(&root))?.unwrap_or_default();
        let indexed = FileList::decode(&list).filter(|list| list.root == root).map_or(Vec::new(), |list| list.files);
        let files = indexed.into_iter().map(|IndexedFile { path, stat, digest }| (path.to_owned(), (stat, digest)));
        Ok(IndexedFiles { files: files.collect(), root })
    }

    /// Removes the lists of input paths that no longer exist.
    pub(crate) fn gc(&self) -> Result<()> {
        for object in self.disk.list("index")? {
            let list = self.disk.get(&object.name)?.unwrap_or_default();
            if !FileList::decode(&list).is_some_and(|list| list.root.exists()) {
                self.disk.remove(&object.name)?;
            }
        }
        Ok(())
    }
}

/// Digests of the files below an input path.
#[derive(Clone, Debug, Default)]
pub struct IndexedFiles {
    root: PathBuf,
    files: HashMap<String, (FileStat, Digest)>,
}

impl IndexedFiles {
    /// The digest of the file at `path`, relative to the input path, if it is indexed and the file has not changed since.
    pub fn digest(&self, path: &Path) -> Option<Digest> {
        let (stat, digest) = self.files.get(path.to_str()?)?;
        let metadata = fs::metadata(self.root.join(path)).ok()?;
        (FileStat::of(&metadata) == *stat).then_some(*digest)
    }
}

/// The digest of every entry, and the number of files that had to be read. After an error no further file is read.
fn digests(
    root: &Path,
    sources: &[SourceEntry],
    indexed: &[IndexedFile<'_>],
    rules: &SourceRules,
    on_progress: OnProgress<'_>,
) -> (Vec<Option<Result<Digest>>>, u64) {
    // Both lists are sorted by path, so they can be merged in one pass.
    let mut rest = indexed.iter().peekable();
    let indexed: Vec<_> = sources
        .iter()
        .map(|source| {
            while rest.next_if(|file| file.path < source.path.as_str()).is_some() {}
            let unchanged = rest.peek().filter(|file| file.path == source.path && Some(file.stat) == source.stat);
            unchanged.map(|file| file.digest)
        })
        .collect();
    let to_hash =
        sources.iter().zip(&indexed).filter(|(_, digest)| digest.is_none()).filter_map(|(source, _)| source.stat);
    let (hashed, total) = to_hash.fold((0, 0), |(count, bytes), stat| (count + 1, bytes + stat.size));
    let (done, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let on_read = |bytes: u64| on_progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
    let digests = sources.par_iter().zip(indexed).map(|(source, digest)| match (digest, source.stat) {
        (Some(digest), _) => Some(Ok(digest)),
        (None, None) => Some(Ok(Digest::of(source.kind.as_bytes()))),
        (None, Some(_)) if failed.load(Ordering::Relaxed) => None,
        (None, Some(stat)) => {
            let path = if source.path.is_empty() { root.to_owned() } else { root.join(&source.path) };
            let digest = match hash(&path, stat, &on_read) {
                Err(error) if rules.is_data && is_denied(&error) => Ok(unreadable()),
                digest => digest,
            };
            failed.fetch_or(digest.is_err(), Ordering::Relaxed);
            Some(digest)
        }
    });
    (digests.collect(), hashed)
}

/// What counts for a file among data that may not be read.
fn unreadable() -> Digest {
    Digest::of(b"file that may not be read")
}

fn is_denied(error: &CacheError) -> bool {
    matches!(error, CacheError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
}

fn hash(path: &Path, stat: FileStat, on_read: OnBytesRead<'_>) -> Result<Digest> {
    let file = File::open(path).map_err(CacheError::io("open", path))?;
    let digest = Digest::of_file_with_progress(&file, path, on_read)?;
    match FileStat::of(&file.metadata().map_err(CacheError::io("read", path))?).size == stat.size {
        true => Ok(digest),
        false => Err(CacheError::Changed { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    /// An index, and a folder with a few files.
    fn index_and_input() -> (TempDir, Index, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let index = Index::new(Arc::new(Disk::open(folder.path().join("store")).unwrap()));
        let input = folder.path().join("input");
        for (path, bytes) in [("cats/1.png", "a cat"), ("cats/2.png", "a cat"), ("dogs/1.png", "a dog"), ("list", "")] {
            fs::create_dir_all(input.join(path).parent().unwrap()).unwrap();
            fs::write(input.join(path), bytes).unwrap();
        }
        (folder, index, input)
    }

    /// Hashes the input as if the files had not changed for a while, so that none is racy.
    fn digest_later(index: &Index, path: &Path) -> SourceDigest {
        index.digest_path_at(path, &SourceRules::default(), clock::now() + 2 * CLOCK_TICK, &|_, _| Ok(())).unwrap()
    }

    #[test]
    fn an_indexed_file_has_a_digest_until_it_changes() {
        let (_folder, index, input) = index_and_input();
        assert_eq!(index.indexed_files(&input).unwrap().digest(Path::new("list")), None);
        digest_later(&index, &input);
        let indexed = index.indexed_files(&input).unwrap();
        assert_eq!(indexed.digest(Path::new("cats/1.png")), Some(Digest::of(b"a cat")));
        assert_eq!(indexed.digest(Path::new("cats/3.png")), None);
        fs::write(input.join("cats/1.png"), "a dog").unwrap();
        assert_eq!(indexed.digest(Path::new("cats/1.png")), None);
        assert_eq!(indexed.digest(Path::new("cats/2.png")), Some(Digest::of(b"a cat")));
    }

    #[test]
    fn files_hashed_before_a_cancellation_are_indexed() {
        let (_folder, index, input) = index_and_input();
        let last_done = AtomicU64::new(0);
        let stop = |done: u64, total: u64| {
            assert_eq!(total, 15);
            last_done.store(done, Ordering::Relaxed);
            if done > 5 { Err(io::Error::other("enough")) } else { Ok(()) }
        };
        let one_by_one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let stopped = one_by_one
            .install(|| index.digest_path_at(&input, &SourceRules::default(), clock::now() + 2 * CLOCK_TICK, &stop));
        assert!(matches!(stopped, Err(CacheError::Io { .. })), "{stopped:?}");
        assert_eq!(last_done.into_inner(), 10);
        assert_eq!(digest_later(&index, &input).hashed, 3);
    }

    #[test]
    fn unchanged_files_are_not_read_again() {
        let (_folder, index, input) = index_and_input();
        let first = digest_later(&index, &input);
        assert_eq!((first.files, first.bytes, first.hashed), (4, 15, 4));
        assert_eq!(digest_later(&index, &input), SourceDigest { hashed: 0, ..first });
        assert_eq!(index.digest_path(&input).unwrap(), SourceDigest { hashed: 0, ..first });
    }

    #[test]
    fn a_file_has_the_digest_of_its_bytes() {
        let (_folder, index, input) = index_and_input();
        let file = digest_later(&index, &input.join("dogs/1.png"));
        assert_eq!(file, SourceDigest { digest: Digest::of(b"a dog"), files: 1, bytes: 5, hashed: 1 });
        assert_eq!(digest_later(&index, &input.join("dogs/1.png")).hashed, 0);
    }

    #[test]
    fn a_touched_file_is_read_and_the_digest_stays() {
        let (_folder, index, input) = index_and_input();
        let first = digest_later(&index, &input);
        File::open(input.join("list")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(digest_later(&index, &input), SourceDigest { hashed: 1, ..first });
        assert_eq!(digest_later(&index, &input), SourceDigest { hashed: 0, ..first });
    }

    #[test]
    fn changed_bytes_with_the_same_size_and_mtime_are_detected() {
        let (_folder, index, input) = index_and_input();
        let first = digest_later(&index, &input);
        let path = input.join("dogs/1.png");
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "a cow").unwrap();
        File::open(&path).unwrap().set_modified(modified).unwrap();
        let second = digest_later(&index, &input);
        assert_eq!(second.hashed, 1);
        assert_ne!(second.digest, first.digest);
        fs::write(&path, "a dog").unwrap();
        assert_eq!(digest_later(&index, &input).digest, first.digest);
    }

    #[test]
    fn a_recently_changed_file_is_read_again() {
        let (_folder, index, input) = index_and_input();
        let changed = clock::changed(&fs::metadata(input.join("list")).unwrap());
        let digest = || index.digest_path_at(&input, &SourceRules::default(), changed, &|_, _| Ok(())).unwrap();
        let first = digest();
        assert_eq!(digest(), SourceDigest { hashed: 4, ..first });
    }

    #[test]
    fn every_change_of_the_folder_tree_changes_the_digest() {
        let (_folder, index, input) = index_and_input();
        let mut digests = vec![digest_later(&index, &input).digest];
        let mut changed = |input: &Path| {
            digests.push(digest_later(&index, input).digest);
            assert_ne!(digests[digests.len() - 1], digests[digests.len() - 2]);
        };
        fs::write(input.join("new"), "").unwrap();
        changed(&input);
        fs::rename(input.join("new"), input.join("renamed")).unwrap();
        changed(&input);
        fs::create_dir(input.join("birds")).unwrap();
        changed(&input);
        fs::rename(input.join("cats/1.png"), input.join("birds/1.png")).unwrap();
        changed(&input);
        fs::rename(input.join("birds/1.png"), input.join("cats/1.png")).unwrap();
        fs::remove_dir(input.join("birds")).unwrap();
        fs::remove_file(input.join("renamed")).unwrap();
        changed(&input);
        assert_eq!(digests.first(), digests.last());
    }

    #[test]
    fn the_digest_does_not_depend_on_the_location() {
        let (folder, index, input) = index_and_input();
        let first = digest_later(&index, &input);
        let moved = folder.path().join("moved");
        fs::rename(&input, &moved).unwrap();
        assert_eq!(digest_later(&index, &moved).digest, first.digest);
        symlink(&moved, folder.path().join("link")).unwrap();
        assert_eq!(digest_later(&index, &folder.path().join("link")), SourceDigest { hashed: 0, ..first });
    }

    #[test]
    fn links_are_followed_and_link_loops_are_refused() {
        let (folder, index, input) = index_and_input();
        let plain = digest_later(&index, &input).digest;
        fs::rename(input.join("cats"), folder.path().join("elsewhere")).unwrap();
        symlink(folder.path().join("elsewhere"), input.join("cats")).unwrap();
        assert_eq!(digest_later(&index, &input).digest, plain);
        symlink(&input, input.join("dogs/up")).unwrap();
        let error = index.digest_path(&input).unwrap_err();
        assert!(matches!(&error, CacheError::LinkLoop { path } if path.ends_with("input/dogs/up")), "{error}");
    }

    #[test]
    fn errors_name_the_path() {
        let (folder, index, input) = index_and_input();
        let message = |input: &Path| {
            let message = index.digest_path(input).unwrap_err().to_string();
            message.replace(folder.path().canonicalize().unwrap().to_str().unwrap(), "FOLDER")
        };
        assert_eq!(message(Path::new("nowhere")), "Could not find `nowhere`");
        symlink("nowhere", input.join("dogs/2.png")).unwrap();
        assert_eq!(message(&input), "Could not read `FOLDER/input/dogs/2.png`");
        assert_eq!(message(Path::new("/dev/null")), "`/dev/null` is neither a file nor a folder");
    }

    #[test]
    fn what_the_program_writes_is_no_data_and_what_lies_around_is_no_error() {
        let (folder, index, input) = index_and_input();
        let runs = input.join("runs");
        let rules = SourceRules { excluded: vec![runs.clone()], is_data: true, extensions: vec!["png".to_owned()] };
        let digest = || index.digest_path_with_progress(&input, &rules, &|_, _| Ok(())).unwrap().digest;
        let plain = digest();
        fs::create_dir_all(runs.join("a/1")).unwrap();
        fs::write(runs.join("a/1/run.json"), "{}").unwrap();
        symlink(&runs, input.join("link to runs")).unwrap();
        fs::create_dir_all(input.join("cats/.git")).unwrap();
        fs::write(input.join("cats/.git/index"), "1").unwrap();
        fs::write(input.join("list"), "other contents of a file that is no image").unwrap();
        assert_eq!(digest(), plain);
        let mut digests = vec![plain];
        let mut changed = || {
            digests.push(digest());
            assert_ne!(digests[digests.len() - 1], digests[digests.len() - 2]);
        };
        symlink("nowhere", input.join("dogs/2.png")).unwrap();
        changed();
        symlink(&input, input.join("dogs/up")).unwrap();
        changed();
        std::os::unix::net::UnixListener::bind(input.join("dogs/socket")).unwrap();
        changed();
        use std::os::unix::ffi::OsStrExt;
        fs::write(input.join(std::ffi::OsStr::from_bytes(b"cats/caf\xe9.png")), "").unwrap();
        changed();
        fs::write(input.join("cats/1.PNG"), "a cat").unwrap();
        changed();
        fs::write(input.join("cats/1.PNG"), "a dog").unwrap();
        changed();
        // Without these rules, all of it is an error.
        fs::remove_file(input.join("link to runs")).unwrap();
        assert!(index.digest_path(&input).is_err());
        drop(folder);
    }

    #[test]
    fn a_damaged_list_counts_as_absent_and_gc_removes_lists_of_deleted_inputs() {
        let (_folder, index, input) = index_and_input();
        let first = digest_later(&index, &input);
        let list = index.disk.list("index").unwrap().remove(0).name;
        let mut bytes = index.disk.get(&list).unwrap().unwrap();
        bytes[40] ^= 1;
        index.disk.put(&list, &bytes).unwrap();
        assert_eq!(digest_later(&index, &input), first);
        assert_eq!(digest_later(&index, &input).hashed, 0);
        index.gc().unwrap();
        assert_eq!(index.disk.list("index").unwrap().len(), 1);
        fs::rename(&input, input.with_extension("away")).unwrap();
        index.gc().unwrap();
        assert_eq!(index.disk.list("index").unwrap(), []);
    }

    proptest! {
        // Removing files is slow on some file systems.
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever the index contains from before, the digests are those of the current bytes.
        #[test]
        fn an_outdated_index_never_gives_a_wrong_digest(
            before in proptest::collection::btree_map("[a-c]{1,2}", 0u8..3, 0..6),
            after in proptest::collection::btree_map("[a-c]{1,2}", 0u8..3, 0..6),
        ) {
            let (_folder, index, input) = index_and_input();
            let write = |files: &BTreeMap<String, u8>| {
                fs::remove_dir_all(&input).unwrap();
                fs::create_dir(&input).unwrap();
                for (name, byte) in files {
                    fs::write(input.join(name), [*byte]).unwrap();
                }
            };
            write(&before);
            digest_later(&index, &input);
            write(&after);
            let expected = digest_of_files(after.iter().map(|(name, byte)| (name.as_str(), 1, Digest::of(&[*byte]))));
            prop_assert_eq!(index.digest_path(&input).unwrap().digest, expected);
        }
    }
}
