//! The result of each query: for paired tests between two models, and for pictures of errors.

use std::path::Path;
use std::sync::Arc;

use arrow::array::types::{Float32Type, Float64Type, UInt32Type};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListArray, PrimitiveArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field};

use crate::artifact::{InputArtifact, OutputArtifact};
use crate::error::TableError;
use crate::file::{Form, batch};
use crate::kind::ArtifactKind;
use crate::schema::{TableSchema, column, list, optional};
use crate::split::{self, Split};
use crate::table::Table;
use crate::write::write_table;

/// The schema of the table.
pub fn schema() -> TableSchema {
    TableSchema::new(
        ArtifactKind::Queries,
        "queries",
        vec![
            column("id", DataType::UInt32, "none", "the query image, as in the table of images"),
            column("label", DataType::UInt32, "none", "class of the query"),
            column("split", split::data_type(), "none", "split of the query"),
            column("neighbours", list(DataType::UInt32), "none", "ids of the nearest images, nearest first"),
            column("distances", list(DataType::Float32), "embedding units", "Euclidean distances of the neighbours"),
            column("hit", DataType::Boolean, "none", "whether the nearest image is of the same class: Recall@1"),
            optional(
                "first_hit",
                DataType::UInt32,
                "none",
                "rank, from 1, of the nearest image of the same class; null if it is beyond the neighbours that were searched",
            ),
            optional(
                "r_precision",
                DataType::Float64,
                "0 to 1",
                "R-precision of the query; null if there is no image of its class to find",
            ),
            optional(
                "average_precision",
                DataType::Float64,
                "0 to 1",
                "average precision of the query: at R, or over the whole ranking if the data set has cameras; null like `r_precision`",
            ),
        ],
    )
}

/// One query.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryRow {
    /// The query image.
    pub id: u32,
    /// Its class.
    pub label: u32,
    /// Its split.
    pub split: Split,
    /// Ids of the nearest images, nearest first.
    pub neighbours: Vec<u32>,
    /// Their Euclidean distances.
    pub distances: Vec<f32>,
    /// Whether the nearest image is of the same class.
    pub hit: bool,
    /// Rank, from 1, of the nearest image of the same class, if it is among the searched neighbours; it gives Recall@k for any k.
    pub first_hit: Option<u32>,
    /// R-precision of the query.
    pub r_precision: Option<f64>,
    /// Average precision of the query: at R, or over the whole ranking if the data set has cameras.
    pub average_precision: Option<f64>,
}

/// Writes the table.
///
/// # Errors
/// The file cannot be written.
pub fn write(output: &mut OutputArtifact, rows: &[QueryRow]) -> Result<(), TableError> {
    let schema = schema();
    let splits: Vec<_> = rows.iter().map(|row| row.split).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.id))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.label))),
        Arc::new(split::array(&splits)),
        Arc::new(lists::<UInt32Type>(rows.iter().map(|row| row.neighbours.as_slice()))),
        Arc::new(lists::<Float32Type>(rows.iter().map(|row| row.distances.as_slice()))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.hit)))),
        Arc::new(rows.iter().map(|row| row.first_hit).collect::<UInt32Array>()),
        Arc::new(rows.iter().map(|row| row.r_precision).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.average_precision).collect::<Float64Array>()),
    ];
    write_table(output, &schema, Form::Parquet, &batch(&schema.columns, columns)?)
}

/// Reads the table of an artifact all of whose columns are declared.
///
/// # Errors
/// The file is damaged, or a column is missing or not declared.
pub fn open(artifact: &InputArtifact) -> Result<Vec<QueryRow>, TableError> {
    rows_of(&Table::open(artifact, schema())?)
}

/// Reads the table in the file at `path`.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> Result<Vec<QueryRow>, TableError> {
    rows_of(&Table::read_file(path, schema())?)
}

fn rows_of(rows: &Table) -> Result<Vec<QueryRow>, TableError> {
    let (ids, labels) = (rows.u32s("id")?, rows.u32s("label")?);
    let splits = split::parse_all(rows.texts("split")?)?;
    let (neighbours, distances) =
        (rows.array("neighbours")?.as_list::<i32>(), rows.array("distances")?.as_list::<i32>());
    let hits = rows.array("hit")?.as_boolean();
    let first_hits = rows.numbers::<UInt32Type>("first_hit")?;
    let number = |name: &str| rows.numbers::<Float64Type>(name);
    let (r_precisions, average_precisions) = (number("r_precision")?, number("average_precision")?);
    let value = |column: &PrimitiveArray<Float64Type>, row: usize| column.is_valid(row).then(|| column.value(row));
    let row = |row: usize| QueryRow {
        id: ids[row],
        label: labels[row],
        split: splits[row],
        neighbours: neighbours.value(row).as_primitive::<UInt32Type>().values().to_vec(),
        distances: distances.value(row).as_primitive::<Float32Type>().values().to_vec(),
        hit: hits.value(row),
        first_hit: first_hits.is_valid(row).then(|| first_hits.value(row)),
        r_precision: value(r_precisions, row),
        average_precision: value(average_precisions, row),
    };
    Ok((0..rows.len()).map(row).collect())
}

fn lists<'a, T: ArrowPrimitiveType>(rows: impl Iterator<Item = &'a [T::Native]> + Clone) -> ListArray {
    let offsets = OffsetBuffer::from_lengths(rows.clone().map(<[T::Native]>::len));
    let values: Vec<T::Native> = rows.flatten().copied().collect();
    let item = Arc::new(Field::new_list_field(T::DATA_TYPE, false));
    ListArray::new(item, offsets, Arc::new(PrimitiveArray::<T>::from_iter_values(values)), None)
}
