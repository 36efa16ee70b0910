//! The index: unchanged input files are not hashed again.
//!
//! For each input path that was ever hashed, `index/<digest of the path>` lists the files below it in order, with their
//! stats and digests. The next call walks the folder, goes through both lists side by side, and hashes the files whose stat
//! differs. The list is only an accelerator: it may be deleted, the last of several writers wins, and one that is damaged
//! counts as absent.
//!
//! A file that changed so recently that it could change once more within the same tick of the clock, and then show the same
//! stat with other bytes, is not written into the list (git calls such entries racy).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;

use crate::artifact::digest_of_files;
use crate::backend::{Backend, Disk, ObjectName};
use crate::clock;
use crate::digest::Digest;
use crate::error::{CacheError, Result};
use crate::hash_file::Watch;
use crate::walk::{Source, Stat, walk};

/// Longer than the tick of any file system's clock (FAT: two seconds).
const TICK: Duration = Duration::from_secs(2);

/// The first bytes of a list; another version of the form counts as absent.
const FORM: &[u8] = b"dnc-index 1\n";

/// Who is told the bytes that were read and how many there are to read, from several threads at once.
type WatchAll<'a> = &'a (dyn Fn(u64, u64) -> io::Result<()> + Sync);

/// Digests of input files and folders outside the store.
#[derive(Clone, Debug)]
pub struct Index {
    disk: Arc<Disk>,
}

/// The digest of an input, and what it took to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceDigest {
    /// Of a file, the digest of its bytes. Of a folder, that of the relative paths and digests of all files and the names
    /// of empty folders; it does not depend on where the folder lies, nor on times or permissions.
    pub digest: Digest,
    /// How many files there are.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many files were read; the others were known.
    pub hashed: u64,
}

impl Index {
    pub(crate) fn new(disk: Arc<Disk>) -> Self {
        Self { disk }
    }

    /// The digest of a file, or of a folder with all that lies below it. Symbolic links are followed.
    ///
    /// # Errors
    /// If the path does not exist; if a file or folder cannot be read, changes meanwhile, or has a name that is not UTF-8;
    /// if a link leads back to a folder that holds it; or if something is neither file nor folder. All name the culprit.
    pub fn digest_path(&self, path: impl AsRef<Path>) -> Result<SourceDigest> {
        self.digest_path_watched(path, &|_, _| Ok(()))
    }

    /// As [`Index::digest_path`]; `watch` is told the bytes that were read and how many there are to read, from several
    /// threads at once. Its error ends the reading. What was hashed until then, or until any other error, need not be hashed
    /// again.
    ///
    /// # Errors
    /// As [`Index::digest_path`], and what `watch` returns.
    pub fn digest_path_watched(
        &self,
        path: impl AsRef<Path>,
        watch: &(dyn Fn(u64, u64) -> io::Result<()> + Sync),
    ) -> Result<SourceDigest> {
        self.digest_path_at(path.as_ref(), clock::now(), watch)
    }

    /// `now` is a time before which the caller knows that the files had their present bytes.
    fn digest_path_at(&self, path: &Path, now: SystemTime, watch: WatchAll<'_>) -> Result<SourceDigest> {
        let root = fs::canonicalize(path).map_err(CacheError::io("find", path))?;
        let name = list_name(&root);
        let list = self.disk.get(&name)?.unwrap_or_default();
        let known = List::decode(&list).filter(|list| list.root == root).map_or(Vec::new(), |list| list.files);
        let sources = walk(&root)?;
        let (digests, hashed) = digests(&root, &sources, &known, watch);

        let since_1970 = clock::earlier(now, TICK).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let settled = i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX);
        let files = sources.iter().zip(&digests).filter_map(|(source, digest)| {
            let stat = source.stat.filter(|stat| stat.changed < settled)?;
            Some(Known { path: &source.path, stat, digest: *digest.as_ref()?.as_ref().ok()? })
        });
        let files: Vec<_> = files.collect();
        if files != known {
            let list = List { root: root.clone(), files }.encode();
            let file = self.disk.write_temporary("index", list.as_slice())?;
            self.disk.adopt(&name, &file)?;
        }
        // Those that were not looked at come with the error for which they were not.
        let digests: Vec<Digest> = digests.into_iter().flatten().collect::<Result<_>>()?;

        let stats = || sources.iter().filter_map(|source| source.stat);
        let digest = match sources.as_slice() {
            [Source { path, .. }] if path.is_empty() => digests[0],
            _ => digest_of_files(
                sources
                    .iter()
                    .zip(&digests)
                    .map(|(source, digest)| (source.path.as_str(), source.stat.map_or(0, |stat| stat.size), *digest)),
            ),
        };
        Ok(SourceDigest { digest, files: stats().count() as u64, bytes: stats().map(|stat| stat.size).sum(), hashed })
    }

    /// What is known of the files below `path`, as the last [`Index::digest_path`] left it. Nothing is hashed.
    ///
    /// # Errors
    /// If the path does not exist or the list cannot be read.
    pub fn known_files(&self, path: impl AsRef<Path>) -> Result<KnownFiles> {
        let root = fs::canonicalize(path.as_ref()).map_err(CacheError::io("find", path.as_ref()))?;
        let list = self.disk.get(&list_name(&root))?.unwrap_or_default();
        let known = List::decode(&list).filter(|list| list.root == root).map_or(Vec::new(), |list| list.files);
        let files = known.into_iter().map(|Known { path, stat, digest }| (path.to_owned(), (stat, digest)));
        Ok(KnownFiles { files: files.collect(), root })
    }

    /// Removes the lists of inputs that are no longer there.
    pub(crate) fn gc(&self) -> Result<()> {
        for object in self.disk.list("index/")? {
            let list = self.disk.get(&object.name)?.unwrap_or_default();
            if !List::decode(&list).is_some_and(|list| list.root.exists()) {
                self.disk.remove(&object.name)?;
            }
        }
        Ok(())
    }
}

/// Digests of the files below an input.
#[derive(Clone, Debug, Default)]
pub struct KnownFiles {
    root: PathBuf,
    files: HashMap<String, (Stat, Digest)>,
}

impl KnownFiles {
    /// The digest of the file at `path`, relative to the input, if it is known and the file has not changed since.
    pub fn digest(&self, path: &Path) -> Option<Digest> {
        let (stat, digest) = self.files.get(path.to_str()?)?;
        let metadata = fs::metadata(self.root.join(path)).ok()?;
        (Stat::of(&metadata) == *stat).then_some(*digest)
    }
}

/// The digest of every source, and how many files had to be read for it. After an error no more are read.
fn digests(
    root: &Path,
    sources: &[Source],
    known: &[Known<'_>],
    watch: WatchAll<'_>,
) -> (Vec<Option<Result<Digest>>>, u64) {
    // Both lists are sorted by path, so one walk along both finds what is known.
    let mut rest = known.iter().peekable();
    let known: Vec<_> = sources
        .iter()
        .map(|source| {
            while rest.next_if(|known| known.path < source.path.as_str()).is_some() {}
            let known = rest.peek().filter(|known| known.path == source.path && Some(known.stat) == source.stat);
            known.map(|known| known.digest)
        })
        .collect();
    let unknown = sources.iter().zip(&known).filter(|(_, known)| known.is_none()).filter_map(|(source, _)| source.stat);
    let (hashed, total) = unknown.fold((0, 0), |(count, bytes), stat| (count + 1, bytes + stat.size));
    let (done, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let watch = |bytes: u64| watch(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
    let digests = sources.par_iter().zip(known).map(|(source, known)| match (known, source.stat) {
        (Some(digest), _) => Some(Ok(digest)),
        (None, None) => Some(Ok(Digest::of(b""))),
        (None, Some(_)) if failed.load(Ordering::Relaxed) => None,
        (None, Some(stat)) => {
            let path = if source.path.is_empty() { root.to_owned() } else { root.join(&source.path) };
            let digest = hash(&path, stat, &watch);
            failed.fetch_or(digest.is_err(), Ordering::Relaxed);
            Some(digest)
        }
    });
    (digests.collect(), hashed)
}

fn hash(path: &Path, stat: Stat, watch: Watch<'_>) -> Result<Digest> {
    let file = File::open(path).map_err(CacheError::io("open", path))?;
    let digest = Digest::of_watched_file(&file, path, watch)?;
    match Stat::of(&file.metadata().map_err(CacheError::io("read", path))?).size == stat.size {
        true => Ok(digest),
        false => Err(CacheError::Changed { path: path.to_owned() }),
    }
}

fn list_name(root: &Path) -> ObjectName {
    ObjectName::new(format!("index/{}", Digest::of(root.as_os_str().as_bytes())))
        .expect("a folder and digits are plain")
}

/// What is known of the files below a root, sorted by path.
#[derive(Debug, PartialEq, Eq)]
struct List<'a> {
    root: PathBuf,
    files: Vec<Known<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known<'a> {
    path: &'a str,
    stat: Stat,
    digest: Digest,
}

impl<'a> List<'a> {
    /// `FORM`, the root, the number of files, each file, and the digest of all this; numbers are little-endian, texts are
    /// preceded by their length (u32).
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4096 + self.files.len() * 128);
        bytes.extend_from_slice(FORM);
        put_text(&mut bytes, self.root.as_os_str().as_bytes());
        bytes.extend_from_slice(&(self.files.len() as u64).to_le_bytes());
        for Known { path, stat, digest } in &self.files {
            put_text(&mut bytes, path.as_bytes());
            bytes.extend_from_slice(&stat.size.to_le_bytes());
            bytes.extend_from_slice(&stat.inode.to_le_bytes());
            bytes.extend_from_slice(&stat.modified.to_le_bytes());
            bytes.extend_from_slice(&stat.changed.to_le_bytes());
            bytes.extend_from_slice(digest.as_bytes());
        }
        let checksum = Digest::of(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }

    /// `None` if these are not the bytes of a whole list.
    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (bytes, checksum) = bytes.split_last_chunk::<32>()?;
        if Digest::of(bytes) != Digest::from_bytes(*checksum) {
            return None;
        }
        let mut rest = bytes.strip_prefix(FORM)?;
        let root = PathBuf::from(std::ffi::OsStr::from_bytes(take_text(&mut rest)?));
        let count = u64::from_le_bytes(take(&mut rest)?);
        let mut files = Vec::with_capacity(usize::try_from(count).ok()?.min(bytes.len()));
        for _ in 0..count {
            let path = std::str::from_utf8(take_text(&mut rest)?).ok()?;
            let stat = Stat {
                size: u64::from_le_bytes(take(&mut rest)?),
                inode: u64::from_le_bytes(take(&mut rest)?),
                modified: i64::from_le_bytes(take(&mut rest)?),
                changed: i64::from_le_bytes(take(&mut rest)?),
            };
            files.push(Known { path, stat, digest: Digest::from_bytes(take(&mut rest)?) });
        }
        rest.is_empty().then_some(Self { root, files })
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend_from_slice(&u32::try_from(text.len()).expect("paths are shorter than 4 GiB").to_le_bytes());
    bytes.extend_from_slice(text);
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u32::from_le_bytes(take(rest)?)).ok()?;
    rest.split_off(..length)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    rest.split_off(..N)?.try_into().ok()
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

    /// As if the files had lain there for a while.
    fn later(index: &Index, path: &Path) -> SourceDigest {
        index.digest_path_at(path, clock::now() + 2 * TICK, &|_, _| Ok(())).unwrap()
    }

    #[test]
    fn a_known_file_tells_its_digest_until_it_changes() {
        let (_folder, index, input) = index_and_input();
        assert_eq!(index.known_files(&input).unwrap().digest(Path::new("list")), None);
        later(&index, &input);
        let known = index.known_files(&input).unwrap();
        assert_eq!(known.digest(Path::new("cats/1.png")), Some(Digest::of(b"a cat")));
        assert_eq!(known.digest(Path::new("cats/3.png")), None);
        fs::write(input.join("cats/1.png"), "a dog").unwrap();
        assert_eq!(known.digest(Path::new("cats/1.png")), None);
        assert_eq!(known.digest(Path::new("cats/2.png")), Some(Digest::of(b"a cat")));
    }

    #[test]
    fn what_was_hashed_before_an_end_is_known() {
        let (_folder, index, input) = index_and_input();
        let told = AtomicU64::new(0);
        let stop = |done: u64, total: u64| {
            assert_eq!(total, 15);
            told.store(done, Ordering::Relaxed);
            if done > 5 { Err(io::Error::other("enough")) } else { Ok(()) }
        };
        let one_by_one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let stopped = one_by_one.install(|| index.digest_path_at(&input, clock::now() + 2 * TICK, &stop));
        assert!(matches!(stopped, Err(CacheError::Io { .. })), "{stopped:?}");
        assert_eq!(told.into_inner(), 10);
        assert_eq!(later(&index, &input).hashed, 3);
    }

    #[test]
    fn the_second_time_nothing_is_read() {
        let (_folder, index, input) = index_and_input();
        let first = later(&index, &input);
        assert_eq!((first.files, first.bytes, first.hashed), (4, 15, 4));
        assert_eq!(later(&index, &input), SourceDigest { hashed: 0, ..first });
        assert_eq!(index.digest_path(&input).unwrap(), SourceDigest { hashed: 0, ..first });
    }

    #[test]
    fn a_file_has_the_digest_of_its_bytes() {
        let (_folder, index, input) = index_and_input();
        let file = later(&index, &input.join("dogs/1.png"));
        assert_eq!(file, SourceDigest { digest: Digest::of(b"a dog"), files: 1, bytes: 5, hashed: 1 });
        assert_eq!(later(&index, &input.join("dogs/1.png")).hashed, 0);
    }

    #[test]
    fn a_touched_file_is_read_and_nothing_else_changes() {
        let (_folder, index, input) = index_and_input();
        let first = later(&index, &input);
        File::open(input.join("list")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(later(&index, &input), SourceDigest { hashed: 1, ..first });
        assert_eq!(later(&index, &input), SourceDigest { hashed: 0, ..first });
    }

    #[test]
    fn other_bytes_of_the_same_length_and_time_are_noticed() {
        let (_folder, index, input) = index_and_input();
        let first = later(&index, &input);
        let path = input.join("dogs/1.png");
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "a cow").unwrap();
        File::open(&path).unwrap().set_modified(modified).unwrap();
        let second = later(&index, &input);
        assert_eq!(second.hashed, 1);
        assert_ne!(second.digest, first.digest);
        fs::write(&path, "a dog").unwrap();
        assert_eq!(later(&index, &input).digest, first.digest);
    }

    #[test]
    fn a_young_file_is_read_again() {
        let (_folder, index, input) = index_and_input();
        let changed = clock::changed(&fs::metadata(input.join("list")).unwrap());
        let first = index.digest_path_at(&input, changed, &|_, _| Ok(())).unwrap();
        assert_eq!(index.digest_path_at(&input, changed, &|_, _| Ok(())).unwrap(), SourceDigest { hashed: 4, ..first });
    }

    #[test]
    fn every_change_of_the_tree_shows() {
        let (_folder, index, input) = index_and_input();
        let mut digests = vec![later(&index, &input).digest];
        let mut changed = |input: &Path| {
            digests.push(later(&index, input).digest);
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
    fn where_a_folder_lies_does_not_matter() {
        let (folder, index, input) = index_and_input();
        let first = later(&index, &input);
        let moved = folder.path().join("moved");
        fs::rename(&input, &moved).unwrap();
        assert_eq!(later(&index, &moved).digest, first.digest);
        symlink(&moved, folder.path().join("link")).unwrap();
        assert_eq!(later(&index, &folder.path().join("link")), SourceDigest { hashed: 0, ..first });
    }

    #[test]
    fn links_are_followed_but_not_in_circles() {
        let (folder, index, input) = index_and_input();
        let plain = later(&index, &input).digest;
        fs::rename(input.join("cats"), folder.path().join("elsewhere")).unwrap();
        symlink(folder.path().join("elsewhere"), input.join("cats")).unwrap();
        assert_eq!(later(&index, &input).digest, plain);
        symlink(&input, input.join("dogs/up")).unwrap();
        let error = index.digest_path(&input).unwrap_err();
        assert!(matches!(&error, CacheError::LinkLoop { path } if path.ends_with("input/dogs/up")), "{error}");
    }

    #[test]
    fn errors_name_the_culprit() {
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
    fn a_damaged_list_counts_as_absent_and_gc_removes_those_of_vanished_inputs() {
        let (_folder, index, input) = index_and_input();
        let first = later(&index, &input);
        let list = index.disk.list("index/").unwrap().remove(0).name;
        let mut bytes = index.disk.get(&list).unwrap().unwrap();
        bytes[40] ^= 1;
        index.disk.put(&list, &bytes).unwrap();
        assert_eq!(later(&index, &input), first);
        assert_eq!(later(&index, &input).hashed, 0);
        index.gc().unwrap();
        assert_eq!(index.disk.list("index/").unwrap().len(), 1);
        fs::rename(&input, input.with_extension("away")).unwrap();
        index.gc().unwrap();
        assert_eq!(index.disk.list("index/").unwrap(), []);
    }

    fn stat() -> impl Strategy<Value = Stat> {
        any::<(u64, u64, i64, i64)>().prop_map(|(size, inode, modified, changed)| Stat {
            size,
            inode,
            modified,
            changed,
        })
    }

    proptest! {
        #[test]
        fn a_list_is_read_as_it_was_written(files in proptest::collection::vec(("\\PC{0,12}", stat(), any::<[u8; 32]>()), 0..6)) {
            let known = files.iter().map(|(path, stat, digest)| Known { path, stat: *stat, digest: Digest::from_bytes(*digest) });
            let list = List { root: "/some/root".into(), files: known.collect() };
            let bytes = list.encode();
            prop_assert_eq!(List::decode(&bytes), Some(list));
            for cut in 0..bytes.len() {
                prop_assert_eq!(List::decode(&bytes[..cut]), None);
            }
        }
    }

    proptest! {
        // Removing files is slow on some file systems.
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever was known before, possibly of other files: the digests are those of the bytes.
        #[test]
        fn stale_knowledge_does_no_harm(
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
            later(&index, &input);
            write(&after);
            let slow = digest_of_files(after.iter().map(|(name, byte)| (name.as_str(), 1, Digest::of(&[*byte]))));
            prop_assert_eq!(index.digest_path(&input).unwrap().digest, slow);
        }
    }
}
