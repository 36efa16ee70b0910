//! What an image is for: training, choosing a model, or testing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{DictionaryArray, StringArray, UInt32Array, types::UInt32Type};
use arrow::datatypes::DataType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::category;
use crate::error::StageError;

/// What an image is for. Test, query and gallery classes are never trained on; validation classes are held out of the
/// training classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Trained on.
    Train,
    /// Held out of the training classes, to choose a model by.
    Validation,
    /// Evaluated: each image is a query among all others.
    Test,
    /// Evaluated: searched for in the gallery.
    Query,
    /// Evaluated: what queries are searched in.
    Gallery,
}

impl Split {
    /// All splits, in the order in which tables list them.
    pub const ALL: [Split; 5] = [Split::Train, Split::Validation, Split::Test, Split::Query, Split::Gallery];

    /// The name in tables and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
            Split::Query => "query",
            Split::Gallery => "gallery",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Split::ALL.into_iter().find(|split| split.name() == text).ok_or_else(|| {
            format!("`{text}` is no split; it must be `train`, `validation`, `test`, `query` or `gallery`")
        })
    }
}

pub(super) fn data_type() -> DataType {
    category()
}

/// The column of these splits. Its dictionary is always the same five names.
pub(super) fn array(splits: &[Split]) -> DictionaryArray<UInt32Type> {
    let keys: UInt32Array = splits.iter().map(|&split| split as u32).collect::<Vec<_>>().into();
    let names = StringArray::from_iter_values(Split::ALL.map(Split::name));
    DictionaryArray::try_new(keys, Arc::new(names)).expect("every split is a key into the five names")
}

pub(super) fn parse_all<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<Split>, StageError> {
    texts.map(|text| text.parse().map_err(StageError::input)).collect()
}
