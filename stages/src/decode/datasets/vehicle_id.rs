//! PKU VehicleID: pictures of vehicles by roadside cameras.
//!
//! Source: Liu et al., "Deep Relative Distance Learning: Tell the Difference Between Similar Vehicles", CVPR 2016. Layout as
//! distributed: `train_test_split/train_list.txt` and `test_list_800.txt`, `…_1600`, `…_2400` (`image vehicle`), and
//! `image/0000001.jpg`.

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

const TRAIN: ExpectedCount = ExpectedCount { split: Split::Train, images: 110_178, classes: 13_134 };

const DISTRIBUTION: Distribution = Distribution {
    name: "PKU VehicleID",
    page: "https://www.pkuml.org/resources/pku-vehicleid.html",
    layout: "`image` and `train_test_split`",
};

/// PKU VehicleID.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VehicleId {
    /// Which of the three test lists to use.
    pub test: TestList,
}

/// A test list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestList {
    /// 800 vehicles.
    Small,
    /// 1,600 vehicles.
    Medium,
    /// 2,400 vehicles.
    #[default]
    Large,
}

impl Dataset for VehicleId {
    fn list(&self, root: &DataFolder) -> Result<Listing, DecodeError> {
        let (vehicles, test_images) = match self.test {
            TestList::Small => (800, 7_332),
            TestList::Medium => (1_600, 12_995),
            TestList::Large => (2_400, 20_038),
        };
        let test = format!("test_list_{vehicles}.txt");
        let mut images = FileListing::new(root);
        for (split, name) in [(Split::Train, "train_list.txt"), (Split::Test, test.as_str())] {
            for line in Lines::read(root.join("train_test_split").join(name))?.after(0) {
                let [image, vehicle] = line.words()?;
                images.add(&format!("image/{image}.jpg"), vehicle, Some(split), None);
            }
        }
        Ok(images.finish(&[TRAIN, ExpectedCount { split: Split::Test, images: test_images, classes: vehicles }]))
    }

    fn distribution(&self) -> Option<&'static Distribution> {
        Some(&DISTRIBUTION)
    }
}
