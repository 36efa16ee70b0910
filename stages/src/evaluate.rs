//! `evaluate`: how well the images of unseen classes find their like.
//!
//! Each split is searched by itself: validation and test images among all others of their split, queries in the gallery.
//! With `cameras`, what shows the query's class under the query's camera does not count (person re-identification). The
//! metrics themselves are in [`dnc_learn::metrics`]. Without a model the images' own pixels are compared, which is the least
//! that a model has to beat.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow::{Break, Continue};

use dnc_kernels::kmeans::{Stop, lloyd, plus_plus};
use dnc_kernels::neighbours::{Gallery, Neighbours};
use dnc_learn::metrics::{
    PerQuery, Ranking, average_precision, cmc, map_at_r, nmi, r_precision, recall_at_k, relevant_across_cameras,
    relevant_between, relevant_within,
};
use dnc_learn::subspaces::Merged;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::embed::Embed;
use crate::error::StageError;
use crate::kind::Kind;
use crate::stage::{Ambient, Input, Output, ParamError, Ports, Resources, Stage, Threads};
use crate::tables::Split;
use crate::tables::embeddings::Embeddings;
use crate::tables::images::Images;
use crate::tables::metrics::{self, MetricRow};
use crate::tables::model;
use crate::tables::queries::{self, QueryRow};

/// Iterations of k-means for the normalised mutual information, if it does not settle before.
const NMI_ITERATIONS: usize = 100;

/// The round of a node that stands outside of rounds.
const NO_ROUND: i32 = -1;

/// Judges a model, embeddings, or the images' own pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluate {
    /// Numbers of nearest images among which one of the same class is to be.
    pub recall: Vec<u32>,
    /// Splits that are judged; without it, all but training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub splits: Option<Vec<Split>>,
    /// Whether images of the query's class and camera are left out, and CMC and mAP are reported as for persons.
    pub cameras: bool,
    /// Whether k-means with as many clusters as classes is compared with the classes.
    pub nmi: bool,
    /// How many neighbours of each query the table of queries holds.
    pub neighbours: u32,
    /// How the learners' parts become one embedding.
    pub merged: Merged,
    /// Images that are embedded at a time.
    pub batch: usize,
}

impl Default for Evaluate {
    fn default() -> Self {
        Self {
            recall: vec![1, 10],
            splits: None,
            cameras: false,
            nmi: false,
            neighbours: 10,
            merged: Merged::Plain,
            batch: 80,
        }
    }
}

impl Stage for Evaluate {
    const NAME: &'static str = "evaluate";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Judges an embedding by what each image finds";

    fn ports(&self) -> Ports {
        let mut images = vec!["id", "label", "split", "height", "width", "pixels"];
        if self.cameras {
            images.push("camera");
        }
        Ports {
            inputs: vec![
                Input::new("images", Kind::Images, &images).optional(),
                Input::new("model", Kind::Model, &[model::PARAMETERS]).optional(),
                Input::new("embeddings", Kind::Embeddings, &["id", "label", "split", "vector"]).optional(),
            ],
            outputs: vec![Output::new("metrics", Kind::Metrics), Output::new("queries", Kind::Queries)],
        }
    }

    fn ambient(&self) -> Ambient {
        Ambient { seed: self.nmi, round: true, learners: true, arithmetic: true, ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        if self.recall.is_empty() || self.recall.contains(&0) {
            return Err(ParamError::new("recall", "`recall` must name numbers of neighbours, each at least 1"));
        }
        if self.batch == 0 {
            return Err(ParamError::new("batch", "A batch needs at least one image"));
        }
        Ok(())
    }

    fn resources(&self) -> Resources {
        Resources { threads: Threads::Many, device: true, ..Resources::default() }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let embedded = self.embedded(context)?;
        let mut tables = Tables::of(context);
        let mut judged = 0;
        for split in [Split::Train, Split::Validation, Split::Test, Split::Query] {
            context.check_cancelled()?;
            let queries = embedded.rows(split);
            if queries.is_empty() || !self.judges(split) {
                continue;
            }
            let gallery = if split == Split::Query { embedded.rows(Split::Gallery) } else { queries.clone() };
            if gallery.is_empty() {
                return Err(StageError::input("There are queries but no gallery that they could be searched in"));
            }
            self.judge(split, &embedded.only(&queries), &embedded.only(&gallery), &mut tables)?;
            if self.nmi {
                let value = embedded.only(&gallery).nmi(context)?;
                tables.metric(split, "nmi", None, value);
            }
            judged += 1;
        }
        if judged == 0 {
            return Err(StageError::input(
                "There is no image to judge: no split but training, or none that `splits` names",
            ));
        }
        metrics::write(context, "metrics", tables.metrics)?;
        queries::write(context, "queries", &tables.queries)
    }
}

impl Evaluate {
    fn judges(&self, split: Split) -> bool {
        self.splits.as_ref().map_or(split != Split::Train, |splits| splits.contains(&split))
    }

    /// The vectors of whatever is to be judged.
    fn embedded(&self, context: &Context<'_>) -> Result<Embedded, StageError> {
        let images = context.input_if_any("images").map(Images::open).transpose()?;
        let cameras = match &images {
            Some(images) if self.cameras => Some((images.ids()?, images.cameras()?)),
            _ => None,
        };
        let mut embedded = match (context.input_if_any("embeddings"), images) {
            (Some(embeddings), _) => Embedded::read(&Embeddings::open(embeddings)?)?,
            (None, None) => return Err(StageError::input("The stage needs `embeddings`, or `images` to compute them")),
            (None, Some(images)) => {
                let rows = self.judged_rows(&images)?;
                if context.input_if_any("model").is_some() {
                    let embed = Embed { merged: self.merged, batch: self.batch, ..Embed::default() };
                    let (vectors, dim) = embed.vectors(context, &images, &rows.ids)?;
                    Embedded { vectors, dim, ..rows }
                } else {
                    let (vectors, dim) = pixels(&images, &rows.ids)?;
                    Embedded { vectors, dim, ..rows }
                }
            }
        };
        if self.cameras {
            let (ids, cameras) =
                cameras.ok_or_else(|| StageError::input("`cameras = true` needs `images` for the cameras"))?;
            let known: HashMap<u32, Option<u16>> = ids.into_iter().zip(cameras).collect();
            let camera = |id: &u32| {
                known
                    .get(id)
                    .copied()
                    .flatten()
                    .ok_or_else(|| StageError::input(format!("The image {id} has no camera")))
            };
            embedded.cameras = Some(embedded.ids.iter().map(camera).collect::<Result<_, _>>()?);
        }
        Ok(embedded)
    }

    /// Ids, labels and splits of the images that are judged, still without vectors.
    fn judged_rows(&self, images: &Images) -> Result<Embedded, StageError> {
        let mut rows = Embedded::default();
        for ((id, label), split) in images.ids()?.into_iter().zip(images.labels()?).zip(images.splits()?) {
            if self.judges(split) || (split == Split::Gallery && self.judges(Split::Query)) {
                rows.ids.push(id);
                rows.labels.push(label);
                rows.splits.push(split);
            }
        }
        Ok(rows)
    }

    /// Searches the queries in the gallery and notes every metric.
    fn judge(
        &self,
        split: Split,
        queries: &Embedded,
        gallery: &Embedded,
        tables: &mut Tables,
    ) -> Result<(), StageError> {
        let failed = |source| StageError::compute(format!("judge the split `{split}`"), source);
        let relevant = queries.relevant(gallery, split);
        let most_relevant = relevant.iter().copied().max().unwrap_or(0);
        let wanted = self.recall.iter().copied().chain([self.neighbours, most_relevant]).max().unwrap_or(1).max(1);
        // Average precision looks at the whole ranking.
        let k = if self.cameras { gallery.ids.len() } else { wanted as usize };
        let found = Gallery::new(&gallery.vectors, gallery.dim)
            .and_then(|searched| {
                searched.nearest(&queries.vectors, k, |query, row| queries.skips(query, gallery, row as usize, split))
            })
            .map_err(|source| StageError::compute(format!("search the neighbours of the split `{split}`"), source))?;
        let ranking = Ranking::new(&found, &queries.labels, &gallery.labels, &relevant).map_err(failed)?;
        let first = recall_at_k(&ranking, 1).map_err(failed)?;
        let r_precision = r_precision(&ranking).map_err(failed)?;
        let precision = if self.cameras { average_precision(&ranking) } else { map_at_r(&ranking).map_err(failed)? };
        for &k in &self.recall {
            let (name, value) = if self.cameras {
                ("cmc", cmc(&ranking, k as usize).map_err(failed)?)
            } else {
                ("recall", recall_at_k(&ranking, k as usize).map_err(failed)?)
            };
            tables.metric(split, name, Some(k), value.mean());
        }
        if self.cameras {
            tables.metric(split, "map", None, precision.mean());
        } else {
            tables.metric(split, "map_at_r", None, precision.mean());
            tables.metric(split, "r_precision", None, r_precision.mean());
        }
        tables.note(split, queries, gallery, &found, [&first, &r_precision, &precision], self.neighbours as usize);
        Ok(())
    }
}

/// Images with their vectors.
#[derive(Default)]
struct Embedded {
    ids: Vec<u32>,
    labels: Vec<u32>,
    splits: Vec<Split>,
    cameras: Option<Vec<u16>>,
    /// `[images, dim]`.
    vectors: Vec<f32>,
    dim: usize,
}

impl Embedded {
    fn read(table: &Embeddings) -> Result<Self, StageError> {
        Ok(Self {
            ids: table.ids()?.to_vec(),
            labels: table.labels()?.to_vec(),
            splits: table.splits()?,
            cameras: None,
            vectors: table.vectors()?.to_vec(),
            dim: table.dim()?,
        })
    }

    /// The rows of a split.
    fn rows(&self, split: Split) -> Vec<usize> {
        (0..self.ids.len()).filter(|&row| self.splits[row] == split).collect()
    }

    /// These rows alone.
    fn only(&self, rows: &[usize]) -> Self {
        Self {
            ids: rows.iter().map(|&row| self.ids[row]).collect(),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
            splits: rows.iter().map(|&row| self.splits[row]).collect(),
            cameras: self.cameras.as_ref().map(|cameras| rows.iter().map(|&row| cameras[row]).collect()),
            vectors: rows.iter().flat_map(|&row| &self.vectors[row * self.dim..][..self.dim]).copied().collect(),
            dim: self.dim,
        }
    }

    /// Whether a row of the gallery does not count for a query: it is the query itself or, with cameras, the same class
    /// under the same camera.
    fn skips(&self, query: usize, gallery: &Self, row: usize, split: Split) -> bool {
        if split != Split::Query && query == row {
            return true;
        }
        match (&self.cameras, &gallery.cameras) {
            (Some(here), Some(there)) => self.labels[query] == gallery.labels[row] && here[query] == there[row],
            _ => false,
        }
    }

    /// How many rows of the gallery are of each query's class, without those that do not count.
    fn relevant(&self, gallery: &Self, split: Split) -> Vec<u32> {
        let pairs = |side: &Self| {
            let cameras = side.cameras.as_ref()?;
            Some(side.labels.iter().copied().zip(cameras.iter().copied()).collect::<Vec<_>>())
        };
        match (pairs(self), pairs(gallery)) {
            (Some(queries), Some(gallery)) => relevant_across_cameras(&queries, &gallery),
            _ if split == Split::Query => relevant_between(&self.labels, &gallery.labels),
            _ => relevant_within(&self.labels),
        }
    }

    /// Normalised mutual information of the classes and as many clusters.
    fn nmi(&self, context: &Context<'_>) -> Result<f64, StageError> {
        let failed = |source| StageError::compute("cluster the embeddings for the metric `nmi`", source);
        let classes = self.labels.iter().collect::<BTreeSet<_>>().len();
        let seed = context.streams()?.named("evaluate").named("nmi").seed();
        let centroids = plus_plus(&self.vectors, self.dim, classes, seed).map_err(failed)?;
        let stop = Stop { iterations: NMI_ITERATIONS, tolerance: 0.0 };
        let unless_cancelled = |_, _| if context.check_cancelled().is_ok() { Continue(()) } else { Break(()) };
        let clustering = lloyd(&self.vectors, self.dim, &centroids, stop, unless_cancelled).map_err(failed)?;
        context.check_cancelled()?;
        nmi(&clustering.assignments, &self.labels)
            .map_err(|source| StageError::compute("compare clusters with classes", source))
    }
}

/// The two tables as far as they are filled.
struct Tables {
    round: i32,
    learners: i32,
    metrics: Vec<MetricRow>,
    queries: Vec<QueryRow>,
}

impl Tables {
    fn of(context: &Context<'_>) -> Self {
        let ambient = context.ambient();
        let round = ambient.round.map_or(NO_ROUND, |round| round as i32);
        let learners = ambient.learners.map_or(0, |learners| learners as i32);
        Self { round, learners, metrics: Vec::new(), queries: Vec::new() }
    }

    fn metric(&mut self, split: Split, name: &str, k: Option<u32>, value: f64) {
        let (round, learners, metric) = (self.round, self.learners, name.to_owned());
        self.metrics.push(MetricRow { round, learners, split, metric, k: k.map(|k| k as i32), value });
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a row of the table is put together from all that is known of a query"
    )]
    fn note(
        &mut self,
        split: Split,
        queries: &Embedded,
        gallery: &Embedded,
        found: &Neighbours,
        [hits, r_precisions, precisions]: [&PerQuery; 3],
        neighbours: usize,
    ) {
        for query in 0..queries.ids.len() {
            // A query of whose class there is nothing to be found says nothing about a model.
            let (Some(hit), Some(r_precision), Some(average_precision)) =
                (hits.0[query], r_precisions.0[query], precisions.0[query])
            else {
                continue;
            };
            let (rows, distances) = found.of(query);
            let is_hit = |&row: &u32| gallery.labels[row as usize] == queries.labels[query];
            let kept = rows.len().min(neighbours);
            self.queries.push(QueryRow {
                id: queries.ids[query],
                label: queries.labels[query],
                split,
                neighbours: rows[..kept].iter().map(|&row| gallery.ids[row as usize]).collect(),
                distances: distances[..kept].iter().map(|&squared| squared.sqrt()).collect(),
                hit: hit == 1.0,
                first_hit: rows.iter().position(is_hit).map(|place| place as u32 + 1),
                r_precision,
                average_precision,
            });
        }
    }
}

/// The images' own pixels as vectors of length 1, `[ids, height × width × 3]`.
fn pixels(images: &Images, ids: &[u32]) -> Result<(Vec<f32>, usize), StageError> {
    let pictures = images.pixels()?;
    let mut vectors = Vec::new();
    let mut size = None;
    for &id in ids {
        let row = images.row(id).ok_or_else(|| StageError::input(format!("There is no image {id}")))?;
        let picture = pictures.of(row);
        let found = (picture.height, picture.width);
        if *size.get_or_insert(found) != found {
            let message = "The images' own pixels can only be compared where all images have one size; `decode` them with \
                           `resize = { exact = [height, width] }`, or give a model";
            return Err(StageError::input(message));
        }
        let squares: u64 = picture.pixels.iter().map(|&value| u64::from(value).pow(2)).sum();
        // A black image has no direction; it stays the zero vector.
        let scale = if squares == 0 { 0.0 } else { 1.0 / (squares as f64).sqrt() };
        vectors.extend(picture.pixels.iter().map(|&value| (f64::from(value) * scale) as f32));
    }
    let (height, width) = size.unwrap_or_default();
    Ok((vectors, height * width * 3))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::context::InputArtifact;
    use crate::stage::StageKind;
    use crate::tables::embeddings::{self, EmbeddingRows};
    use crate::tables::images::{ImageRow, ImagesWriter};
    use crate::testing::{Outputs, Workshop, artifact, digest, on_threads};

    fn stage(params: serde_json::Value) -> Evaluate {
        serde_json::from_value(params).unwrap()
    }

    /// Unit vectors at these degrees, as (degrees, label, split).
    fn embedded(shop: &Workshop, rows: &[(f32, u32, Split)]) -> InputArtifact {
        let ids: Vec<u32> = (0..rows.len() as u32).map(|row| row * 10).collect();
        let labels: Vec<u32> = rows.iter().map(|row| row.1).collect();
        let splits: Vec<Split> = rows.iter().map(|row| row.2).collect();
        let unit = |row: &(f32, u32, Split)| [row.0.to_radians().cos(), row.0.to_radians().sin()];
        let vectors: Vec<f32> = rows.iter().flat_map(unit).collect();
        let rows = EmbeddingRows { ids: &ids, labels: &labels, splits: &splits, vectors: &vectors, dim: 2 };
        shop.write(Kind::Embeddings, "out", |context| embeddings::write(context, "out", rows)).unwrap().0
    }

    /// Images of one shade over another, as (upper, lower, label, split, camera).
    fn pictures(shop: &Workshop, rows: &[(u8, u8, u32, Split, Option<u16>)]) -> InputArtifact {
        let written = shop.write(Kind::Images, "out", |context| {
            let mut writer = ImagesWriter::create(context, "out")?;
            for &(upper, lower, label, split, camera) in rows {
                let pixels = [[upper; 3], [lower; 3]].concat();
                let (class, source, height, width) = ("a", "a.png", 2, 1);
                writer.push(&ImageRow { label, class, split, camera, source, height, width, pixels: &pixels })?;
            }
            writer.finish(context)
        });
        written.unwrap().0
    }

    fn metrics_of(outputs: &Outputs) -> String {
        let rows = metrics::open(&artifact(Kind::Metrics, &outputs["metrics"].folder)).unwrap();
        let k = |k: Option<i32>| k.map(|k| format!("@{k}")).unwrap_or_default();
        let line =
            |row: &MetricRow| format!("{} {} {}{} {:.4}\n", row.round, row.split, row.metric, k(row.k), row.value);
        rows.iter().map(line).collect()
    }

    fn queries_of(outputs: &Outputs) -> Vec<QueryRow> {
        queries::open(&artifact(Kind::Queries, &outputs["queries"].folder)).unwrap()
    }

    use Split::{Gallery as G, Query as Q, Test as T, Train, Validation as V};

    #[test]
    fn each_split_is_searched_by_itself() {
        let shop = Workshop::new();
        // In the test split the nearest of 0° is 10° (right), of 10° is 0° (right), of 25° is 10° (wrong), of 60° is 25° (right).
        let rows = [
            (0.0, 5, T),
            (10.0, 5, T),
            (25.0, 6, T),
            (60.0, 6, T),
            (5.0, 5, Train),
            (0.0, 7, V),
            (90.0, 7, V),
            (91.0, 8, V),
        ];
        let embeddings = embedded(&shop, &rows);
        let outputs =
            shop.run(&stage(json!({ "recall": [1, 2], "neighbours": 2 })), &[("embeddings", &embeddings)]).unwrap();
        insta::assert_snapshot!(metrics_of(&outputs), @r"
        0 validation map_at_r 0.5000
        0 validation r_precision 0.5000
        0 validation recall@1 0.5000
        0 validation recall@2 1.0000
        0 test map_at_r 0.7500
        0 test r_precision 0.7500
        0 test recall@1 0.7500
        0 test recall@2 0.7500
        ");
        let queries = queries_of(&outputs);
        assert_eq!(queries.iter().map(|query| query.id).collect::<Vec<_>>(), [50, 60, 0, 10, 20, 30]);
        let third = &queries[4];
        assert_eq!((third.neighbours.as_slice(), third.hit, third.split), (&[10, 0][..], false, T));
        // The chord of 15°.
        assert!((third.distances[0] - 2.0 * 7.5_f32.to_radians().sin()).abs() < 1e-6);
    }

    #[test]
    fn queries_are_searched_in_the_gallery() {
        let shop = Workshop::new();
        let embeddings = embedded(&shop, &[(0.0, 1, Q), (2.0, 2, Q), (3.0, 2, G), (9.0, 1, G), (50.0, 2, G)]);
        let outputs = shop.run(&stage(json!({ "recall": [1] })), &[("embeddings", &embeddings)]).unwrap();
        insta::assert_snapshot!(metrics_of(&outputs), @r"
        0 query map_at_r 0.2500
        0 query r_precision 0.2500
        0 query recall@1 0.5000
        ");
    }

    #[test]
    fn the_same_camera_does_not_count() {
        let shop = Workshop::new();
        let rows =
            [(200, 10, 1, Q, Some(1)), (200, 11, 1, G, Some(1)), (200, 30, 2, G, Some(1)), (200, 90, 1, G, Some(2))];
        let images = pictures(&shop, &rows);
        let run = |params| shop.run(&stage(params), &[("images", &images)]).unwrap();
        insta::assert_snapshot!(metrics_of(&run(json!({ "recall": [1] }))), @r"
        0 query map_at_r 0.5000
        0 query r_precision 0.5000
        0 query recall@1 1.0000
        ");
        insta::assert_snapshot!(metrics_of(&run(json!({ "recall": [1, 2], "cameras": true }))), @r"
        0 query cmc@1 0.0000
        0 query cmc@2 1.0000
        0 query map 0.5000
        ");
    }

    #[test]
    fn clusters_are_compared_with_classes() {
        let shop = Workshop::new();
        let rows: Vec<_> = (0..12).map(|n| ((n % 3) as f32 * 100.0 + n as f32 / 10.0, n % 3, T)).collect();
        let embeddings = embedded(&shop, &rows);
        let outputs = shop.run(&stage(json!({ "recall": [1], "nmi": true })), &[("embeddings", &embeddings)]).unwrap();
        assert!(metrics_of(&outputs).contains("test nmi 1.0000"), "{}", metrics_of(&outputs));
    }

    #[test]
    fn what_cannot_be_judged_is_told() {
        let shop = Workshop::new();
        let check = |params, inputs: &[(&str, &InputArtifact)], expected: &str| {
            assert_eq!(shop.run(&stage(params), inputs).unwrap_err().to_string(), expected);
        };
        check(json!({}), &[], "The stage needs `embeddings`, or `images` to compute them");
        let training = embedded(&shop, &[(0.0, 0, Train)]);
        let nothing = "There is no image to judge: no split but training, or none that `splits` names";
        check(json!({}), &[("embeddings", &training)], nothing);
        let queries = embedded(&shop, &[(0.0, 0, Q)]);
        let lonely = "There are queries but no gallery that they could be searched in";
        check(json!({}), &[("embeddings", &queries)], lonely);
        let images = pictures(&shop, &[(1, 2, 0, Q, None), (1, 2, 0, G, Some(1))]);
        check(json!({ "cameras": true }), &[("images", &images)], "The image 0 has no camera");
        let error = StageKind::of::<Evaluate>().parse(json!({ "recall": [] })).err().unwrap();
        assert_eq!(error.key, "recall");
    }

    /// Law 3: whoever changes these bytes raises [`Evaluate::VERSION`] in the same commit, and then this digest.
    #[test]
    fn the_version_stands_for_these_bytes() {
        let shop = Workshop::new();
        let rows: Vec<_> =
            (0..40_u8).map(|n| (n.wrapping_mul(37), n.wrapping_mul(91) | 1, u32::from(n % 7), T, None)).collect();
        let images = pictures(&shop, &rows);
        let params = json!({ "recall": [1, 5], "nmi": true });
        let run = |threads| {
            on_threads(threads, || digest(&shop.run(&stage(params.clone()), &[("images", &images)]).unwrap()))
        };
        assert_eq!((Evaluate::VERSION, run(1).as_str()), (1, "efca7eda55bb0781"));
        assert_eq!(run(1), run(3));
    }
}
