//! What each learner sees: the neighbours of a query in each learner's subspace, beside those in the whole embedding.
//!
//! **Formula** In the subspace of learner k the embedding e becomes e ⊙ relu(m_k), L2-normalised, m_k the learner's mask. The overlap of
//! two learners is the mean over queries of the share of the k nearest that both have.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use dnc_kernels::neighbours::{Gallery, Neighbours};
use dnc_stages::ArtifactKind;
use dnc_stages::api::{Columns, InputArtifact};
use dnc_stages::tables::model::{Model, PARAMETERS};
use serde_json::json;

use crate::pages::derived::Derivation;
use crate::pages::error::PagesError;
use crate::pages::evidence::{Catalogue, EMBEDDINGS, Embedded, Evidence, Subject};

/// Neighbours per query.
const K: usize = 10;
/// Number of queries that are searched; more are sampled evenly.
const MOST_QUERIES: usize = 5_000;
/// Facets of the artifacts that the search depends on.
const OF_MODEL: &[&str] = &[PARAMETERS];
const OF_EMBEDDINGS: &[&str] = &["id", "label", "split", "vector"];
const OF_IMAGES: &[&str] = &["id", "camera"];

/// The masks of the learners, `[learners][dim]`.
pub type Masks = Vec<Vec<f32>>;

/// The neighbours of queries in each learner's subspace.
#[derive(Clone, Debug, PartialEq)]
pub struct Subspaces {
    /// The masks.
    pub masks: Masks,
    /// Ids of the queries that were searched, sorted.
    pub queries: Vec<u32>,
    /// Ids of the neighbours, `[learners][queries × K]`; `u32::MAX` where there are fewer.
    neighbours: Vec<Vec<u32>>,
    /// Their distances.
    distances: Vec<Vec<f32>>,
}

/// The masks of the chosen round; `None` if its model has a single learner, or is no longer in the store.
///
/// # Errors
/// The store cannot be read, or the model is damaged.
pub fn masks(evidence: &Evidence, subject: &Subject) -> Result<Option<Masks>, PagesError> {
    let Some((node, output)) = evidence.feed(&subject.chosen().node, "model") else { return Ok(None) };
    let Some(artifact) = open_model(evidence, &node, &output)? else { return Ok(None) };
    Ok(masks_of(&artifact)?.filter(|masks| masks.len() > 1))
}

/// A model without the optimiser's moments, which are twice as large; `None` if it is no longer in the store.
///
/// # Errors
/// The store cannot be read.
pub fn open_model(evidence: &Evidence, node: &str, output: &str) -> Result<Option<InputArtifact>, PagesError> {
    let columns = Columns::Named(vec![PARAMETERS.to_owned()]);
    evidence.open(node, output, ArtifactKind::Model, columns, |file| !file.starts_with("moments"))
}

/// The masks of a model; `None` if it has none.
///
/// # Errors
/// The model is damaged.
pub fn masks_of(model: &InputArtifact) -> Result<Option<Masks>, PagesError> {
    let model = Model::open(model)?;
    let Some(tensor) = model.masks() else { return Ok(None) };
    let weights: Vec<f32> = tensor.bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    let [learners, dim] = tensor.shape[..] else { return Ok(None) };
    if dim == 0 || weights.len() != learners * dim {
        return Err(PagesError::deriving("the masks")("they are not a matrix of 32-bit floats"));
    }
    Ok(Some(weights.chunks(dim).map(<[f32]>::to_vec).collect()))
}

impl Subspaces {
    /// Searches the queries of the reported split in each subspace, or finds the result of an earlier report. Where cameras are used,
    /// images of the query's class and camera are ignored.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn new(
        evidence: &Evidence,
        subject: &Subject,
        embedded: &Embedded,
        masks: Masks,
        catalogue: &Catalogue,
    ) -> Result<Option<Self>, PagesError> {
        let artifact = |place: Option<(String, String)>| {
            place.map(|(node, output)| evidence.artifact(&node, &output)).transpose().map(Option::flatten)
        };
        let model = artifact(evidence.feed(&subject.chosen().node, "model"))?;
        let vectors = evidence.artifact(&embedded.node, EMBEDDINGS)?;
        let Some(((store, model), vectors)) = evidence.store().zip(model).zip(vectors) else { return Ok(None) };
        let (queries, gallery) = embedded.sides(&subject.split);
        let step = queries.len().div_ceil(MOST_QUERIES).max(1);
        let mut queries: Vec<usize> = queries.into_iter().step_by(step).collect();
        queries.sort_by_key(|&row| embedded.ids[row]);
        let cameras = subject.headline[0].0 == "cmc";
        let images = if cameras && catalogue.is_complete { artifact(evidence.images())? } else { None };
        let mut inputs = vec![("model", &model, OF_MODEL), ("embeddings", &vectors, OF_EMBEDDINGS)];
        inputs.extend(images.as_ref().map(|images| ("images", images, OF_IMAGES)));
        let derivation = Derivation {
            name: "subspace_neighbours",
            version: 2,
            params: json!({ "k": K, "queries": MOST_QUERIES, "split": subject.split, "cameras": cameras }),
            inputs: &inputs,
            has_arithmetic: true,
        };
        let ignored = |query: u32, row: u32| cameras && catalogue.have_same_camera(query, row);
        let files = derivation.files(store, |folder| search(embedded, &masks, &queries, &gallery, &ignored, folder))?;
        let ids = queries.iter().map(|&row| embedded.ids[row]).collect();
        let path = &files.first().ok_or_else(|| PagesError::deriving("the subspaces")("the record is empty"))?.path;
        Self::read(path, masks, ids).map(Some)
    }

    /// Reads what [`search`] wrote: per learner the ids, then the distances, as little-endian numbers of 32 bits.
    fn read(path: &Path, masks: Masks, queries: Vec<u32>) -> Result<Self, PagesError> {
        let bytes = fs::read(path).map_err(|source| PagesError::Read { path: path.to_owned(), source })?;
        let length = queries.len() * K;
        if bytes.len() != masks.len() * length * 8 {
            return Err(PagesError::deriving("the subspaces")("the record has another length than the run"));
        }
        let numbers: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)).collect();
        let part = |number: usize| numbers[number * length..][..length].to_vec();
        let neighbours = (0..masks.len()).map(|learner| part(2 * learner)).collect();
        let distances =
            (0..masks.len()).map(|learner| part(2 * learner + 1).into_iter().map(f32::from_bits).collect()).collect();
        Ok(Self { masks, queries, neighbours, distances })
    }

    /// Number of learners.
    pub fn learners(&self) -> usize {
        self.masks.len()
    }

    /// The neighbours of a query in the subspace of a learner, with their distances.
    pub fn of(&self, learner: usize, query: usize) -> (&[u32], &[f32]) {
        let ids = &self.neighbours[learner][query * K..][..K];
        let found = ids.iter().position(|&id| id == u32::MAX).unwrap_or(K);
        (&ids[..found], &self.distances[learner][query * K..][..found])
    }

    /// Mean share of neighbours that two learners have in common, `[learners × learners]`.
    pub fn overlap(&self) -> Vec<f64> {
        let learners = self.learners();
        let mut overlap = vec![1.0; learners * learners];
        for a in 0..learners {
            for b in 0..a {
                let common = |query: usize| {
                    let (first, second) = (self.of(a, query).0, self.of(b, query).0);
                    first.iter().filter(|id| second.contains(id)).count() as f64 / first.len().max(1) as f64
                };
                let mean = (0..self.queries.len()).map(common).sum::<f64>() / self.queries.len().max(1) as f64;
                (overlap[a * learners + b], overlap[b * learners + a]) = (mean, mean);
            }
        }
        overlap
    }

    /// For each query that exactly one learner answers with an image of its class first: the query and that learner.
    pub fn found_by_one(&self, label: impl Fn(u32) -> Option<u32>) -> BTreeMap<usize, usize> {
        let mut found = BTreeMap::new();
        for (query, &id) in self.queries.iter().enumerate() {
            let is_right = |learner: &usize| {
                self.of(*learner, query).0.first().is_some_and(|&nearest| label(nearest) == label(id))
            };
            let mut right = (0..self.learners()).filter(is_right);
            if let (Some(learner), None) = (right.next(), right.next()) {
                found.insert(query, learner);
            }
        }
        found
    }

    /// Share of the queries that a learner answers rightly, and of those that at least one does.
    pub fn recall(&self, label: impl Fn(u32) -> Option<u32>) -> (Vec<f64>, f64) {
        let is_right = |learner: usize, query: usize| {
            let nearest = self.of(learner, query).0.first();
            nearest.is_some_and(|&nearest| label(nearest) == label(self.queries[query]))
        };
        let count = self.queries.len().max(1) as f64;
        let share = |learner| (0..self.queries.len()).filter(|&query| is_right(learner, query)).count() as f64 / count;
        let any = (0..self.queries.len()).filter(|&query| (0..self.learners()).any(|learner| is_right(learner, query)));
        ((0..self.learners()).map(share).collect(), any.count() as f64 / count)
    }
}

fn search(
    embedded: &Embedded,
    masks: &Masks,
    queries: &[usize],
    gallery: &[usize],
    ignored: &(dyn Fn(u32, u32) -> bool + Sync),
    folder: &Path,
) -> Result<(), PagesError> {
    let mut bytes: Vec<u8> = Vec::new();
    for mask in masks {
        let rows = project(embedded, mask, gallery);
        let sought = project(embedded, mask, queries);
        let failed = |error| PagesError::deriving("the subspaces")(error);
        let index = Gallery::new(&rows, embedded.dim).map_err(failed)?;
        let excluded = |query: usize, row: u32| {
            let (query, row) = (embedded.ids[queries[query]], embedded.ids[gallery[row as usize]]);
            query == row || ignored(query, row)
        };
        let found = index.nearest(&sought, K, excluded).map_err(failed)?;
        let id = |&row: &u32| if row == Neighbours::NONE { u32::MAX } else { embedded.ids[gallery[row as usize]] };
        found.ids.iter().for_each(|row| bytes.extend(id(row).to_le_bytes()));
        found.distances.iter().for_each(|distance| bytes.extend(distance.max(0.0).sqrt().to_le_bytes()));
    }
    let path = folder.join("neighbours.bin");
    fs::write(&path, bytes).map_err(|source| PagesError::Write { path, source })
}

/// Rows in a learner's subspace.
fn project(embedded: &Embedded, mask: &[f32], rows: &[usize]) -> Vec<f32> {
    let mut projected = Vec::with_capacity(rows.len() * embedded.dim);
    for &row in rows {
        let start = projected.len();
        projected.extend(embedded.vector(row).iter().zip(mask).map(|(value, weight)| value * weight.max(0.0)));
        let length = projected[start..].iter().map(|value| value * value).sum::<f32>().sqrt();
        if length > 0.0 {
            projected[start..].iter_mut().for_each(|value| *value /= length);
        }
    }
    projected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learners_see_their_own_coordinates() {
        let embedded = Embedded {
            ids: (10..14).collect(),
            labels: vec![0, 0, 1, 1],
            // The first two coordinates separate the classes, the last two mix them.
            vectors: [[1.0, 0.0, 1.0, 0.1], [1.0, 0.1, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0], [0.1, 1.0, 0.1, 1.0f32]]
                .concat(),
            dim: 4,
            ..Embedded::default()
        };
        let masks = vec![vec![1.0, 1.0, 0.0, 0.0], vec![-1.0, 0.0, 1.0, 1.0]];
        let rows = [0, 1, 2, 3];
        let folder = tempfile::tempdir().unwrap();
        search(&embedded, &masks, &rows, &rows, &|_, _| false, folder.path()).unwrap();
        let found = Subspaces::read(&folder.path().join("neighbours.bin"), masks, embedded.ids.clone()).unwrap();
        assert_eq!([0, 1].map(|learner| found.of(learner, 0).0[0]), [11, 12]);
        let label = |id: u32| Some(embedded.labels[id as usize - 10]);
        assert_eq!(found.recall(label), (vec![1.0, 0.0], 1.0));
        assert_eq!(found.found_by_one(label), BTreeMap::from([(0, 0), (1, 0), (2, 0), (3, 0)]));
        assert_eq!(found.overlap(), [1.0; 4]);
    }
}
