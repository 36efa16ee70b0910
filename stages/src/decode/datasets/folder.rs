//! A folder of image files for each class.
//!
//! A class is a folder that contains image files; its name is the path from the root, so that nested folders, as in Omniglot,
//! are classes `alphabet/character`. Files of other types and folders without images are passed over.

use std::collections::BTreeSet;

use dnc_tables::Split;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use crate::decode::data_folder::{DataFolder, EntryKind, Identity};
use crate::decode::entry::split_named;
use crate::decode::error::DecodeError;
use crate::decode::listing::{FileListing, Listing};

/// File name extensions of images.
pub(super) const EXTENSIONS: [&str; 14] =
    ["jpg", "jpeg", "jpe", "jfif", "jfi", "jif", "png", "webp", "gif", "bmp", "dib", "tif", "tiff", "svg"];

/// Extensions of images in forms that are not read.
const OTHER_FORMS: [&str; 14] =
    ["heic", "heif", "avif", "jxl", "jp2", "j2k", "jpf", "jpx", "psd", "cr2", "nef", "arw", "dng", "raw"];

/// A folder of image files for each class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Folder {
    /// Whether the folders in the root are splits (`train`, `validation` or `val`, `test`, `query`, `gallery`) that contain the
    /// class folders.
    pub by_split: bool,
}

impl Folder {
    /// A warning if these classes lie in several folders that are called like splits but are not read as such.
    pub(in crate::decode) fn missed_splits(&self, classes: &[String]) -> Option<String> {
        let above = classes.iter().filter_map(|class| Some(class.split_once('/')?.0));
        let splits: BTreeSet<&str> = above.filter(|name| split_named(name).is_ok()).collect();
        (!self.by_split && splits.len() > 1).then(|| {
            let names = splits.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ");
            format!(
                "{names} are taken for folders of classes, so that a class in several of them is several classes; `dataset = {{ kind = \
                 \"folder\", by_split = true }}` takes them for splits"
            )
        })
    }
}

impl Dataset for Folder {
    fn extensions(&self) -> &'static [&'static str] {
        &EXTENSIONS
    }

    fn list(&self, root: &DataFolder) -> Result<Listing, DecodeError> {
        if !self.by_split {
            let listing = listed(root, "", None)?;
            let in_root = listing.strays.passed_over.iter().filter(|stray| stray.reason == IN_NO_CLASS).count();
            if listing.len() == 0 && in_root > 0 {
                return Err(DecodeError::NoClassFolders { root: root.path().to_owned(), images: in_root });
            }
            return Ok(listing.finish(&[]));
        }
        let mut images = FileListing::new(root);
        for entry in root.entries("")? {
            match (entry.kind, split_named(&entry.name)) {
                (EntryKind::Junk, _) => images.strays.pass_over_junk(entry.name),
                (EntryKind::File, _) => {
                    images.strays.pass_over(entry.name, "lies outside of the folders of the splits")
                }
                (EntryKind::Unreadable(reason), _) => images.strays.pass_over(entry.name, reason),
                (EntryKind::Folder(_), Ok(split)) => {
                    Walk { images: &mut images, root, split: Some(split) }.top(&entry.name)?
                }
                // A folder of another name must not be lost without a word if there are images in it.
                (EntryKind::Folder(_), Err(source)) => match listed(root, &entry.name, None)?.len() {
                    0 => images.strays.pass_over(entry.name, NO_IMAGES),
                    _ => return Err(DecodeError::SplitFolder { root: root.path().to_owned(), source }),
                },
            }
        }
        Ok(images.finish(&[]))
    }
}

const IN_NO_CLASS: &str = "lies outside of the class folders";
const NO_IMAGES: &str = "contains no images";

/// The images below `folder`.
fn listed<'a>(root: &'a DataFolder, folder: &str, split: Option<Split>) -> Result<FileListing<'a>, DecodeError> {
    let mut images = FileListing::new(root);
    Walk { images: &mut images, root, split }.top(folder)?;
    Ok(images)
}

/// Adds the images of a folder and everything below it.
struct Walk<'w, 'a> {
    images: &'w mut FileListing<'a>,
    root: &'a DataFolder,
    split: Option<Split>,
}

impl Walk<'_, '_> {
    /// Adds the images below `folder`, whose folders are classes.
    fn top(&mut self, folder: &str) -> Result<(), DecodeError> {
        let mut above: Vec<Identity> = ["", folder].iter().filter_map(|path| self.root.identity(path)).collect();
        self.add(folder, "", &mut above).map(drop)
    }

    /// Adds the images in and below `folder`, which is the class called `class`; empty names stand for the root. `above` are the
    /// folders that contain it. Returns whether there is anything in it that is or could be an image.
    fn add(&mut self, folder: &str, class: &str, above: &mut Vec<Identity>) -> Result<bool, DecodeError> {
        let mut has_images = false;
        for entry in self.root.entries(folder)? {
            let path = if folder.is_empty() { entry.name.clone() } else { format!("{folder}/{}", entry.name) };
            match entry.kind {
                EntryKind::Junk => self.images.strays.pass_over_junk(path),
                EntryKind::Folder(identity) if above.contains(&identity) => {
                    self.images.strays.pass_over(path, "is a link to a folder that contains it");
                }
                EntryKind::Folder(identity) => {
                    let class = if class.is_empty() { entry.name } else { format!("{class}/{}", entry.name) };
                    above.push(identity);
                    let before = self.images.strays.passed_over.len();
                    if self.add(&path, &class, above)? {
                        has_images = true;
                    } else if self.images.strays.passed_over.len() == before {
                        self.images.strays.pass_over(path, NO_IMAGES);
                    }
                    above.pop();
                }
                EntryKind::File => match passed_over(&path) {
                    Some(reason) => self.images.strays.pass_over(path, reason),
                    None if class.is_empty() => self.images.strays.pass_over(path, IN_NO_CLASS),
                    None => {
                        self.images.add(&path, class, self.split, None);
                        has_images = true;
                    }
                },
                EntryKind::Unreadable(reason) if class.is_empty() || passed_over(&path).is_some() => {
                    self.images.strays.pass_over(path, reason);
                }
                EntryKind::Unreadable(reason) => {
                    self.images.add_unreadable(&path, reason);
                    has_images = true;
                }
            }
        }
        Ok(has_images)
    }
}

/// Why the file at `path` is no image, by its name.
pub(super) fn passed_over(path: &str) -> Option<&'static str> {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let Some((_, extension)) = name.rsplit_once('.') else { return Some("has no extension that says what it is") };
    let extension = extension.to_ascii_lowercase();
    if EXTENSIONS.contains(&extension.as_str()) {
        None
    } else if OTHER_FORMS.contains(&extension.as_str()) {
        Some("is an image of a form that is not read; convert it to JPEG or PNG")
    } else {
        Some("does not end like an image file")
    }
}
