//! Cars196: 16,185 pictures of 196 models of cars; the first 98 are for training.
//!
//! Source: Krause et al., "3D Object Representations for Fine-Grained Categorization", 3dRR 2013; the split is that of Song et
//! al., CVPR 2016. Layout as distributed: `cars_annos.mat`, whose `annotations` have `relative_im_path` and `class`, and the
//! images below `car_ims/`.

use std::fs;

use dnc_tables::Split;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::mat::{Value, variables};
use crate::decode::data_folder::DataFolder;
use crate::decode::distribution::Distribution;
use crate::decode::entry::ExpectedCount;
use crate::decode::error::DecodeError;
use crate::decode::listing::{FileListing, Listing};

const EXPECTED: [ExpectedCount; 2] = [
    ExpectedCount { split: Split::Train, images: 8_054, classes: 98 },
    ExpectedCount { split: Split::Test, images: 8_131, classes: 98 },
];

const DISTRIBUTION: Distribution = Distribution {
    name: "Cars196",
    page: "https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
    layout: "`cars_annos.mat` and `car_ims`",
};

/// Number of the last model for training.
const LAST_TRAINED: u32 = 98;

/// Cars196.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cars {}

impl Dataset for Cars {
    fn list(&self, root: &DataFolder) -> Result<Listing, DecodeError> {
        let path = root.join("cars_annos.mat");
        let bytes = fs::read(&path).map_err(|source| DecodeError::file("read", &path, source))?;
        let malformed = |problem: &str| DecodeError::format(&path, problem);
        let mut variables = variables(&bytes).map_err(malformed)?;
        let names = match variables.remove("class_names") {
            Some(Value::Cells(names)) => names,
            _ => Vec::new(),
        };
        let Some(Value::Structs(annotations)) = variables.remove("annotations") else {
            return Err(malformed("has no structs `annotations`"));
        };
        let mut images = FileListing::new(root);
        for annotation in annotations {
            let (Some(Value::Text(image)), Some(Value::Numbers(class))) =
                (annotation.get("relative_im_path"), annotation.get("class"))
            else {
                return Err(malformed("has an annotation without `relative_im_path` or `class`"));
            };
            let number = *class.first().ok_or_else(|| malformed("has an annotation with an empty `class`"))? as u32;
            let name = match names.get((number as usize).wrapping_sub(1)) {
                Some(Value::Text(name)) => name.clone(),
                _ => number.to_string(),
            };
            let split = if number <= LAST_TRAINED { Split::Train } else { Split::Test };
            images.add(image, &name, Some(split), None);
        }
        Ok(images.finish(&EXPECTED))
    }

    fn distribution(&self) -> Option<&'static Distribution> {
        Some(&DISTRIBUTION)
    }
}
