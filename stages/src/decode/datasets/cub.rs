//! CUB-200-2011: 11,788 pictures of 200 species of birds; the first 100 are for training.
//!
//! Source: Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", 2011; the split is that of Song et al., CVPR 2016. Layout as
//! distributed, the folder `CUB_200_2011`: `images.txt` (`id path`) and `images/001.Black_footed_Albatross/…`. Without the list,
//! the folders are read.

use dnc_tables::Split;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::folder::Folder;
use super::lines::Lines;
use crate::decode::data_folder::DataFolder;
use crate::decode::distribution::Distribution;
use crate::decode::entry::ExpectedCount;
use crate::decode::error::DecodeError;
use crate::decode::listing::{FileListing, Listing};

const EXPECTED: [ExpectedCount; 2] = [
    ExpectedCount { split: Split::Train, images: 5_864, classes: 100 },
    ExpectedCount { split: Split::Test, images: 5_924, classes: 100 },
];

const DISTRIBUTION: Distribution = Distribution {
    name: "CUB-200-2011",
    page: "https://www.vision.caltech.edu/datasets/cub_200_2011/",
    layout: "`images.txt` and `images`, named `CUB_200_2011` in the archive",
};

/// Number of the last species for training.
const LAST_TRAINED: u32 = 100;

/// CUB-200-2011.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cub {}

impl Dataset for Cub {
    fn list(&self, root: &DataFolder) -> Result<Listing, DecodeError> {
        let (list, pictures) = (root.join("images.txt"), root.below("images"));
        let folder = if pictures.path().is_dir() { &pictures } else { root };
        let mut listing = if list.is_file() {
            let mut images = FileListing::new(folder);
            for line in Lines::read(list)?.after(0) {
                let [_, path] = line.words()?;
                let (class, _) =
                    path.split_once('/').ok_or_else(|| line.error("names an image outside a class folder"))?;
                images.add(path, class, None, None);
            }
            images.finish(&[])
        } else {
            Folder::default().list(folder)?
        };
        for entry in &mut listing.entries {
            let class = &listing.classes[entry.class];
            let number = class.split('.').next().and_then(|number| number.parse::<u32>().ok());
            let number = number.ok_or_else(|| DecodeError::NamingScheme {
                name: class.clone(),
                dataset: "CUB-200-2011",
                form: "`001.Black_footed_Albatross`",
            })?;
            entry.split = Some(if number <= LAST_TRAINED { Split::Train } else { Split::Test });
        }
        listing.expected = EXPECTED.to_vec();
        Ok(listing)
    }

    fn distribution(&self) -> Option<&'static Distribution> {
        Some(&DISTRIBUTION)
    }
}
