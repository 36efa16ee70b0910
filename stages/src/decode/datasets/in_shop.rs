//! In-Shop Clothes Retrieval: 52,712 pictures of 7,982 garments; queries are searched in a gallery.
//!
//! Source: Liu et al., "DeepFashion", CVPR 2016. Layout as distributed: `list_eval_partition.txt`, possibly below `Eval/` (the
//! number of images, a line of headings, then `path item status`), and the images below `img/`, or `Img/img/` if the archive was
//! unpacked in its folder.

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

const EXPECTED: [ExpectedCount; 3] = [
    ExpectedCount { split: Split::Train, images: 25_882, classes: 3_997 },
    ExpectedCount { split: Split::Query, images: 14_218, classes: 3_985 },
    ExpectedCount { split: Split::Gallery, images: 12_612, classes: 3_985 },
];

const DISTRIBUTION: Distribution = Distribution {
    name: "In-Shop Clothes Retrieval",
    page: "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
    layout: "`img` and `Eval/list_eval_partition.txt`",
};

/// In-Shop Clothes Retrieval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InShop {}

impl Dataset for InShop {
    fn list(&self, root: &DataFolder) -> Result<Listing, DecodeError> {
        let list = root.join("Eval/list_eval_partition.txt");
        let list = if list.is_file() { list } else { root.join("list_eval_partition.txt") };
        let prefix = if root.join("Img/img").is_dir() && !root.join("img").is_dir() { "Img/" } else { "" };
        let mut images = FileListing::new(root);
        for line in Lines::read(list)?.after(2) {
            let [path, item, status] = line.words()?;
            let split = match status {
                "train" => Split::Train,
                "query" => Split::Query,
                "gallery" => Split::Gallery,
                _ => {
                    let problem = format!("has the status `{status}`; it must be `train`, `query` or `gallery`");
                    return Err(line.error(problem));
                }
            };
            images.add(&format!("{prefix}{path}"), item, Some(split), None);
        }
        Ok(images.finish(&EXPECTED))
    }

    fn distribution(&self) -> Option<&'static Distribution> {
        Some(&DISTRIBUTION)
    }
}
