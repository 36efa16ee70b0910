//! A folder of image files for each class.
//!
//! A class is a folder that contains image files; its name is the path from the root, so that nested folders, as in Omniglot,
//! are classes `alphabet/character`. Files of other types are ignored.

use std::path::Path;

use dnc_tables::Split;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::file_names::sorted_names;
use crate::decode::error::DecodeError;
use crate::decode::listing::{FileListing, Listing};

/// File name extensions of images.
const EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "svg"];

/// A folder of image files for each class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Folder {
    /// Whether the folders in the root are splits (`train`, `validation`, `test`, `query`, `gallery`) that contain the class
    /// folders.
    pub by_split: bool,
}

impl Dataset for Folder {
    fn list(&self, root: &Path) -> Result<Listing, DecodeError> {
        let mut images = FileListing::new(root);
        if self.by_split {
            for name in sorted_names(root)? {
                let split =
                    name.parse().map_err(|source| DecodeError::SplitFolder { root: root.to_owned(), source })?;
                add_images(&mut images, root, &name, "", Some(split))?;
            }
        } else {
            add_images(&mut images, root, "", "", None)?;
            let in_root = sorted_names(root)?.iter().filter(|name| is_image(name)).count();
            if images.len() == 0 && in_root > 0 {
                return Err(DecodeError::NoClassFolders { root: root.to_owned(), images: in_root });
            }
        }
        images.finish(&[])
    }
}

/// Adds the images below the folder `folder` of the root, which is the class called `class`; empty names stand for the root.
fn add_images(
    images: &mut FileListing,
    root: &Path,
    folder: &str,
    class: &str,
    split: Option<Split>,
) -> Result<(), DecodeError> {
    let before = images.len();
    let mut has_folders = false;
    let path = if folder.is_empty() { root.to_path_buf() } else { root.join(folder) };
    for name in sorted_names(&path)? {
        let inner = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if root.join(&inner).is_dir() {
            let class = if class.is_empty() { name } else { format!("{class}/{name}") };
            add_images(images, root, &inner, &class, split)?;
            has_folders = true;
        } else if is_image(&inner) && !class.is_empty() {
            images.add(&inner, class, split, None);
        }
    }
    if !class.is_empty() && !has_folders && images.len() == before {
        return Err(DecodeError::EmptyClass { folder: path });
    }
    Ok(())
}

fn is_image(path: &str) -> bool {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}
