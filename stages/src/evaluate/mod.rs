//! `evaluate`: how well the images of unseen classes find their like.
//!
//! **Reading order** [`embedded`]: the vectors that are compared, of a model, of a table, or of the images' own pixels, which is
//! the least that a model has to beat. [`search`]: who is searched for among whom. [`retrieval`]: what was found, as metrics and as a
//! row for each query. Then what is judged only where it is asked for: [`clusters`], [`episodes`], [`shape`], [`subspaces`],
//! [`nuisances`]. The metrics themselves, each with its formula, are in [`dnc_learn::metrics`].

mod clusters;
mod embedded;
mod episodes;
mod nuisances;
mod retrieval;
mod rows;
mod search;
mod shape;
mod subspaces;
#[cfg(test)]
mod tests;

use dnc_learn::subspaces::Merged;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::StageError;
use crate::kind::Kind;
use crate::stage::{Ambient, Input, Output, ParamError, Ports, Resources, Stage, Threads};
use crate::tables::{Split, metrics, model, queries};
use crate::views::nuisance::Nuisance;
pub use episodes::Episodes;

use embedded::{Compared, Embedded};
use rows::Rows;

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
    /// How often a gallery of one image of each class is drawn, in which all others of the split are searched, as VehicleID has
    /// it; without it, the images of a split are searched among all others of it, and queries in the gallery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random_galleries: Option<u32>,
    /// Whether k-means with as many clusters as classes is compared with the classes, by NMI and AMI.
    pub nmi: bool,
    /// Episodes of a few images of a few classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub few_shot: Option<Episodes>,
    /// Whether alignment, uniformity, spectral decay and effective rank of the embedding are reported.
    pub shape: bool,
    /// Whether Recall@1 in each learner's subspace is reported.
    pub subspaces: bool,
    /// What the images are changed by; reported is by how much Recall@1 drops.
    pub nuisances: Vec<Nuisance>,
    /// How many neighbours of each query the table of queries holds.
    pub neighbours: u32,
    /// The side in pixels of the squares that all images are brought to where their own pixels are compared; without it, they
    /// must have one size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<u16>,
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
            random_galleries: None,
            nmi: false,
            few_shot: None,
            shape: false,
            subspaces: false,
            nuisances: Vec::new(),
            neighbours: 10,
            thumbnail: None,
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
        let draws =
            self.nmi || self.random_galleries.is_some() || self.few_shot.is_some() || !self.nuisances.is_empty();
        Ambient { seed: draws, round: true, learners: true, arithmetic: true, ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        if self.recall.is_empty() || self.recall.contains(&0) {
            return Err(ParamError::new("recall", "`recall` must name numbers of neighbours, each at least 1"));
        }
        if self.batch == 0 {
            return Err(ParamError::new("batch", "A batch needs at least one image"));
        }
        if self.thumbnail == Some(0) {
            return Err(ParamError::new("thumbnail", "A thumbnail has at least one pixel"));
        }
        if self.random_galleries == Some(0) {
            return Err(ParamError::new("random_galleries", "At least one gallery must be drawn"));
        }
        self.few_shot.as_ref().map_or(Ok(()), Episodes::check)
    }

    fn resources(&self) -> Resources {
        Resources { threads: Threads::Many, device: true, ..Resources::default() }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let compared = Compared::open(self, context)?;
        let embedded = compared.embedded(context)?;
        let mut rows = Rows::of(context);
        for split in [Split::Train, Split::Validation, Split::Test, Split::Query] {
            if !self.judges(split) || embedded.rows(split).is_empty() {
                continue;
            }
            let searches = search::searches(self, context, &embedded, split)?;
            let recall_at_1 = retrieval::judge(self, context, &searches, &mut rows)?;
            self.judge_more(context, &compared, &embedded, split, recall_at_1, &mut rows)?;
        }
        if rows.metrics.is_empty() {
            return Err(StageError::input(
                "There is no image to judge: no split but training, or none that `splits` names",
            ));
        }
        metrics::write(context, "metrics", rows.metrics)?;
        queries::write(context, "queries", &rows.queries)
    }
}

impl Evaluate {
    fn judges(&self, split: Split) -> bool {
        self.splits.as_ref().map_or(split != Split::Train, |splits| splits.contains(&split))
    }

    /// What is reported of a split only where it is asked for. Queries are found in the gallery, so of them it is the gallery that
    /// clusters, episodes and shape are about.
    fn judge_more(
        &self,
        context: &Context<'_>,
        compared: &Compared<'_>,
        embedded: &Embedded,
        split: Split,
        recall_at_1: f64,
        rows: &mut Rows,
    ) -> Result<(), StageError> {
        if self.nmi || self.shape || self.few_shot.is_some() {
            let within = if split == Split::Query { Split::Gallery } else { split };
            let images = embedded.only(&embedded.rows(within));
            if self.nmi {
                clusters::judge(context, split, &images, rows)?;
            }
            if self.shape {
                shape::judge(context, split, &images, rows)?;
            }
            if let Some(episodes) = &self.few_shot {
                episodes.judge(context, split, &images, rows)?;
            }
        }
        if self.subspaces {
            subspaces::judge(self, context, compared, embedded, split, rows)?;
        }
        nuisances::judge(self, context, compared, embedded, split, recall_at_1, rows)
    }
}
