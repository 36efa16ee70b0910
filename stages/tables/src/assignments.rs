//! The cluster of each training image and, in tables beside it, the clusters and their agreement with the previous round.

use std::sync::Arc;

use arrow::array::types::{Float64Type, Int32Type};
use arrow::array::{Array, ArrayRef, FixedSizeListArray, Float32Array, Float64Array, Int32Array, UInt32Array};
use arrow::datatypes::{DataType, Field};

use crate::artifact::{InputArtifact, OutputArtifact};
use crate::error::TableError;
use crate::file::{Form, batch};
use crate::kind::ArtifactKind;
use crate::schema::{TableSchema, column, optional, vector};
use crate::table::Table;
use crate::write::write_table;

/// The cluster of a pruned image, which no learner trains on.
pub const PRUNED: i32 = -1;

/// The schema of the main table.
pub fn schema() -> TableSchema {
    TableSchema::new(
        ArtifactKind::Assignments,
        "assignments",
        vec![
            column("id", DataType::UInt32, "none", "the image, as in the table of images"),
            column(
                "cluster",
                DataType::Int32,
                "none",
                "the cluster, which is the number of the learner that trains on the image; -1 if it was pruned",
            ),
            column(
                "distance",
                DataType::Float32,
                "embedding units",
                "Euclidean distance to the centroid of its cluster; for a pruned image, of the cluster it was pruned from",
            ),
        ],
    )
}

/// The schema of the table of clusters, beside it.
pub fn centroids_schema() -> TableSchema {
    centroids_schema_of(0)
}

/// The schema of the table with one row about the division as a whole, beside it.
pub fn agreement_schema() -> TableSchema {
    TableSchema::new(
        ArtifactKind::Assignments,
        "agreement",
        vec![optional(
            "nmi",
            DataType::Float64,
            "0 to 1",
            "normalised mutual information with the clusters of the previous round; null in the first round",
        )],
    )
}

/// A division of the images into clusters, to write.
#[derive(Clone, Copy, Debug)]
pub struct ClusterRows<'a> {
    /// Image of each row.
    pub ids: &'a [u32],
    /// Its cluster, or [`PRUNED`].
    pub clusters: &'a [i32],
    /// Its distance to the centroid of its cluster; for a pruned image, of the cluster that it was pruned from.
    pub distances: &'a [f32],
    /// `[clusters, dim]`.
    pub centroids: &'a [f32],
    /// Number of images of each cluster.
    pub sizes: &'a [u32],
    /// Coordinates of a centroid.
    pub dim: usize,
    /// Normalised mutual information with the clusters of the previous round; `None` in the first round.
    pub nmi: Option<f64>,
}

/// Writes the three tables.
///
/// # Errors
/// Columns of a table differ in length, or a file cannot be written.
pub fn write(output: &mut OutputArtifact, rows: ClusterRows<'_>) -> Result<(), TableError> {
    let main = schema();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from(rows.ids.to_vec())),
        Arc::new(Int32Array::from(rows.clusters.to_vec())),
        Arc::new(Float32Array::from(rows.distances.to_vec())),
    ];
    write_table(output, &main, Form::Parquet, &batch(&main.columns, columns)?)?;

    let clusters = centroids_schema_of(rows.dim);
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    let values = Arc::new(Float32Array::from(rows.centroids.to_vec()));
    let vectors = FixedSizeListArray::try_new(item, rows.dim as i32, values, None)
        .map_err(|source| TableError::arrow("make the column `centroids.vector`", source))?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(0..rows.sizes.len() as i32)),
        Arc::new(UInt32Array::from(rows.sizes.to_vec())),
        Arc::new(vectors),
    ];
    write_table(output, &clusters, Form::Parquet, &batch(&clusters.columns, columns)?)?;

    let whole = agreement_schema();
    let columns: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(vec![rows.nmi]))];
    write_table(output, &whole, Form::Parquet, &batch(&whole.columns, columns)?)
}

/// The cluster of each training image, as read.
pub struct Assignments {
    rows: Table,
}

impl Assignments {
    /// Opens the assignments of an artifact.
    ///
    /// # Errors
    /// The file is damaged, or a declared column is missing.
    pub fn open(artifact: &InputArtifact) -> Result<Self, TableError> {
        Ok(Self { rows: Table::open(artifact, schema())? })
    }

    /// Image of each row.
    ///
    /// # Errors
    /// The port did not declare `id`.
    pub fn ids(&self) -> Result<&[u32], TableError> {
        self.rows.u32s("id")
    }

    /// Cluster of each row, or [`PRUNED`].
    ///
    /// # Errors
    /// The port did not declare `cluster`.
    pub fn clusters(&self) -> Result<&[i32], TableError> {
        Ok(self.rows.numbers::<Int32Type>("cluster")?.values())
    }

    /// Distance of each row to its centroid.
    ///
    /// # Errors
    /// The port did not declare `distance`.
    pub fn distances(&self) -> Result<&[f32], TableError> {
        self.rows.f32s("distance")
    }
}

/// The clusters, as read.
pub struct Centroids {
    rows: Table,
}

impl Centroids {
    /// Opens the clusters of a port, whose columns are `centroids.size` and `centroids.vector`.
    ///
    /// # Errors
    /// The file is damaged, or a declared column is missing.
    pub fn open(artifact: &InputArtifact) -> Result<Self, TableError> {
        Ok(Self { rows: Table::open(artifact, centroids_schema())? })
    }

    /// Number of images of each cluster.
    ///
    /// # Errors
    /// The port did not declare `centroids.size`.
    pub fn sizes(&self) -> Result<&[u32], TableError> {
        self.rows.u32s("size")
    }

    /// All centroids, `[clusters, dim]`.
    ///
    /// # Errors
    /// The port did not declare `centroids.vector`.
    pub fn vectors(&self) -> Result<&[f32], TableError> {
        Ok(self.rows.vectors("vector")?.0)
    }

    /// Coordinates of a centroid.
    ///
    /// # Errors
    /// The port did not declare `centroids.vector`.
    pub fn dim(&self) -> Result<usize, TableError> {
        Ok(self.rows.vectors("vector")?.1)
    }
}

/// The normalised mutual information of an artifact's clusters with those of the previous round. The port must declare
/// `agreement.nmi`.
///
/// # Errors
/// The file is damaged, or the port did not declare the column.
pub fn nmi(artifact: &InputArtifact) -> Result<Option<f64>, TableError> {
    let rows = Table::open(artifact, agreement_schema())?;
    let column = rows.numbers::<Float64Type>("nmi")?;
    Ok((!column.is_empty() && column.is_valid(0)).then(|| column.value(0)))
}

fn centroids_schema_of(dim: usize) -> TableSchema {
    TableSchema::new(
        ArtifactKind::Assignments,
        "centroids",
        vec![
            column(
                "cluster",
                DataType::Int32,
                "none",
                "number of the cluster, which is also the number of its learner",
            ),
            column("size", DataType::UInt32, "images", "number of images in the cluster"),
            column("vector", vector(dim), "embedding units", "mean of the embeddings in the cluster"),
        ],
    )
}
