//! Stanford Online Products: 120,053 pictures of 22,634 products for sale.
//!
//! Source: Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding", CVPR 2016. Layout as distributed:
//! `Ebay_train.txt` and `Ebay_test.txt` (`image_id class_id super_class_id path` after a line of headings), and a folder of
//! images for each of the twelve kinds of product.

use dnc_tables::Split;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::lines::Lines;
use crate::decode::data_folder::DataFolder;
use crate::decode::distribution::Distribution;
use crate::decode::entry::ExpectedCount;
use crate::decode::error::DecodeError;
use crate::decode::listing::{FileListing, Listing};

const EXPECTED: [ExpectedCount; 2] = [
    ExpectedCount { split: Split::Train, images: 59_551, classes: 11_318 },
    ExpectedCount { split: Split::Test, images: 60_502, classes: 11_316 },
];

const DISTRIBUTION: Distribution = Distribution {
    name: "Stanford Online Products",
    page: "https://cvgl.stanford.edu/projects/lifted_struct/",
    layout: "`Ebay_train.txt`, `Ebay_test.txt` and the image folders such as `bicycle_final`",
};

/// Stanford Online Products.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sop {}

impl Dataset for Sop {
    fn list(&self, root: &DataFolder) -> Result<Listing, DecodeError> {
        let mut images = FileListing::new(root);
        for (split, name) in [(Split::Train, "Ebay_train.txt"), (Split::Test, "Ebay_test.txt")] {
            for line in Lines::read(root.join(name))?.after(1) {
                let [_, class, _, path] = line.words()?;
                images.add(path, class, Some(split), None);
            }
        }
        Ok(images.finish(&EXPECTED))
    }

    fn distribution(&self) -> Option<&'static Distribution> {
        Some(&DISTRIBUTION)
    }
}
