//! Stanford Online Products: 120,053 pictures of 22,634 products for sale.
//!
//! Source: Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding", CVPR 2016. The folder as it is
//! distributed: `Ebay_train.txt`, `Ebay_test.txt` (`image_id class_id super_class_id path`, a line of headings first) and a
//! folder of images for each of the twelve kinds of product.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lines::Lines;
use super::{Classes, Entry, Expected, Listing};
use crate::decode::encoded::Encoded;
use crate::error::StageError;
use crate::tables::Split;

const EXPECTED: [Expected; 2] = [
    Expected { split: Split::Train, images: 59_551, classes: 11_318 },
    Expected { split: Split::Test, images: 60_502, classes: 11_316 },
];

/// Stanford Online Products.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sop {}

impl Sop {
    pub(super) fn list(&self, root: &Path) -> Result<Listing, StageError> {
        let mut classes = Classes::default();
        let mut entries = Vec::new();
        for (split, name) in [(Split::Train, "Ebay_train.txt"), (Split::Test, "Ebay_test.txt")] {
            for line in Lines::read(root.join(name))?.after(1) {
                let [_, class, _, path] = line.words()?;
                entries.push(Entry::file(classes.place(class), Some(split), None, path));
            }
        }
        let (classes, expected) = (classes.into_names(), EXPECTED.to_vec());
        Ok(Listing { entries, classes, encoded: Encoded::files(root), expected })
    }
}
