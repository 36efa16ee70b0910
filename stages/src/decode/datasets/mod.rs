//! Data sets: each is one file that knows a layout on disk and lists the images in it.
//!
//! **Reading order** `dataset`, the trait; [`folder`], the simplest layout; then its siblings: the parameters, then `list`.
//!
//! To add a data set, write its file, and add a line to [`DatasetConfig`] and one to [`DatasetConfig::as_dataset`]. Images that
//! are separate files need no more; other formats, such as archives, bring their own
//! [`ImageReader`](super::encoded::ImageReader).

pub mod cars;
mod columns;
mod csv;
pub mod cub;
mod dataset;
mod described_rows;
pub mod folder;
pub mod idx;
pub mod in_shop;
mod lines;
pub mod list;
pub mod market;
mod mat;
pub mod parquet;
pub mod sop;
pub mod vehicle_id;

use std::io;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

pub use cars::Cars;
pub(super) use csv::check_quotes;
pub use csv::{DELIMITERS, records as csv_records};
pub use cub::Cub;
pub use dataset::Dataset;
pub use folder::Folder;
pub use idx::Idx;
pub use in_shop::InShop;
pub use list::List;
pub use market::Market;
pub use parquet::Parquet;
pub use sop::Sop;
pub use vehicle_id::VehicleId;

use super::data_folder::DataFolder;
use super::error::DecodeError;
use super::listing::Listing;

/// Data set and its parameters, as in `{ kind = "folder", by_split = true }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DatasetConfig {
    /// A folder of image files for each class.
    Folder(Folder),
    /// The four IDX files of MNIST, Fashion-MNIST and similar data sets.
    Idx(Idx),
    /// A list of image files: CSV, TSV, Parquet or Arrow.
    List(List),
    /// Parquet files that contain the bytes of image files.
    Parquet(Parquet),
    /// Stanford Online Products.
    Sop(Sop),
    /// Cars196.
    Cars(Cars),
    /// CUB-200-2011.
    Cub(Cub),
    /// In-Shop Clothes Retrieval.
    InShop(InShop),
    /// PKU VehicleID.
    VehicleId(VehicleId),
    /// Market-1501.
    Market(Market),
}

impl DatasetConfig {
    /// The configured data set.
    pub fn as_dataset(&self) -> &dyn Dataset {
        match self {
            DatasetConfig::Folder(dataset) => dataset,
            DatasetConfig::Idx(dataset) => dataset,
            DatasetConfig::List(dataset) => dataset,
            DatasetConfig::Parquet(dataset) => dataset,
            DatasetConfig::Sop(dataset) => dataset,
            DatasetConfig::Cars(dataset) => dataset,
            DatasetConfig::Cub(dataset) => dataset,
            DatasetConfig::InShop(dataset) => dataset,
            DatasetConfig::VehicleId(dataset) => dataset,
            DatasetConfig::Market(dataset) => dataset,
        }
    }

    /// Whether images may come with the split `validation`. The published data sets have none.
    pub fn may_have_validation(&self) -> bool {
        matches!(self, DatasetConfig::Folder(_) | DatasetConfig::List(_) | DatasetConfig::Parquet(_))
    }

    /// As [`Dataset::list`].
    ///
    /// # Errors
    /// As [`Dataset::list`].
    pub fn list(&self, root: &DataFolder) -> Result<Listing, DecodeError> {
        self.as_dataset().list(root).map_err(|error| self.incomplete(root.path(), error))
    }

    /// The error that a file of a published data set is missing, with what the data set should contain.
    fn incomplete(&self, root: &Path, error: DecodeError) -> DecodeError {
        match (error, self.as_dataset().distribution()) {
            (DecodeError::File { path, source, .. }, Some(distribution))
                if source.kind() == io::ErrorKind::NotFound =>
            {
                DecodeError::Incomplete { root: root.to_owned(), path, distribution }
            }
            (error, _) => error,
        }
    }
}

/// Reads a data set given by its name alone or as a table.
pub(crate) fn named_or_table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DatasetConfig, D::Error> {
    struct NamedOrTable;
    impl<'de> Visitor<'de> for NamedOrTable {
        type Value = DatasetConfig;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("the name of a data set, or a table with its `kind`")
        }

        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<DatasetConfig, E> {
            DatasetConfig::deserialize(MapDeserializer::new([("kind", name)].into_iter()))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DatasetConfig, A::Error> {
            DatasetConfig::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_any(NamedOrTable)
}

/// The JSON Schema of what [`named_or_table`] reads.
pub(crate) fn named_or_table_schema(generator: &mut SchemaGenerator) -> Schema {
    let table = generator.subschema_for::<DatasetConfig>();
    schemars::json_schema!({ "anyOf": [{ "type": "string" }, table] })
}
