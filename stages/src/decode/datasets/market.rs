//! Market-1501: pictures of 1,501 persons by six cameras; queries are searched in a gallery with distractors.
//!
//! Source: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015. Layout as distributed:
//! `bounding_box_train`, `query` and `bounding_box_test` with files such as `0002_c1s1_000451_03.jpg`: person 2, camera 1.
//! Person −1 is junk, which counts neither as right nor as wrong and is left out; person 0 are distractors, which are kept.

use dnc_tables::Split;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::folder::passed_over;
use crate::decode::data_folder::{DataFolder, EntryKind};
use crate::decode::distribution::Distribution;
use crate::decode::entry::ExpectedCount;
use crate::decode::error::DecodeError;
use crate::decode::listing::{FileListing, Listing};

const EXPECTED: [ExpectedCount; 3] = [
    ExpectedCount { split: Split::Train, images: 12_936, classes: 751 },
    ExpectedCount { split: Split::Query, images: 3_368, classes: 750 },
    ExpectedCount { split: Split::Gallery, images: 15_913, classes: 751 },
];

const FOLDERS: [(Split, &str); 3] =
    [(Split::Train, "bounding_box_train"), (Split::Query, "query"), (Split::Gallery, "bounding_box_test")];

const DISTRIBUTION: Distribution = Distribution {
    name: "Market-1501",
    page: "https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html",
    layout: "`bounding_box_train`, `query` and `bounding_box_test`",
};

/// The person of junk images.
const JUNK: &str = "-1";

/// What is wrong with a name from which neither person nor camera can be read.
const UNLIKE_OTHERS: &str = "has a name unlike those of Market-1501, such as `0002_c1s1_000451_03.jpg`";

/// Market-1501.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Market {}

impl Dataset for Market {
    fn extensions(&self) -> &'static [&'static str] {
        &["jpg"]
    }

    fn list(&self, root: &DataFolder) -> Result<Listing, DecodeError> {
        let mut images = FileListing::new(root);
        for (split, folder) in FOLDERS {
            for entry in root.entries(folder)? {
                let path = format!("{folder}/{}", entry.name);
                match (entry.kind, person_and_camera(&entry.name)) {
                    (EntryKind::Junk, _) => images.strays.pass_over_junk(path),
                    (EntryKind::Folder(_), _) => images.strays.pass_over(path, "is a folder among the images"),
                    (EntryKind::File | EntryKind::Unreadable(_), _) if !entry.name.ends_with(".jpg") => {
                        images.strays.pass_over(path, passed_over(&entry.name).unwrap_or("does not end in `.jpg`"));
                    }
                    (EntryKind::Unreadable(reason), _) => images.add_unreadable(&path, reason),
                    (EntryKind::File, None) => images.add_unreadable(&path, UNLIKE_OTHERS),
                    (EntryKind::File, Some((JUNK, _))) => images.strays.pass_over_usual(path, "is of person −1: junk"),
                    (EntryKind::File, Some((person, camera))) => images.add(&path, person, Some(split), Some(camera)),
                }
            }
        }
        Ok(images.finish(&EXPECTED))
    }

    fn distribution(&self) -> Option<&'static Distribution> {
        Some(&DISTRIBUTION)
    }
}

/// `0002_c1s1_000451_03.jpg` is person `0002` under camera 1.
fn person_and_camera(name: &str) -> Option<(&str, u16)> {
    let (person, rest) = name.split_once('_')?;
    let (camera, _) = rest.strip_prefix('c')?.split_once('s')?;
    Some((person, camera.parse().ok()?))
}
