//! Embeddings: one vector per image.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, UInt32Array};
use arrow::datatypes::{DataType, Field};

use crate::artifact::{InputArtifact, OutputArtifact};
use crate::error::TableError;
use crate::file::{Form, batch};
use crate::kind::ArtifactKind;
use crate::schema::{TableSchema, column, vector};
use crate::split::{self, Split};
use crate::table::Table;
use crate::write::write_table;

/// The schema of the table.
pub fn schema() -> TableSchema {
    schema_of(0)
}

/// One vector per image, to write.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingRows<'a> {
    /// Image of each row.
    pub ids: &'a [u32],
    /// Its label.
    pub labels: &'a [u32],
    /// Its split.
    pub splits: &'a [Split],
    /// `[rows, dim]`.
    pub vectors: &'a [f32],
    /// Coordinates of a vector.
    pub dim: usize,
}

/// Writes the table.
///
/// # Errors
/// The columns differ in length, or the file cannot be written.
pub fn write(output: &mut OutputArtifact, rows: EmbeddingRows<'_>) -> Result<(), TableError> {
    let schema = schema_of(rows.dim);
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    let values = Arc::new(Float32Array::from(rows.vectors.to_vec()));
    let vectors = FixedSizeListArray::try_new(item, rows.dim as i32, values, None)
        .map_err(|source| TableError::arrow("make the column `vector`", source))?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from(rows.ids.to_vec())),
        Arc::new(UInt32Array::from(rows.labels.to_vec())),
        Arc::new(split::array(rows.splits)),
        Arc::new(vectors),
    ];
    write_table(output, &schema, Form::Arrow, &batch(&schema.columns, columns)?)
}

/// One vector per image, as read.
pub struct Embeddings {
    rows: Table,
}

impl Embeddings {
    /// Opens the embeddings of an artifact. Their vectors are not copied out of the mapped file.
    ///
    /// # Errors
    /// The file is damaged, or a declared column is missing.
    pub fn open(artifact: &InputArtifact) -> Result<Self, TableError> {
        Ok(Self { rows: Table::open(artifact, schema())? })
    }

    /// Opens the table in a file, with all columns.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(path: &Path) -> Result<Self, TableError> {
        Ok(Self { rows: Table::read_file(path, schema())? })
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
    /// The port did not declare `id`.
    pub fn ids(&self) -> Result<&[u32], TableError> {
        self.rows.u32s("id")
    }

    /// Label of each row.
    ///
    /// # Errors
    /// The port did not declare `label`.
    pub fn labels(&self) -> Result<&[u32], TableError> {
        self.rows.u32s("label")
    }

    /// Split of each row.
    ///
    /// # Errors
    /// The port did not declare `split`, or a value is not a split.
    pub fn splits(&self) -> Result<Vec<Split>, TableError> {
        Ok(split::parse_all(self.rows.texts("split")?)?)
    }

    /// All vectors, `[rows, dim]`.
    ///
    /// # Errors
    /// The port did not declare `vector`.
    pub fn vectors(&self) -> Result<&[f32], TableError> {
        Ok(self.rows.vectors("vector")?.0)
    }

    /// Coordinates of a vector.
    ///
    /// # Errors
    /// The port did not declare `vector`.
    pub fn dim(&self) -> Result<usize, TableError> {
        Ok(self.rows.vectors("vector")?.1)
    }
}

fn schema_of(dim: usize) -> TableSchema {
    TableSchema::new(
        ArtifactKind::Embeddings,
        "embeddings",
        vec![
            column("id", DataType::UInt32, "none", "the image, as in the table of images"),
            column("label", DataType::UInt32, "none", "number of the class, by first appearance"),
            column("split", split::data_type(), "none", "train, validation, test, query or gallery"),
            column("vector", vector(dim), "none", "L2-normalised embedding"),
        ],
    )
}
