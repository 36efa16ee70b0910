//! In-Shop Clothes Retrieval: 52,712 pictures of 7,982 garments; queries are searched in a gallery.
//!
//! Source: Liu et al., "DeepFashion", CVPR 2016. The folder as it is distributed: `list_eval_partition.txt` (also below
//! `Eval/`; the number of images, then headings, then `path item status`) and the images below `img/`.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lines::Lines;
use super::{Classes, Entry, Expected, Listing};
use crate::decode::encoded::Encoded;
use crate::error::StageError;
use crate::tables::Split;

const EXPECTED: [Expected; 3] = [
    Expected { split: Split::Train, images: 25_882, classes: 3_997 },
    Expected { split: Split::Query, images: 14_218, classes: 3_985 },
    Expected { split: Split::Gallery, images: 12_612, classes: 3_985 },
];

/// In-Shop Clothes Retrieval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InShop {}

impl InShop {
    pub(super) fn list(&self, root: &Path) -> Result<Listing, StageError> {
        let list = root.join("Eval/list_eval_partition.txt");
        let list = if list.is_file() { list } else { root.join("list_eval_partition.txt") };
        let mut classes = Classes::default();
        let mut entries = Vec::new();
        for line in Lines::read(list)?.after(2) {
            let [path, item, status] = line.words()?;
            let split = match status {
                "train" => Split::Train,
                "query" => Split::Query,
                "gallery" => Split::Gallery,
                _ => return Err(line.wrong(format!("has the status `{status}`"))),
            };
            entries.push(Entry::file(classes.place(item), Some(split), None, path));
        }
        let (classes, expected) = (classes.into_names(), EXPECTED.to_vec());
        Ok(Listing { entries, classes, encoded: Encoded::files(root), expected })
    }
}
