//! Data sets: each a file that knows a layout and lists its images; pixels are read later.
//!
//! Read [`folder`] first, its siblings look alike: the parameters, then `list`. To add one: write its file, add a line to
//! [`Dataset`] and one to [`Dataset::list`].

pub mod cars;
pub mod cub;
mod described;
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

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::encoded::Encoded;
use crate::error::StageError;
use crate::tables::Split;

/// A data set: its name, or a table with its `kind` and what else there is to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Dataset {
    /// A folder of image files for each class.
    Folder(folder::Folder),
    /// The four files of MNIST and its relatives.
    Idx(idx::Idx),
    /// A list of image files: CSV, TSV, Parquet or Arrow.
    List(list::List),
    /// Parquet with the bytes of image files.
    Parquet(parquet::Parquet),
    /// Stanford Online Products.
    Sop(sop::Sop),
    /// Cars196.
    Cars(cars::Cars),
    /// CUB-200-2011.
    Cub(cub::Cub),
    /// In-Shop Clothes Retrieval.
    InShop(in_shop::InShop),
    /// PKU VehicleID.
    VehicleId(vehicle_id::VehicleId),
    /// Market-1501.
    Market(market::Market),
}

impl Dataset {
    /// Every image of the data set, in its own order.
    ///
    /// # Errors
    /// A file is missing, unreadable or not in the layout; the message names it.
    pub fn list(&self, root: &Path) -> Result<Listing, StageError> {
        let listing = match self {
            Dataset::Folder(dataset) => dataset.list(root),
            Dataset::Idx(dataset) => dataset.list(root),
            Dataset::List(dataset) => dataset.list(root),
            Dataset::Parquet(dataset) => dataset.list(root),
            Dataset::Sop(dataset) => dataset.list(root),
            Dataset::Cars(dataset) => dataset.list(root),
            Dataset::Cub(dataset) => dataset.list(root),
            Dataset::InShop(dataset) => dataset.list(root),
            Dataset::VehicleId(dataset) => dataset.list(root),
            Dataset::Market(dataset) => dataset.list(root),
        }?;
        if listing.entries.is_empty() {
            return Err(StageError::input(format!("There is no image in `{}`", root.display())));
        }
        // Only what lies below the root is in the key.
        match listing.entries.iter().find(|entry| entry.place.leads_outside()) {
            Some(entry) => {
                Err(StageError::input(format!("The image `{}` lies outside `{}`", entry.source, root.display())))
            }
            None => Ok(listing),
        }
    }
}

/// What a data set holds.
pub struct Listing {
    /// Its images, in its own order.
    pub entries: Vec<Entry>,
    /// Names of the classes; an entry's class is a place in this list.
    pub classes: Vec<String>,
    /// Where the images' bytes come from.
    pub encoded: Encoded,
    /// What the data set is known to hold, so that an incomplete copy is noticed.
    pub expected: Vec<Expected>,
}

/// One image before its pixels are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Place of its class in the list of classes.
    pub class: usize,
    /// What it is for, where the data set says so.
    pub split: Option<Split>,
    /// Which camera took it, where the data set says so.
    pub camera: Option<u16>,
    /// Where it is from: the file relative to the root, or what the data set says.
    pub source: String,
    /// Where its bytes are, as [`Encoded`] counts.
    pub place: Place,
}

impl Entry {
    /// An image in the file at `path` below the root, with `/` between folders.
    pub(super) fn file(class: usize, split: Option<Split>, camera: Option<u16>, path: &str) -> Self {
        Self { class, split, camera, source: path.to_owned(), place: Place::File(PathBuf::from(path)) }
    }
}

/// Where the bytes of an image are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file below the root.
    File(PathBuf),
    /// A row, counted through all tables or arrays of the data set.
    Row(usize),
}

impl Place {
    fn leads_outside(&self) -> bool {
        matches!(self, Place::File(path) if leads_outside(path))
    }
}

/// Whether a path may leave the folder that it is relative to.
fn leads_outside(path: &Path) -> bool {
    !path.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir))
}

/// How many images and classes a split is known to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The split.
    pub split: Split,
    /// Its images.
    pub images: usize,
    /// Its classes.
    pub classes: usize,
}

/// Names of classes, numbered by first appearance.
#[derive(Default)]
pub(super) struct Classes {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

impl Classes {
    pub(super) fn place(&mut self, name: &str) -> usize {
        if let Some(&place) = self.places.get(name) {
            return place;
        }
        self.names.push(name.to_owned());
        self.places.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.names
    }
}

/// Names of files and folders in `folder`, sorted by bytes; hidden ones are left out.
pub(super) fn sorted_names(folder: &Path) -> Result<Vec<String>, StageError> {
    let read = |source| StageError::file("read the folder", folder, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        let name = name.into_string().map_err(|name| {
            let path = folder.join(name);
            StageError::input(format!("The name of `{}` is not UTF-8", path.display()))
        })?;
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Reads a data set that is written as its name alone or as a table.
pub(super) fn named_or_table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Dataset, D::Error> {
    struct NamedOrTable;
    impl<'de> Visitor<'de> for NamedOrTable {
        type Value = Dataset;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("the name of a data set, or a table with its `kind`")
        }

        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Dataset, E> {
            Dataset::deserialize(MapDeserializer::new([("kind", name)].into_iter()))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Dataset, A::Error> {
            Dataset::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_any(NamedOrTable)
}

/// The schema of what [`named_or_table`] reads.
pub(super) fn named_or_table_schema(generator: &mut SchemaGenerator) -> Schema {
    let table = generator.subschema_for::<Dataset>();
    schemars::json_schema!({ "anyOf": [{ "type": "string" }, table] })
}
