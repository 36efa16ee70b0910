//! What each query found: what a paired test between two models needs, and what pictures of errors are made from.

use std::path::Path;
use std::sync::Arc;

use arrow::array::types::{Float32Type, UInt32Type};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListArray, PrimitiveArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field};

use super::file::{Form, batch};
use super::rows::Rows;
use super::schema::{Description, column, list, optional};
use super::split::{self, Split};
use super::write_table;
use crate::context::{Context, InputArtifact};
use crate::error::StageError;
use crate::kind::Kind;

/// The table.
pub fn description() -> Description {
    Description::new(
        Kind::Queries,
        "queries",
        vec![
            column("id", DataType::UInt32, "none", "the image that was searched for, as in the table of images"),
            column("label", DataType::UInt32, "none", "its class"),
            column("split", split::data_type(), "none", "its split"),
            column("neighbours", list(DataType::UInt32), "none", "ids of the images found, nearest first"),
            column("distances", list(DataType::Float32), "embedding units", "their Euclidean distances"),
            column("hit", DataType::Boolean, "none", "whether the nearest is of the same class: recall at 1"),
            optional(
                "first_hit",
                DataType::UInt32,
                "none",
                "rank from 1 of the nearest of the same class; null where none is among those that were searched",
            ),
            column("r_precision", DataType::Float64, "0 to 1", "the query's share of the R-precision"),
            column("average_precision", DataType::Float64, "0 to 1", "the query's share of MAP@R, with cameras of mAP"),
        ],
    )
}

/// One query.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryRow {
    /// The image that was searched for.
    pub id: u32,
    /// Its class.
    pub label: u32,
    /// Its split.
    pub split: Split,
    /// Ids of the images found, nearest first.
    pub neighbours: Vec<u32>,
    /// Their Euclidean distances.
    pub distances: Vec<f32>,
    /// Whether the nearest is of the same class.
    pub hit: bool,
    /// Rank from 1 of the nearest of the same class, where one is among those that were searched: the query's recall at any k.
    pub first_hit: Option<u32>,
    /// The query's share of the R-precision.
    pub r_precision: f64,
    /// The query's share of MAP@R, with cameras of mAP.
    pub average_precision: f64,
}

/// Writes the table as the output called `output`.
///
/// # Errors
/// The file cannot be written.
pub fn write(context: &mut Context<'_>, output: &str, rows: &[QueryRow]) -> Result<(), StageError> {
    let description = description();
    let splits: Vec<_> = rows.iter().map(|row| row.split).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.id))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.label))),
        Arc::new(split::array(&splits)),
        Arc::new(lists::<UInt32Type>(rows.iter().map(|row| row.neighbours.as_slice()))),
        Arc::new(lists::<Float32Type>(rows.iter().map(|row| row.distances.as_slice()))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.hit)))),
        Arc::new(rows.iter().map(|row| row.first_hit).collect::<UInt32Array>()),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.r_precision))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.average_precision))),
    ];
    write_table(context, output, &description, Form::Parquet, &batch(&description.schema, columns)?)
}

/// Reads the table of a port, which takes it whole.
///
/// # Errors
/// The file is damaged, or a column is not there or not declared.
pub fn open(artifact: &InputArtifact) -> Result<Vec<QueryRow>, StageError> {
    rows_of(&Rows::open(artifact, description())?)
}

/// Reads the table in the file at `path`.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> Result<Vec<QueryRow>, StageError> {
    rows_of(&super::read_file(path, description())?)
}

fn rows_of(rows: &Rows) -> Result<Vec<QueryRow>, StageError> {
    let (ids, labels) = (rows.u32s("id")?, rows.u32s("label")?);
    let splits = split::parse_all(rows.texts("split")?)?;
    let (neighbours, distances) =
        (rows.array("neighbours")?.as_list::<i32>(), rows.array("distances")?.as_list::<i32>());
    let hits = rows.array("hit")?.as_boolean();
    let first_hits = rows.numbers::<UInt32Type>("first_hit")?;
    let (r_precisions, average_precisions) = (rows.f64s("r_precision")?, rows.f64s("average_precision")?);
    let row = |row: usize| QueryRow {
        id: ids[row],
        label: labels[row],
        split: splits[row],
        neighbours: neighbours.value(row).as_primitive::<UInt32Type>().values().to_vec(),
        distances: distances.value(row).as_primitive::<Float32Type>().values().to_vec(),
        hit: hits.value(row),
        first_hit: first_hits.is_valid(row).then(|| first_hits.value(row)),
        r_precision: r_precisions[row],
        average_precision: average_precisions[row],
    };
    Ok((0..rows.len()).map(row).collect())
}

fn lists<'a, T: ArrowPrimitiveType>(rows: impl Iterator<Item = &'a [T::Native]> + Clone) -> ListArray {
    let offsets = OffsetBuffer::from_lengths(rows.clone().map(<[T::Native]>::len));
    let values: Vec<T::Native> = rows.flatten().copied().collect();
    let item = Arc::new(Field::new_list_field(T::DATA_TYPE, false));
    ListArray::new(item, offsets, Arc::new(PrimitiveArray::<T>::from_iter_values(values)), None)
}
