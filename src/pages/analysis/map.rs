//! The map: embeddings in the plane, with a measure of how far to trust it.
//!
//! Up to [`LANDMARKS`] images are placed by t-SNE ([`super::tsne`]); if there are more, the others are placed at the weighted mean of
//! their three nearest landmarks.
//!
//! **Formula** Trustworthiness T(k) = 1 − 2 / (n k (2n − 3k − 1)) · Σ_i Σ_{j ∈ U_i} (r(i, j) − k): U_i are the points among the k nearest
//! of i on the map but not in the embedding, where they have rank r. 1: every neighbour on the map is one in the embedding.
//!
//! **Source** Venna and Kaski, *Neighborhood preservation in nonlinear projection methods*, 2001.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use dnc_kernels::kmeans::{Points, Stop};
use dnc_kernels::neighbours::Gallery;
use rayon::prelude::*;
use serde_json::json;

use super::tsne::{self, NEIGHBOURS, PERPLEXITY, Plane};
use crate::pages::derived::Derivation;
use crate::pages::error::PagesError;
use crate::pages::evidence::{EMBEDDINGS, Embedded, Evidence};

/// Largest number of images that t-SNE places.
pub const LANDMARKS: usize = 5_000;
/// Landmarks that an image is placed by.
const ANCHORS: usize = 3;
/// Number of points whose trustworthiness is measured.
const SAMPLE: usize = 1_500;
/// Clusters if there is a single learner.
const CLUSTERS: usize = 8;
/// Maximum number of clusters with a colour of their own; their numbers fit in a byte.
const MOST_CLUSTERS: usize = 64;
/// When k-means stops.
const STOP: Stop = Stop { iterations: 50, tolerance: 0.0 };
/// Neighbours of the trustworthiness.
const TRUST_K: usize = 10;

/// The map of all rows of the embeddings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    /// The places, in the order of the rows.
    pub plane: Plane,
    /// Trustworthiness for k = 10.
    pub trust: f64,
    /// Number of images that t-SNE placed.
    pub landmarks: usize,
    /// The cluster of each row, by k-means of the embeddings.
    pub clusters: Vec<u8>,
}

impl Map {
    /// Places the embeddings and divides them into as many clusters as there are learners, or finds the map of an earlier report.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn new(evidence: &Evidence, embedded: &Embedded) -> Result<Option<Self>, PagesError> {
        let learners = evidence.subject.as_ref().map_or(1, |subject| subject.chosen().learners);
        let clusters = if learners > 1 { (learners as usize).min(MOST_CLUSTERS) } else { CLUSTERS };
        let vectors = evidence.artifact(&embedded.node, EMBEDDINGS)?;
        let Some((store, vectors)) = evidence.store().zip(vectors) else { return Ok(None) };
        if embedded.ids.len() < 2 * TRUST_K {
            return Ok(None);
        }
        let derivation = Derivation {
            name: "map",
            version: 2,
            params: json!({ "landmarks": LANDMARKS, "perplexity": PERPLEXITY, "clusters": clusters }),
            inputs: &[("embeddings", &vectors, &["id", "split", "vector"])],
            has_arithmetic: true,
        };
        let files = derivation.files(store, |folder| {
            let map = place(&embedded.vectors, embedded.dim, clusters)?;
            let path = folder.join("map.bin");
            fs::write(&path, map.to_bytes()).map_err(|source| PagesError::Write { path, source })
        })?;
        let path = &files.first().ok_or_else(|| PagesError::deriving("the map")("the record is empty"))?.path;
        Self::read(path, embedded.ids.len()).map(Some)
    }

    /// Trustworthiness and number of landmarks, then x and y of each row, little-endian, then the cluster of each row.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.trust.to_le_bytes());
        bytes.extend((self.landmarks as u64).to_le_bytes());
        self.plane.x.iter().zip(&self.plane.y).for_each(|(x, y)| {
            bytes.extend(x.to_le_bytes());
            bytes.extend(y.to_le_bytes());
        });
        bytes.extend(&self.clusters);
        bytes
    }

    fn read(path: &Path, rows: usize) -> Result<Self, PagesError> {
        let bytes = fs::read(path).map_err(|source| PagesError::Read { path: path.to_owned(), source })?;
        if bytes.len() != 16 + rows * 9 {
            return Err(PagesError::deriving("the map")("the record has another length than the embeddings"));
        }
        let (numbers, clusters) = bytes.split_at(16 + rows * 8);
        let (eights, _) = numbers.as_chunks::<8>();
        let mut map = Self {
            trust: f64::from_le_bytes(eights[0]),
            landmarks: u64::from_le_bytes(eights[1]) as usize,
            clusters: clusters.to_vec(),
            ..Self::default()
        };
        for [a, b, c, d, e, f, g, h] in &eights[2..] {
            map.plane.x.push(f32::from_le_bytes([*a, *b, *c, *d]));
            map.plane.y.push(f32::from_le_bytes([*e, *f, *g, *h]));
        }
        Ok(map)
    }

    /// The places as whole numbers from 0 to 65,535, with the aspect ratio kept: 4 bytes a point.
    pub fn packed(&self) -> Vec<[u16; 2]> {
        let range = |values: &[f32]| {
            let start = (f32::INFINITY, f32::NEG_INFINITY);
            values.iter().fold(start, |(low, high), &value| (low.min(value), high.max(value)))
        };
        let ((left, right), (bottom, top)) = (range(&self.plane.x), range(&self.plane.y));
        let scale = 65_535.0 / (right - left).max(top - bottom).max(f32::MIN_POSITIVE);
        let margin = |low: f32, high: f32| (65_535.0 - (high - low) * scale) / 2.0;
        let (dx, dy) = (margin(left, right), margin(bottom, top));
        let place = |(x, y): (&f32, &f32)| [((x - left) * scale + dx) as u16, ((y - bottom) * scale + dy) as u16];
        self.plane.x.iter().zip(&self.plane.y).map(place).collect()
    }
}

fn place(vectors: &[f32], dim: usize, clusters: usize) -> Result<Map, PagesError> {
    let failed = |error| PagesError::deriving("the map")(error);
    let rows = vectors.len() / dim;
    let step = rows.div_ceil(LANDMARKS).max(1);
    let landmarks: Vec<usize> = (0..rows).step_by(step).collect();
    let chosen: Vec<f32> = landmarks.iter().flat_map(|&row| &vectors[row * dim..][..dim]).copied().collect();
    let gallery = Gallery::new(&chosen, dim).map_err(failed)?;
    let k = NEIGHBOURS.min(landmarks.len() - 1);
    let found = gallery.nearest(&chosen, k, |query, row| query == row as usize).map_err(failed)?;
    let list = |query: usize| {
        let (ids, distances) = found.of(query);
        ids.iter().copied().zip(distances.iter().copied()).collect::<Vec<(u32, f32)>>()
    };
    let lists: Vec<Vec<(u32, f32)>> = (0..landmarks.len()).map(list).collect();
    let placed = tsne::place(&lists, &tsne::principal_components(&chosen, dim));
    let trust = trustworthiness(&chosen, dim, &placed);
    let mut plane = Plane { x: vec![0.0; rows], y: vec![0.0; rows] };
    if step == 1 {
        plane = placed;
    } else {
        let anchors = gallery.nearest(vectors, ANCHORS, |_, _| false).map_err(failed)?;
        for row in 0..rows {
            let (ids, distances) = anchors.of(row);
            // A landmark is its own nearest at distance 0 and stays where it is.
            let weights: Vec<f32> = distances.iter().map(|distance| 1.0 / distance.max(1e-12)).collect();
            let sum: f32 = weights.iter().sum();
            for (&id, weight) in ids.iter().zip(&weights) {
                plane.x[row] += placed.x[id as usize] * weight / sum;
                plane.y[row] += placed.y[id as usize] * weight / sum;
            }
        }
    }
    let points = Points::new(vectors, dim).map_err(failed)?;
    let start = points.plus_plus(clusters.min(rows), 0).map_err(failed)?;
    let found = points.lloyd(&start, STOP, |_, _| ControlFlow::Continue(())).map_err(failed)?;
    let clusters = found.assignments.iter().map(|&cluster| cluster as u8).collect();
    Ok(Map { plane, trust, landmarks: landmarks.len(), clusters })
}

/// T(10) of an even sample of the points.
fn trustworthiness(vectors: &[f32], dim: usize, plane: &Plane) -> f64 {
    let all = plane.x.len();
    let sample: Vec<usize> = (0..all).step_by(all.div_ceil(SAMPLE).max(1)).collect();
    let (n, k) = (sample.len(), TRUST_K);
    if 2 * n < 3 * k + 2 {
        return 1.0;
    }
    let penalty = |&point: &usize| -> f64 {
        let apart = |other: usize| {
            let (a, b) = (&vectors[point * dim..][..dim], &vectors[other * dim..][..dim]);
            a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>()
        };
        let on_map =
            |other: usize| (plane.x[point] - plane.x[other]).powi(2) + (plane.y[point] - plane.y[other]).powi(2);
        let sorted = |distance: &dyn Fn(usize) -> f32| {
            let others = sample.iter().filter(|&&other| other != point);
            let mut order: Vec<(f32, usize)> = others.map(|&other| (distance(other), other)).collect();
            order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            order
        };
        let mut rank = vec![0usize; all];
        sorted(&apart).iter().zip(1..).for_each(|(&(_, other), at)| rank[other] = at);
        sorted(&on_map).iter().take(k).map(|&(_, other)| rank[other].saturating_sub(k) as f64).sum()
    };
    let total: f64 = sample.par_iter().map(penalty).collect::<Vec<f64>>().iter().sum();
    let (n, k) = (n as f64, k as f64);
    1.0 - 2.0 / (n * k * (2.0 * n - 3.0 * k - 1.0)) * total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faithful_map_is_trusted_and_a_shuffled_one_is_not() {
        let n = 200;
        let vectors: Vec<f32> =
            (0..n).flat_map(|at| [(at as f32 * 0.1).cos() * at as f32, (at as f32 * 0.1).sin() * at as f32]).collect();
        let axis = |axis: usize| vectors.iter().skip(axis).step_by(2).copied().collect::<Vec<f32>>();
        let faithful = Plane { x: axis(0), y: axis(1) };
        assert_eq!(trustworthiness(&vectors, 2, &faithful), 1.0);
        let shuffled = |values: Vec<f32>| (0..n).map(|at| values[at * 77 % n]).collect::<Vec<f32>>();
        let wrong = Plane { x: shuffled(axis(0)), y: shuffled(axis(1)) };
        assert!(trustworthiness(&vectors, 2, &wrong) < 0.7);
    }

    #[test]
    fn bytes_come_back() {
        let map = Map {
            plane: Plane { x: vec![1.0, -2.0], y: vec![0.5, 7.0] },
            trust: 0.9,
            landmarks: 2,
            clusters: vec![1, 0],
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map");
        fs::write(&path, map.to_bytes()).unwrap();
        assert_eq!(Map::read(&path, 2).unwrap(), map);
        assert!(Map::read(&path, 3).is_err());
        // Twice as high as wide, so it fills the height and is centred along the other axis.
        let map = Map { plane: Plane { x: vec![1.0, -2.0], y: vec![0.0, 6.0] }, ..map };
        let [[right, bottom], [left, top]] = map.packed()[..] else { panic!("there are two points") };
        assert_eq!((bottom, top), (0, 65_535));
        assert!(left.abs_diff(16_384) < 3 && right.abs_diff(49_151) < 3, "{left} {right}");
    }
}
