//! The embeddings that the chosen round was evaluated with, if they were kept.

use dnc_stages::ArtifactKind;
use dnc_stages::api::{Columns, InputArtifact};
use dnc_stages::tables::Split;
use dnc_stages::tables::embeddings::Embeddings;

use super::run::Evidence;
use super::subject::Subject;
use crate::pages::error::PagesError;

/// Embeddings of the reported images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedded {
    /// The node that wrote them.
    pub node: String,
    /// Image of each row.
    pub ids: Vec<u32>,
    /// Its class.
    pub labels: Vec<u32>,
    /// Its split.
    pub splits: Vec<Split>,
    /// `[rows, dim]`.
    pub vectors: Vec<f32>,
    /// Coordinates of a vector.
    pub dim: usize,
}

/// Name of the output.
pub const EMBEDDINGS: &str = "embeddings";

impl Embedded {
    /// Reads them: an output of the node that evaluated the chosen round, or of a stage `embed` that read the same model.
    /// `queries` are the images that they must contain. `None` if there are none, or they are no longer in the store.
    ///
    /// # Errors
    /// The store cannot be read, or the table is damaged.
    pub fn read(evidence: &Evidence, subject: &Subject, queries: &[u32]) -> Result<Option<Self>, PagesError> {
        let chosen = &subject.chosen().node;
        let model = evidence.feed(chosen, "model");
        let nodes = evidence.json.nodes.iter().filter(|node| node.outputs.contains_key(EMBEDDINGS));
        let is_same = |node: &str| {
            node == chosen
                || (model.is_some() && evidence.feed(node, "model") == model && has_embeddings(evidence, node))
        };
        for node in nodes.filter(|node| is_same(&node.node)) {
            let kind = ArtifactKind::Embeddings;
            let Some(artifact) = evidence.open(&node.node, EMBEDDINGS, kind, Columns::All, |_| true)? else { continue };
            let embedded = Self::of(&node.node, &artifact)?;
            let mut ids = embedded.ids.clone();
            ids.sort_unstable();
            if queries.iter().all(|id| ids.binary_search(id).is_ok()) {
                return Ok(Some(embedded));
            }
        }
        Ok(None)
    }

    /// The embeddings in an output of `node`.
    ///
    /// # Errors
    /// The table is damaged.
    pub fn of(node: &str, artifact: &InputArtifact) -> Result<Self, PagesError> {
        let table = Embeddings::open(artifact)?;
        Ok(Self {
            node: node.to_owned(),
            ids: table.ids()?.to_vec(),
            labels: table.labels()?.to_vec(),
            splits: table.splits()?,
            vectors: table.vectors()?.to_vec(),
            dim: table.dim()?,
        })
    }

    /// The rows of the queries and of the gallery that they are searched in, for the reported split.
    pub fn sides(&self, split: &str) -> (Vec<usize>, Vec<usize>) {
        let rows = |wanted: &str| (0..self.ids.len()).filter(|&row| self.splits[row].name() == wanted).collect();
        let gallery = if split == Split::Query.name() { Split::Gallery.name() } else { split };
        (rows(split), rows(gallery))
    }

    /// The vector of a row.
    pub fn vector(&self, row: usize) -> &[f32] {
        &self.vectors[row * self.dim..][..self.dim]
    }

    /// The vectors of some rows.
    pub fn gather(&self, rows: &[usize]) -> Vec<f32> {
        rows.iter().flat_map(|&row| self.vector(row)).copied().collect()
    }
}

/// Whether a stage `embed` writes the whole embedding, and not the backbone's features.
fn has_embeddings(evidence: &Evidence, node: &str) -> bool {
    let Some(plan) = &evidence.plan else { return false };
    let Some(node) = plan.nodes.iter().find(|known| known.name == node) else { return false };
    let stage = plan.stage(node);
    let is = |key: &str, wanted: &str| stage.params.get(key).and_then(|value| value.as_str()) == Some(wanted);
    stage.kind.name == "embed" && is("vector", "embedding") && is("merged", "plain")
}
