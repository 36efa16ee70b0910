//! CUB-200-2011: 11,788 pictures of 200 species of birds; the first 100 are trained on.
//!
//! Source: Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", 2011; the split is that of Song et al., CVPR 2016. The
//! folder `CUB_200_2011` as it is distributed: `images.txt` (`id path`) and `images/001.Black_footed_Albatross/…`; without
//! the list the folders themselves.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::lines::Lines;
use super::{Classes, Entry, Expected, Listing};
use crate::decode::encoded::Encoded;
use crate::error::StageError;
use crate::tables::Split;

const EXPECTED: [Expected; 2] = [
    Expected { split: Split::Train, images: 5_864, classes: 100 },
    Expected { split: Split::Test, images: 5_924, classes: 100 },
];

/// The last species that is trained on.
const LAST_TRAINED: u32 = 100;

/// CUB-200-2011.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cub {}

impl Cub {
    pub(super) fn list(&self, root: &Path) -> Result<Listing, StageError> {
        let (images, list) = (root.join("images"), root.join("images.txt"));
        let images = if images.is_dir() { images } else { root.to_path_buf() };
        let mut listing = if list.is_file() {
            let mut classes = Classes::default();
            let mut entries = Vec::new();
            for line in Lines::read(list)?.after(0) {
                let [_, path] = line.words()?;
                let (class, _) = path.split_once('/').ok_or_else(|| line.wrong("names no image in a folder"))?;
                entries.push(Entry::file(classes.place(class), None, None, path));
            }
            Listing { entries, classes: classes.into_names(), encoded: Encoded::files(&images), expected: Vec::new() }
        } else {
            Folder::default().list(&images)?
        };
        for entry in &mut listing.entries {
            let class = &listing.classes[entry.class];
            let number = class.split('.').next().and_then(|number| number.parse::<u32>().ok()).ok_or_else(|| {
                StageError::input(format!("The folder `{class}` of CUB-200-2011 does not begin with a number"))
            })?;
            entry.split = Some(if number <= LAST_TRAINED { Split::Train } else { Split::Test });
        }
        listing.expected = EXPECTED.to_vec();
        Ok(listing)
    }
}
