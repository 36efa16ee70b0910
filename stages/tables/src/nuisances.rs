//! The nearest neighbour of each query when the images are perturbed, which shows the queries that a nuisance turns from right to wrong.

use std::sync::Arc;

use arrow::array::types::{Float32Type, UInt32Type};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float32Array, StringDictionaryBuilder, UInt32Array};
use arrow::datatypes::DataType;

use crate::artifact::{InputArtifact, OutputArtifact};
use crate::error::TableError;
use crate::file::{Form, batch};
use crate::kind::ArtifactKind;
use crate::schema::{TableSchema, category, column, optional};
use crate::split::{self, Split};
use crate::table::Table;
use crate::write::write_table;

/// The schema of the table.
pub fn schema() -> TableSchema {
    TableSchema::new(
        ArtifactKind::Nuisances,
        "nuisances",
        vec![
            column(
                "nuisance",
                category(),
                "none",
                "the perturbation of the query and of the images that it is searched in",
            ),
            column("id", DataType::UInt32, "none", "the query image, in the order of the table `queries`"),
            column("split", split::data_type(), "none", "split of the query"),
            optional("nearest", DataType::UInt32, "none", "id of the nearest image; null if there is none"),
            optional("distance", DataType::Float32, "embedding units", "its Euclidean distance"),
            optional(
                "hit",
                DataType::Boolean,
                "none",
                "whether the nearest image is of the query's class; null if there is no image of its class to find",
            ),
        ],
    )
}

/// One query under one nuisance.
#[derive(Clone, Debug, PartialEq)]
pub struct NuisanceRow {
    /// Name of the nuisance.
    pub nuisance: String,
    /// The query image.
    pub id: u32,
    /// Its split.
    pub split: Split,
    /// The nearest image and its Euclidean distance; `None` if there is none.
    pub nearest: Option<(u32, f32)>,
    /// Whether that is of the query's class; `None` if there is no image of its class to find.
    pub hit: Option<bool>,
}

/// Writes the table.
///
/// # Errors
/// The file cannot be written.
pub fn write(output: &mut OutputArtifact, rows: &[NuisanceRow]) -> Result<(), TableError> {
    let schema = schema();
    let mut names = StringDictionaryBuilder::<UInt32Type>::new();
    rows.iter().for_each(|row| names.append_value(&row.nuisance));
    let splits: Vec<_> = rows.iter().map(|row| row.split).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(names.finish()),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.id))),
        Arc::new(split::array(&splits)),
        Arc::new(rows.iter().map(|row| row.nearest.map(|nearest| nearest.0)).collect::<UInt32Array>()),
        Arc::new(rows.iter().map(|row| row.nearest.map(|nearest| nearest.1)).collect::<Float32Array>()),
        Arc::new(rows.iter().map(|row| row.hit).collect::<BooleanArray>()),
    ];
    write_table(output, &schema, Form::Parquet, &batch(&schema.columns, columns)?)
}

/// Reads the table of an artifact all of whose columns are declared.
///
/// # Errors
/// The file is damaged, or a column is missing or not declared.
pub fn open(artifact: &InputArtifact) -> Result<Vec<NuisanceRow>, TableError> {
    let rows = Table::open(artifact, schema())?;
    let (names, ids) = (rows.texts("nuisance")?, rows.u32s("id")?);
    let splits = split::parse_all(rows.texts("split")?)?;
    let (nearest, distances) = (rows.numbers::<UInt32Type>("nearest")?, rows.numbers::<Float32Type>("distance")?);
    let hits = rows.array("hit")?.as_boolean();
    let row = |(row, name): (usize, &str)| NuisanceRow {
        nuisance: name.to_owned(),
        id: ids[row],
        split: splits[row],
        nearest: nearest.is_valid(row).then(|| (nearest.value(row), distances.value(row))),
        hit: hits.is_valid(row).then(|| hits.value(row)),
    };
    Ok(names.enumerate().map(row).collect())
}
