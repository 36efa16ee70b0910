//! What a data set contains: a list of its images, and the reader of their bytes.

use std::path::{Component, Path, PathBuf};

use dnc_tables::Split;

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
}

/// Lists a data set whose images are separate files.
pub(super) struct FileListing {
    root: PathBuf,
    classes: ClassNames,
    entries: Vec<Entry>,
    paths: Vec<PathBuf>,
}

impl FileListing {
    /// An empty list of files below `root`.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), classes: ClassNames::default(), entries: Vec::new(), paths: Vec::new() }
    }

    /// The number of images so far.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds the image in the file at `path`, relative to the root, with `/` between folders.
    pub(super) fn add(&mut self, path: &str, class: &str, split: Option<Split>, camera: Option<u16>) {
        let (class, position) = (self.classes.index(class), self.paths.len());
        self.entries.push(Entry { class, split, camera, source: path.to_owned(), position });
        self.paths.push(PathBuf::from(path));
    }

    /// The complete list.
    ///
    /// # Errors
    /// A path leads out of the root, whose contents alone are part of the key.
    pub(super) fn finish(self, expected: &[ExpectedCount]) -> Result<Listing, DecodeError> {
        let Self { root, classes, entries, paths } = self;
        if let Some(path) = paths.iter().find(|path| leads_outside(path)) {
            return Err(DecodeError::OutsideRoot { what: "image", path: path.display().to_string(), root });
        }
        let reader = Box::new(ImageFiles::new(root, paths));
        Ok(Listing { entries, classes: classes.into_names(), reader, expected: expected.to_vec() })
    }
}

/// Whether a relative path may lead out of the folder that it is relative to.
pub(super) fn leads_outside(path: &Path) -> bool {
    !path.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir))
}
