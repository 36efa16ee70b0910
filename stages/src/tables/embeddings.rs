//! Embeddings: a vector for each image.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, UInt32Array};
use arrow::datatypes::{DataType, Field};

use super::file::{Form, batch};
use super::rows::Rows;
use super::schema::{Description, column, vector};
use super::split::{self, Split};
use super::write_table;
use crate::context::{Context, InputArtifact};
use crate::error::StageError;
use crate::kind::Kind;

/// The table.
pub fn description() -> Description {
    described(0)
}

/// A vector for each image, to be written.
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

/// Writes the table as the output called `output`.
///
/// # Errors
/// The columns differ in length, or the file cannot be written.
pub fn write(context: &mut Context<'_>, output: &str, rows: EmbeddingRows<'_>) -> Result<(), StageError> {
    let description = described(rows.dim);
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    let values = Arc::new(Float32Array::from(rows.vectors.to_vec()));
    let vectors = FixedSizeListArray::try_new(item, rows.dim as i32, values, None)
        .map_err(|source| StageError::table("make the column `vector`", source))?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from(rows.ids.to_vec())),
        Arc::new(UInt32Array::from(rows.labels.to_vec())),
        Arc::new(split::array(rows.splits)),
        Arc::new(vectors),
    ];
    write_table(context, output, &description, Form::Arrow, &batch(&description.schema, columns)?)
}

/// A vector for each image, as read.
pub struct Embeddings {
    rows: Rows,
}

impl Embeddings {
    /// Opens the embeddings of a port. Their vectors stay in the mapped file.
    ///
    /// # Errors
    /// The file is damaged, or a declared column is not there.
    pub fn open(artifact: &InputArtifact) -> Result<Self, StageError> {
        Ok(Self { rows: Rows::open(artifact, description())? })
    }

    /// Opens the table in a file, with all its columns.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(path: &Path) -> Result<Self, StageError> {
        Ok(Self { rows: super::read_file(path, description())? })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Image of each row.
    ///
    /// # Errors
    /// The port did not declare `id`.
    pub fn ids(&self) -> Result<&[u32], StageError> {
        self.rows.u32s("id")
    }

    /// Label of each row.
    ///
    /// # Errors
    /// The port did not declare `label`.
    pub fn labels(&self) -> Result<&[u32], StageError> {
        self.rows.u32s("label")
    }

    /// Split of each row.
    ///
    /// # Errors
    /// The port did not declare `split`, or a value is no split.
    pub fn splits(&self) -> Result<Vec<Split>, StageError> {
        split::parse_all(self.rows.texts("split")?)
    }

    /// All vectors, `[rows, dim]`.
    ///
    /// # Errors
    /// The port did not declare `vector`.
    pub fn vectors(&self) -> Result<&[f32], StageError> {
        Ok(self.rows.vectors("vector")?.0)
    }

    /// Coordinates of a vector.
    ///
    /// # Errors
    /// The port did not declare `vector`.
    pub fn dim(&self) -> Result<usize, StageError> {
        Ok(self.rows.vectors("vector")?.1)
    }
}

fn described(dim: usize) -> Description {
    Description::new(
        Kind::Embeddings,
        "embeddings",
        vec![
            column("id", DataType::UInt32, "none", "the image, as in the table of images"),
            column("label", DataType::UInt32, "none", "the image's class, numbered by first appearance"),
            column("split", split::data_type(), "none", "train, validation, test, query or gallery"),
            column("vector", vector(dim), "none", "the embedding, L2-normalised"),
        ],
    )
}
