//! An index of embeddings for approximate search: the rows list by list and, in tables beside them, the lists and how much is found.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, UInt32Array};
use arrow::datatypes::{DataType, Field};

use crate::artifact::{InputArtifact, OutputArtifact};
use crate::error::TableError;
use crate::file::{Form, batch};
use crate::kind::ArtifactKind;
use crate::schema::{TableSchema, column, vector};
use crate::split::{self, Split};
use crate::table::Table;
use crate::write::write_table;

/// The schema of the main table.
pub fn schema() -> TableSchema {
    schema_of(0)
}

/// The schema of the table of lists, beside it.
pub fn lists_schema() -> TableSchema {
    lists_schema_of(0)
}

/// The schema of the table of measured recall, beside it.
pub fn recall_schema() -> TableSchema {
    TableSchema::new(
        ArtifactKind::Index,
        "recall",
        vec![
            column("probes", DataType::UInt32, "lists", "number of lists that a query searches"),
            column("k", DataType::UInt32, "none", "number of nearest neighbours that are looked for"),
            column(
                "recall",
                DataType::Float64,
                "0 to 1",
                "mean share of the k true nearest neighbours that are found, over a sample of the rows as queries",
            ),
            column("scanned", DataType::Float64, "0 to 1", "mean share of all rows that are in these lists"),
            column("chosen", DataType::Boolean, "none", "whether a search probes so many lists by default"),
        ],
    )
}

/// What is found with so many probes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecallRow {
    /// Lists that a query searches.
    pub probes: u32,
    /// Nearest neighbours that are looked for.
    pub k: u32,
    /// Mean share of the true nearest neighbours that are found.
    pub recall: f64,
    /// Mean share of all rows that are in these lists.
    pub scanned: f64,
    /// Whether a search probes so many lists by default.
    pub chosen: bool,
}

/// An index, to write. Rows are ordered by list, and by id within a list.
#[derive(Clone, Debug)]
pub struct IndexRows<'a> {
    /// Image of each row.
    pub ids: Vec<u32>,
    /// Its label.
    pub labels: Vec<u32>,
    /// Its split.
    pub splits: &'a [Split],
    /// `[rows, dim]`. Not borrowed, since it may be half of the memory.
    pub vectors: Vec<f32>,
    /// Where each list ends.
    pub ends: Vec<u32>,
    /// The centroid of each list, `[lists, dim]`.
    pub centroids: Vec<f32>,
    /// Coordinates of a vector.
    pub dim: usize,
    /// What is found, by ascending probes.
    pub recall: &'a [RecallRow],
}

/// Writes the three tables.
///
/// # Errors
/// Columns of a table differ in length, or a file cannot be written.
pub fn write(output: &mut OutputArtifact, rows: IndexRows<'_>) -> Result<(), TableError> {
    let main = schema_of(rows.dim);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from(rows.ids)),
        Arc::new(UInt32Array::from(rows.labels)),
        Arc::new(split::array(rows.splits)),
        vectors("make the column `vector`", rows.vectors, rows.dim)?,
    ];
    write_table(output, &main, Form::Arrow, &batch(&main.columns, columns)?)?;

    let lists = lists_schema_of(rows.dim);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from(rows.ends)),
        vectors("make the column `lists.vector`", rows.centroids, rows.dim)?,
    ];
    write_table(output, &lists, Form::Parquet, &batch(&lists.columns, columns)?)?;

    let recall = recall_schema();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_iter_values(rows.recall.iter().map(|row| row.probes))),
        Arc::new(UInt32Array::from_iter_values(rows.recall.iter().map(|row| row.k))),
        Arc::new(Float64Array::from_iter_values(rows.recall.iter().map(|row| row.recall))),
        Arc::new(Float64Array::from_iter_values(rows.recall.iter().map(|row| row.scanned))),
        Arc::new(BooleanArray::from_iter(rows.recall.iter().map(|row| Some(row.chosen)))),
    ];
    write_table(output, &recall, Form::Parquet, &batch(&recall.columns, columns)?)
}

fn vectors(action: &'static str, values: Vec<f32>, dim: usize) -> Result<ArrayRef, TableError> {
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    let list = FixedSizeListArray::try_new(item, dim as i32, Arc::new(Float32Array::from(values)), None);
    Ok(Arc::new(list.map_err(|source| TableError::arrow(action, source))?))
}

/// An index, as read. Its vectors stay in the mapped file.
pub struct Index {
    rows: Table,
    lists: Table,
    recall: Vec<RecallRow>,
}

impl Index {
    /// Opens the three tables of an artifact, whose port must declare all columns.
    ///
    /// # Errors
    /// A file is damaged, or a column is missing.
    pub fn open(artifact: &InputArtifact) -> Result<Self, TableError> {
        let recall = Table::open(artifact, recall_schema())?;
        let (probes, k) = (recall.u32s("probes")?, recall.u32s("k")?);
        let (found, scanned) = (recall.f64s("recall")?, recall.f64s("scanned")?);
        let chosen = recall.array("chosen")?.as_boolean();
        let row = |row: usize| RecallRow {
            probes: probes[row],
            k: k[row],
            recall: found[row],
            scanned: scanned[row],
            chosen: chosen.value(row),
        };
        let recall = (0..recall.len()).map(row).collect();
        Ok(Self { rows: Table::open(artifact, schema())?, lists: Table::open(artifact, lists_schema())?, recall })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Image of each row.
    ///
    /// # Errors
    /// The port did not declare the column.
    pub fn ids(&self) -> Result<&[u32], TableError> {
        self.rows.u32s("id")
    }

    /// Split of each row.
    ///
    /// # Errors
    /// The port did not declare the column, or a value is not a split.
    pub fn splits(&self) -> Result<Vec<Split>, TableError> {
        Ok(split::parse_all(self.rows.texts("split")?)?)
    }

    /// All vectors, `[rows, dim]`.
    ///
    /// # Errors
    /// The port did not declare the column.
    pub fn vectors(&self) -> Result<&[f32], TableError> {
        Ok(self.rows.vectors("vector")?.0)
    }

    /// Coordinates of a vector.
    ///
    /// # Errors
    /// The port did not declare the column.
    pub fn dim(&self) -> Result<usize, TableError> {
        Ok(self.rows.vectors("vector")?.1)
    }

    /// Where each list ends.
    ///
    /// # Errors
    /// The port did not declare the column.
    pub fn ends(&self) -> Result<&[u32], TableError> {
        self.lists.u32s("end")
    }

    /// The centroid of each list, `[lists, dim]`.
    ///
    /// # Errors
    /// The port did not declare the column.
    pub fn centroids(&self) -> Result<&[f32], TableError> {
        Ok(self.lists.vectors("vector")?.0)
    }

    /// What is found, by ascending probes.
    pub fn recall(&self) -> &[RecallRow] {
        &self.recall
    }

    /// The row that a search uses by default.
    pub fn chosen(&self) -> Option<RecallRow> {
        self.recall.iter().find(|row| row.chosen).copied()
    }
}

fn schema_of(dim: usize) -> TableSchema {
    TableSchema::new(
        ArtifactKind::Index,
        "index",
        vec![
            column("id", DataType::UInt32, "none", "the image, as in the table of images"),
            column("label", DataType::UInt32, "none", "number of the class, by first appearance"),
            column("split", split::data_type(), "none", "train, validation, test, query or gallery"),
            column("vector", vector(dim), "none", "L2-normalised embedding; rows are ordered by list"),
        ],
    )
}

fn lists_schema_of(dim: usize) -> TableSchema {
    TableSchema::new(
        ArtifactKind::Index,
        "lists",
        vec![
            column("end", DataType::UInt32, "rows", "number of rows up to the end of the list"),
            column("vector", vector(dim), "none", "centroid; a row is in the list of its nearest centroid"),
        ],
    )
}
