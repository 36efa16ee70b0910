//! Cars196: 16,185 pictures of 196 models of cars; the first 98 are trained on.
//!
//! Source: Krause et al., "3D Object Representations for Fine-Grained Categorization", 3dRR 2013; the split is that of Song et
//! al., CVPR 2016. The folder as it is distributed: `cars_annos.mat`, whose `annotations` have `relative_im_path` and
//! `class`, and the images below `car_ims/`.

use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mat::{Value, variables};
use super::{Classes, Entry, Expected, Listing};
use crate::decode::encoded::Encoded;
use crate::error::StageError;
use crate::tables::Split;

const EXPECTED: [Expected; 2] = [
    Expected { split: Split::Train, images: 8_054, classes: 98 },
    Expected { split: Split::Test, images: 8_131, classes: 98 },
];

/// The last model that is trained on.
const LAST_TRAINED: u32 = 98;

/// Cars196.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cars {}

impl Cars {
    pub(super) fn list(&self, root: &Path) -> Result<Listing, StageError> {
        let path = root.join("cars_annos.mat");
        let bytes = fs::read(&path).map_err(|source| StageError::file("read", &path, source))?;
        let wrong = |problem: &str| StageError::input(format!("`{}` {problem}", path.display()));
        let mut variables = variables(&bytes).map_err(wrong)?;
        let names = match variables.remove("class_names") {
            Some(Value::Cells(names)) => names,
            _ => Vec::new(),
        };
        let Some(Value::Structs(annotations)) = variables.remove("annotations") else {
            return Err(wrong("has no structs `annotations`"));
        };
        let mut classes = Classes::default();
        let mut entries = Vec::new();
        for annotation in annotations {
            let (Some(Value::Text(image)), Some(Value::Numbers(class))) =
                (annotation.get("relative_im_path"), annotation.get("class"))
            else {
                return Err(wrong("has an annotation without `relative_im_path` or `class`"));
            };
            let number = *class.first().ok_or_else(|| wrong("has an annotation with an empty `class`"))? as u32;
            let name = match names.get((number as usize).wrapping_sub(1)) {
                Some(Value::Text(name)) => name.clone(),
                _ => number.to_string(),
            };
            let split = if number <= LAST_TRAINED { Split::Train } else { Split::Test };
            entries.push(Entry::file(classes.place(&name), Some(split), None, image));
        }
        let (classes, expected) = (classes.into_names(), EXPECTED.to_vec());
        Ok(Listing { entries, classes, encoded: Encoded::files(root), expected })
    }
}
