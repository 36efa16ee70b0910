//! What a data set contains: a list of its images, the reader of their bytes, and what lies beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dnc_tables::Split;

use super::data_folder::DataFolder;
use super::encoded::ImageReader;
use super::entry::{ClassNames, Entry, ExpectedCount};
use super::error::DecodeError;
use super::image_files::ImageFiles;

/// What a data set contains.
pub struct Listing {
    /// Its images, in the order of the data set.
    pub entries: Vec<Entry>,
    /// Names of its classes; [`Entry::class`] is an index into this list.
    pub classes: Vec<String>,
    /// Reads the bytes of the images.
    pub reader: Box<dyn ImageReader>,
    /// The numbers of images and classes of a complete copy, if they are known.
    pub expected: Vec<ExpectedCount>,
    /// What is no image, and images that are known to be broken.
    pub strays: Strays,
}

/// What lies beside the images of a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// Files and folders that are no images of the data set.
    pub passed_over: Vec<PassedOver>,
    /// Images that the data set names but that cannot be read, whatever their bytes.
    pub broken: Vec<Broken>,
}

/// A file or folder that is no image of the data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Its path relative to the root.
    pub source: String,
    /// Why it is no image, a predicate: `does not end like an image file`.
    pub reason: &'static str,
    /// Whether it lies in most folders, so that it is counted but no warning is due.
    pub is_usual: bool,
}

/// An image that the data set names but that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What it is called in messages: `The image …`, `Row 3 of …`.
    pub what: String,
    /// Its origin, as in the table of images.
    pub source: String,
    /// Why it cannot be read, a predicate: `has no class`.
    pub reason: String,
}

impl Listing {
    /// Checks that there is an image that may be readable. `root` is the folder or file of the data set.
    ///
    /// # Errors
    /// There is none.
    pub fn check_not_empty(&self, root: &Path) -> Result<(), DecodeError> {
        if !self.entries.is_empty() {
            return Ok(());
        }
        let (root, count) = (root.to_owned(), self.strays.broken.len());
        Err(match self.strays.broken.first() {
            Some(Broken { source, reason, .. }) => {
                DecodeError::NothingDecoded { root, count, first: format!("`{source}` {reason}") }
            }
            None => {
                let passed_over =
                    describe(&self.strays.passed_over).map_or_else(String::new, |text| format!(": {text}"));
                DecodeError::NoImages { root, passed_over }
            }
        })
    }
}

impl Strays {
    /// Adds something that is no image.
    pub fn pass_over(&mut self, source: impl Into<String>, reason: &'static str) {
        self.passed_over.push(PassedOver { source: source.into(), reason, is_usual: false });
    }

    /// Adds something that lies in most folders.
    pub fn pass_over_usual(&mut self, source: impl Into<String>, reason: &'static str) {
        self.passed_over.push(PassedOver { source: source.into(), reason, is_usual: true });
    }

    /// Adds something that an operating system or archive program left.
    pub fn pass_over_junk(&mut self, source: impl Into<String>) {
        self.pass_over_usual(source, "is hidden, or was left by an operating system or an archive program");
    }

    /// Adds an image that cannot be read.
    pub fn add_broken(&mut self, what: String, source: impl Into<String>, reason: impl Into<String>) {
        self.broken.push(Broken { what, source: source.into(), reason: reason.into() });
    }
}

/// Lists a data set whose images are separate files.
pub(super) struct FileListing<'a> {
    folder: &'a DataFolder,
    classes: ClassNames,
    entries: Vec<Entry>,
    paths: Vec<PathBuf>,
    pub(super) strays: Strays,
}

impl<'a> FileListing<'a> {
    /// An empty list of files in `folder`.
    pub(super) fn new(folder: &'a DataFolder) -> Self {
        let (entries, paths) = (Vec::new(), Vec::new());
        Self { folder, classes: ClassNames::default(), entries, paths, strays: Strays::default() }
    }

    /// The number of images so far.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds the image in the file at `path`, relative to the root or absolute, with `/` between folders. A path outside the root,
    /// whose contents alone are part of the key, is a broken image.
    pub(super) fn add(&mut self, path: &str, class: &str, split: Option<Split>, camera: Option<u16>) {
        let Some(relative) = self.folder.relative(path) else {
            let reason = format!("is outside the folder `{}`", self.folder.path().display());
            return self.strays.add_broken(format!("The image `{path}`"), path, reason);
        };
        let (class, position) = (self.classes.index(class), self.paths.len());
        self.paths.push(PathBuf::from(&relative));
        self.entries.push(Entry { class, split, camera, source: relative, position });
    }

    /// Adds an image at `path` that cannot be read.
    pub(super) fn add_unreadable(&mut self, path: &str, reason: &'static str) {
        let what = format!("The image `{}`", self.folder.join(path).display());
        self.strays.add_broken(what, path, reason);
    }

    /// The complete list.
    pub(super) fn finish(self, expected: &[ExpectedCount]) -> Listing {
        let Self { folder, classes, entries, paths, strays } = self;
        let reader = Box::new(ImageFiles::new(folder.path().to_owned(), paths));
        Listing { entries, classes: classes.into_names(), reader, expected: expected.to_vec(), strays }
    }
}

/// What was passed over, by reason, with the first of each; `None` if it is only what lies in most folders.
pub fn describe(passed_over: &[PassedOver]) -> Option<String> {
    let mut reasons: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for PassedOver { source, reason, .. } in passed_over.iter().filter(|stray| !stray.is_usual) {
        reasons.entry(reason).or_insert((0, source)).0 += 1;
    }
    if reasons.is_empty() {
        return None;
    }
    let parts = reasons.iter().map(|(reason, (count, source))| match count {
        1 => format!("`{source}` {reason}"),
        _ => format!("{count} such as `{source}`: each {reason}"),
    });
    let count: usize = reasons.values().map(|(count, _)| count).sum();
    let noun = if count == 1 { "1 file or folder was" } else { &format!("{count} files or folders were") };
    Some(format!("{noun} passed over: {}", parts.collect::<Vec<_>>().join("; ")))
}
