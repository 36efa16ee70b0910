//! Market-1501: pictures of 1,501 persons by six cameras; queries are searched in a gallery with distractors.
//!
//! Source: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015. The folder as it is distributed:
//! `bounding_box_train`, `query` and `bounding_box_test` with files such as `0002_c1s1_000451_03.jpg`: person 2, camera 1.
//! Person −1 is junk, which counts neither as right nor as wrong and is left out; person 0 are distractors, which stay.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Classes, Entry, Expected, Listing, sorted_names};
use crate::decode::encoded::Encoded;
use crate::error::StageError;
use crate::tables::Split;

const EXPECTED: [Expected; 3] = [
    Expected { split: Split::Train, images: 12_936, classes: 751 },
    Expected { split: Split::Query, images: 3_368, classes: 750 },
    Expected { split: Split::Gallery, images: 15_913, classes: 751 },
];

const FOLDERS: [(Split, &str); 3] =
    [(Split::Train, "bounding_box_train"), (Split::Query, "query"), (Split::Gallery, "bounding_box_test")];

/// The person that junk is filed under.
const JUNK: &str = "-1";

/// Market-1501.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Market {}

impl Market {
    pub(super) fn list(&self, root: &Path) -> Result<Listing, StageError> {
        let mut classes = Classes::default();
        let mut entries = Vec::new();
        for (split, folder) in FOLDERS {
            for name in sorted_names(&root.join(folder))?.iter().filter(|name| name.ends_with(".jpg")) {
                let (person, camera) = person_and_camera(name).ok_or_else(|| {
                    StageError::input(format!(
                        "The file `{folder}/{name}` is not named as Market-1501 names its images"
                    ))
                })?;
                if person != JUNK {
                    entries.push(Entry::file(
                        classes.place(person),
                        Some(split),
                        Some(camera),
                        &format!("{folder}/{name}"),
                    ));
                }
            }
        }
        let (classes, expected) = (classes.into_names(), EXPECTED.to_vec());
        Ok(Listing { entries, classes, encoded: Encoded::files(root), expected })
    }
}

/// `0002_c1s1_000451_03.jpg` is person `0002` under camera 1.
fn person_and_camera(name: &str) -> Option<(&str, u16)> {
    let (person, rest) = name.split_once('_')?;
    let (camera, _) = rest.strip_prefix('c')?.split_once('s')?;
    Some((person, camera.parse().ok()?))
}
