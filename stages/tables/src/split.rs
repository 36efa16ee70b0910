//! The purpose of an image: training, choosing a model, or testing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{DictionaryArray, StringArray, UInt32Array, types::UInt32Type};
use arrow::datatypes::DataType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The purpose of an image. Test, query and gallery classes are never trained on; validation classes are held out of the
/// training classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Training.
    Train,
    /// Choosing a model, with classes held out of the training classes.
    Validation,
    /// Evaluation: each image is a query among all others.
    Test,
    /// Evaluation: searched for in the gallery.
    Query,
    /// Evaluation: the images that queries are compared with.
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

/// A text that does not name a split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unknown split `{0}`; it must be `train`, `validation`, `test`, `query` or `gallery`")]
pub struct UnknownSplit(pub String);

impl FromStr for Split {
    type Err = UnknownSplit;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Split::ALL.into_iter().find(|split| split.name() == text).ok_or_else(|| UnknownSplit(text.to_owned()))
    }
}

/// The type of a column of splits: text with few distinct values.
pub(crate) fn data_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
}

/// The column of these splits. Its dictionary is always the same five names.
pub(crate) fn array(splits: &[Split]) -> DictionaryArray<UInt32Type> {
    let keys: UInt32Array = splits.iter().map(|&split| split as u32).collect::<Vec<_>>().into();
    let names = StringArray::from_iter_values(Split::ALL.map(Split::name));
    DictionaryArray::try_new(keys, Arc::new(names)).expect("every split is a key into the five names")
}

pub(crate) fn parse_all<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<Split>, UnknownSplit> {
    texts.map(str::parse).collect()
}
