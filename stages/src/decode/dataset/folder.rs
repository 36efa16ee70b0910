//! A folder of image files for each class.
//!
//! A class is a folder that holds image files; its name is the path from the root, so that folders of folders, as Omniglot
//! has them, are classes `alphabet/character`. Files of other kinds are left alone.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Classes, Entry, Listing, sorted_names};
use crate::decode::encoded::Encoded;
use crate::error::StageError;
use crate::tables::Split;

/// Endings of the names of image files.
const ENDINGS: [&str; 9] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "svg"];

/// A folder of image files for each class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Folder {
    /// Whether the folders below the root are splits (`train`, `validation`, `test`, `query`, `gallery`) with the classes
    /// below them.
    pub by_split: bool,
}

impl Folder {
    pub(super) fn list(&self, root: &Path) -> Result<Listing, StageError> {
        let mut found = Found { root, classes: Classes::default(), entries: Vec::new() };
        if self.by_split {
            for name in sorted_names(root)? {
                let split = name.parse().map_err(|problem: String| {
                    StageError::input(format!("The folder `{}` cannot be read by split: {problem}", root.display()))
                })?;
                found.descend(&name, "", Some(split))?;
            }
        } else {
            found.descend("", "", None)?;
        }
        let (entries, classes) = (found.entries, found.classes.into_names());
        Ok(Listing { entries, classes, encoded: Encoded::files(root), expected: Vec::new() })
    }
}

struct Found<'a> {
    root: &'a Path,
    classes: Classes,
    entries: Vec<Entry>,
}

impl Found<'_> {
    /// Lists the images below `folder`, which is the class `class`.
    fn descend(&mut self, folder: &str, class: &str, split: Option<Split>) -> Result<(), StageError> {
        let before = self.entries.len();
        let mut folders = false;
        let whole = if folder.is_empty() { self.root.to_path_buf() } else { self.root.join(folder) };
        for name in sorted_names(&whole)? {
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            if self.root.join(&path).is_dir() {
                let class = if class.is_empty() { name } else { format!("{class}/{name}") };
                self.descend(&path, &class, split)?;
                folders = true;
            } else if is_image(&path) && !class.is_empty() {
                let class = self.classes.place(class);
                self.entries.push(Entry::file(class, split, None, &path));
            }
        }
        if !class.is_empty() && !folders && self.entries.len() == before {
            return Err(StageError::input(format!("The class folder `{}` holds no image", whole.display())));
        }
        Ok(())
    }
}

fn is_image(path: &str) -> bool {
    let ending = path.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}
