//! Which cluster each training image belongs to; the clusters themselves and their agreement with the last round beside
//! it.

use std::sync::Arc;

use arrow::array::types::{Float64Type, Int32Type};
use arrow::array::{Array, ArrayRef, FixedSizeListArray, Float32Array, Float64Array, Int32Array, UInt32Array};
use arrow::datatypes::{DataType, Field};

use super::file::{Form, batch};
use super::rows::Rows;
use super::schema::{Description, column, optional, vector};
use super::write_table;
use crate::context::{Context, InputArtifact};
use crate::error::StageError;
use crate::kind::Kind;

/// The cluster of an image that no learner trains on.
pub const PRUNED: i32 = -1;

/// The main table.
pub fn description() -> Description {
    Description::new(
        Kind::Assignments,
        "assignments",
        vec![
            column("id", DataType::UInt32, "none", "the image, as in the table of images"),
            column("cluster", DataType::Int32, "none", "the learner that trains on it; -1 if none does"),
            column("distance", DataType::Float32, "embedding units", "Euclidean distance to the cluster's centroid"),
        ],
    )
}

/// The table of clusters, beside it.
pub fn centroids() -> Description {
    clusters_described(0)
}

/// The table of one row about the division as a whole, beside it.
pub fn agreement() -> Description {
    Description::new(
        Kind::Assignments,
        "agreement",
        vec![optional(
            "nmi",
            DataType::Float64,
            "0 to 1",
            "normalised mutual information with the last round's clusters",
        )],
    )
}

/// A division, to be written.
#[derive(Clone, Copy, Debug)]
pub struct Division<'a> {
    /// Image of each row.
    pub ids: &'a [u32],
    /// Its cluster, or [`PRUNED`].
    pub clusters: &'a [i32],
    /// Its distance to the centroid of the cluster that it was nearest to.
    pub distances: &'a [f32],
    /// `[clusters, dim]`.
    pub centroids: &'a [f32],
    /// Images of each cluster.
    pub sizes: &'a [u32],
    /// Coordinates of a centroid.
    pub dim: usize,
    /// Normalised mutual information with the last round's clusters; `None` in the first round.
    pub nmi: Option<f64>,
}

/// Writes the three tables as the output called `output`.
///
/// # Errors
/// Columns of a table differ in length, or a file cannot be written.
pub fn write(context: &mut Context<'_>, output: &str, division: Division<'_>) -> Result<(), StageError> {
    let main = description();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from(division.ids.to_vec())),
        Arc::new(Int32Array::from(division.clusters.to_vec())),
        Arc::new(Float32Array::from(division.distances.to_vec())),
    ];
    write_table(context, output, &main, Form::Parquet, &batch(&main.schema, columns)?)?;

    let clusters = clusters_described(division.dim);
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    let values = Arc::new(Float32Array::from(division.centroids.to_vec()));
    let vectors = FixedSizeListArray::try_new(item, division.dim as i32, values, None)
        .map_err(|source| StageError::table("make the column `centroids.vector`", source))?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(0..division.sizes.len() as i32)),
        Arc::new(UInt32Array::from(division.sizes.to_vec())),
        Arc::new(vectors),
    ];
    write_table(context, output, &clusters, Form::Parquet, &batch(&clusters.schema, columns)?)?;

    let whole = agreement();
    let columns: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(vec![division.nmi]))];
    write_table(context, output, &whole, Form::Parquet, &batch(&whole.schema, columns)?)
}

/// Which cluster each training image belongs to, as read.
pub struct Assignments {
    rows: Rows,
}

impl Assignments {
    /// Opens the assignments of a port.
    ///
    /// # Errors
    /// The file is damaged, or a declared column is not there.
    pub fn open(artifact: &InputArtifact) -> Result<Self, StageError> {
        Ok(Self { rows: Rows::open(artifact, description())? })
    }

    /// Image of each row.
    ///
    /// # Errors
    /// The port did not declare `id`.
    pub fn ids(&self) -> Result<&[u32], StageError> {
        self.rows.u32s("id")
    }

    /// Cluster of each row, or [`PRUNED`].
    ///
    /// # Errors
    /// The port did not declare `cluster`.
    pub fn clusters(&self) -> Result<&[i32], StageError> {
        Ok(self.rows.numbers::<Int32Type>("cluster")?.values())
    }

    /// Distance of each row to its centroid.
    ///
    /// # Errors
    /// The port did not declare `distance`.
    pub fn distances(&self) -> Result<&[f32], StageError> {
        self.rows.f32s("distance")
    }
}

/// The clusters, as read.
pub struct Centroids {
    rows: Rows,
}

impl Centroids {
    /// Opens the clusters of a port, whose columns are `centroids.size` and `centroids.vector`.
    ///
    /// # Errors
    /// The file is damaged, or a declared column is not there.
    pub fn open(artifact: &InputArtifact) -> Result<Self, StageError> {
        Ok(Self { rows: Rows::open(artifact, centroids())? })
    }

    /// Images of each cluster.
    ///
    /// # Errors
    /// The port did not declare `centroids.size`.
    pub fn sizes(&self) -> Result<&[u32], StageError> {
        self.rows.u32s("size")
    }

    /// All centroids, `[clusters, dim]`.
    ///
    /// # Errors
    /// The port did not declare `centroids.vector`.
    pub fn vectors(&self) -> Result<&[f32], StageError> {
        Ok(self.rows.vectors("vector")?.0)
    }

    /// Coordinates of a centroid.
    ///
    /// # Errors
    /// The port did not declare `centroids.vector`.
    pub fn dim(&self) -> Result<usize, StageError> {
        Ok(self.rows.vectors("vector")?.1)
    }
}

/// The normalised mutual information of the division of a port with that of the round before; the port declares
/// `agreement.nmi`.
///
/// # Errors
/// The file is damaged, or the port did not declare the column.
pub fn nmi(artifact: &InputArtifact) -> Result<Option<f64>, StageError> {
    let rows = Rows::open(artifact, agreement())?;
    let column = rows.numbers::<Float64Type>("nmi")?;
    Ok((!column.is_empty() && column.is_valid(0)).then(|| column.value(0)))
}

fn clusters_described(dim: usize) -> Description {
    Description::new(
        Kind::Assignments,
        "centroids",
        vec![
            column("cluster", DataType::Int32, "none", "the cluster, which is the learner's number"),
            column("size", DataType::UInt32, "images", "how many images are assigned to it"),
            column("vector", vector(dim), "embedding units", "mean of the embeddings assigned to it"),
        ],
    )
}
