//! Answers of a run: its queries with their neighbours, read from its `queries.parquet`. What pictures and error analyses need;
//! tests over queries read the smaller [`queries`](super::queries).

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::Array;
use arrow::array::types::{Float32Type, UInt32Type};

use super::error::ReportError;
use super::queries::NodeSplit;
use super::run_table::visit_batches;

const COLUMNS: [&str; 8] =
    ["node", "split", "id", "label", "neighbours", "distances", "first_hit", "average_precision"];

/// A query with its nearest neighbours.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Id of the query image.
    pub id: u32,
    /// Class of the query image.
    pub label: u32,
    /// Rank from 1 of the nearest image of the same class, if one was found.
    pub first_hit: Option<u32>,
    /// Average precision of this query: its term of MAP@R or mAP.
    pub average_precision: f64,
    /// Ids of the nearest images, nearest first.
    pub neighbours: Vec<u32>,
    /// Their distances.
    pub distances: Vec<f32>,
}

impl Answer {
    /// Whether the nearest image is of the same class.
    pub fn is_right(&self) -> bool {
        self.first_hit == Some(1)
    }
}

/// Answers by node and split.
pub type Answers = BTreeMap<NodeSplit, Vec<Answer>>;

/// Reads the answers of the nodes and splits that are `wanted`. Without `queries.parquet` there are none.
///
/// # Errors
/// The file cannot be read as such a table.
pub fn read(run: &Path, wanted: impl Fn(&NodeSplit) -> bool) -> Result<Answers, ReportError> {
    let mut answers = Answers::new();
    visit_batches(&run.join("queries.parquet"), &COLUMNS, |columns| {
        let (nodes, splits) = (columns.texts("node")?, columns.texts("split")?);
        let (ids, labels, first_hits) = (columns.u32s("id")?, columns.u32s("label")?, columns.u32s("first_hit")?);
        let average_precisions = columns.f64s("average_precision")?;
        let mut neighbours = vec![Vec::new(); ids.len()];
        columns.visit_lists::<UInt32Type>("neighbours", "list of u32", |row, list| neighbours[row] = list.to_vec())?;
        let mut distances = vec![Vec::new(); ids.len()];
        columns.visit_lists::<Float32Type>("distances", "list of f32", |row, list| distances[row] = list.to_vec())?;
        for (row, (node, split)) in nodes.into_iter().zip(splits).enumerate() {
            let place = NodeSplit { node, split };
            // A query without an image of its class to find has no metrics and is neither right nor wrong.
            if average_precisions.is_null(row) || !answers.contains_key(&place) && !wanted(&place) {
                continue;
            }
            answers.entry(place).or_default().push(Answer {
                id: ids.value(row),
                label: labels.value(row),
                first_hit: first_hits.is_valid(row).then(|| first_hits.value(row)),
                average_precision: average_precisions.value(row),
                neighbours: std::mem::take(&mut neighbours[row]),
                distances: std::mem::take(&mut distances[row]),
            });
        }
        Ok(())
    })?;
    Ok(answers)
}
