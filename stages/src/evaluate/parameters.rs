//! Parameters of `evaluate`, as a manifest writes them.

use dnc_learn::subspaces::Merged;
use dnc_tables::Split;
use dnc_tables::pictures::nuisance::Nuisance;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{Ks, Measure, ParamError};
use crate::precision::Precision;

/// Largest k; the table of metrics holds it as `i32`.
const LARGEST_K: u32 = i32::MAX as u32;
/// Largest side of a thumbnail, most galleries and most episodes. Larger numbers are slips, and would fill the memory.
const LARGEST_THUMBNAIL: u16 = 1 << 12;
const MOST_GALLERIES: u32 = 1000;
const MOST_EPISODES: u32 = 1_000_000;

/// Computes retrieval metrics for a model, for embeddings, or for raw pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluate {
    /// Values of k for Recall@k.
    pub recall: Vec<u32>,
    /// Splits to evaluate. Without it, all splits but `train`. Images of the split `query` are searched in the split
    /// `gallery`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub splits: Option<Vec<Split>>,
    /// Person re-identification protocol: ignore gallery images of the query's class and camera, and report CMC@k and mAP
    /// instead of Recall@k, MAP@R and R-precision. Without it, the protocol is used if images have cameras. If it is turned off
    /// although they have, the metric `same_camera_counted` says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cameras: Option<bool>,
    /// VehicleID protocol: number of random galleries. A gallery holds one image of each class of the split; all other images
    /// of the split are searched in it. Without it, each image is searched among all other images of its split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random_galleries: Option<u32>,
    /// Whether to report NMI and AMI between the classes and k-means clusters of the embeddings, with as many clusters as
    /// classes.
    pub nmi: bool,
    /// Few-shot classification on the split's classes. Without it, no few-shot accuracy is reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub few_shot: Option<Episodes>,
    /// Whether to report alignment, uniformity, spectral decay and effective rank of the embeddings.
    pub shape: bool,
    /// Whether to report Recall@1 in each learner's subspace (`subspace_recall`). Needs the input `model`.
    pub subspaces: bool,
    /// Image perturbations that are unrelated to the class. For each, the drop in Recall@1 is reported (`drop_blur` and so on).
    /// Needs the input `images`.
    pub nuisances: Vec<Nuisance>,
    /// Number of nearest neighbours of each query that the table `queries` holds.
    pub neighbours: u32,
    /// Whether to write the vectors of the evaluated images as the output `embeddings`, which search and reports read. Only
    /// vectors that a model computed are written.
    pub embeddings: bool,
    /// Side in pixels of the squares to which images are resized before their raw pixels are compared, which happens if
    /// neither `model` nor `embeddings` is connected. Without it, all images must have the same size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<u16>,
    /// How the learners' subspaces are combined into one embedding.
    pub merged: Merged,
    /// Batch size of the model. It does not affect the metrics.
    pub batch: usize,
    /// Precision of the model. A CPU has "f32" only.
    #[serde(skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
}

impl Default for Evaluate {
    fn default() -> Self {
        Self {
            recall: vec![1, 10],
            splits: None,
            cameras: None,
            random_galleries: None,
            nmi: false,
            few_shot: None,
            shape: false,
            subspaces: false,
            nuisances: Vec::new(),
            neighbours: 10,
            embeddings: true,
            thumbnail: None,
            merged: Merged::Plain,
            batch: 80,
            precision: Precision::F32,
        }
    }
}

impl Evaluate {
    /// Checks values that their types allow but evaluation does not.
    pub(super) fn check_values(&self) -> Result<(), ParamError> {
        if self.recall.is_empty() || self.recall.iter().any(|k| !(1..=LARGEST_K).contains(k)) {
            let message = format!("`recall` needs at least one value of k, each from 1 to {LARGEST_K}");
            return Err(ParamError::new("recall", message));
        }
        if self.batch == 0 {
            return Err(ParamError::new("batch", "`batch` must be at least 1"));
        }
        if self.thumbnail.is_some_and(|side| !(1..=LARGEST_THUMBNAIL).contains(&side)) {
            let message = format!("`thumbnail` must be between 1 and {LARGEST_THUMBNAIL}");
            return Err(ParamError::new("thumbnail", message));
        }
        if self.random_galleries.is_some_and(|count| !(1..=MOST_GALLERIES).contains(&count)) {
            let message = format!("`random_galleries` must be between 1 and {MOST_GALLERIES}");
            return Err(ParamError::new("random_galleries", message));
        }
        self.few_shot.as_ref().map_or(Ok(()), Episodes::check_values)
    }

    /// The metrics of a split that these parameters allow; none if the split is left out. Whether images have cameras is known only
    /// with the data, unless `cameras` says so.
    pub(super) fn measures_of(&self, split: Split) -> Vec<Measure> {
        // Images of the split `gallery` are never queries.
        if split == Split::Gallery || !self.includes(split) {
            return Vec::new();
        }
        let mut measures = Vec::new();
        if self.cameras != Some(true) {
            let plain = ["map_at_r", "r_precision"].map(Measure::plain);
            measures.extend(plain.into_iter().chain([Measure::at("recall", &self.recall)]));
        }
        if self.cameras != Some(false) {
            measures.extend([Measure::plain("map"), Measure::at("cmc", &self.recall)]);
        }
        if self.nmi {
            measures.extend(["nmi", "ami"].map(Measure::plain));
        }
        if self.shape {
            measures.extend(["alignment", "uniformity", "spectral_decay", "effective_rank"].map(Measure::plain));
        }
        if let Some(Episodes { ways, shots, .. }) = &self.few_shot {
            let names = ["", "_half_width"].map(|end| format!("few_shot_{ways}_way{end}"));
            measures.extend(names.map(|name| Measure::at(name, shots)));
        }
        if self.subspaces {
            measures.push(Measure { metric: "subspace_recall".to_owned(), ks: Ks::Learners });
        }
        measures.extend(self.nuisances.iter().map(|nuisance| Measure::at(format!("drop_{}", nuisance.name()), &[1])));
        measures
    }

    /// Whether the images of a split are evaluated as queries.
    pub(super) fn includes(&self, split: Split) -> bool {
        self.splits.as_ref().map_or(split != Split::Train, |splits| splits.contains(&split))
    }
}

/// Few-shot episodes: `queries` images of each of `ways` classes are classified by the nearest class mean of `shots` images.
/// The defaults are those of the few-shot literature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Episodes {
    /// Number of classes per episode.
    pub ways: u32,
    /// Numbers of labelled images per class. Accuracy is reported for each number.
    pub shots: Vec<u32>,
    /// Number of images per class that are classified.
    pub queries: u32,
    /// Number of episodes whose accuracy is averaged.
    pub episodes: u32,
}

impl Default for Episodes {
    fn default() -> Self {
        Self { ways: 5, shots: vec![1, 5], queries: 15, episodes: 600 }
    }
}

impl Episodes {
    fn check_values(&self) -> Result<(), ParamError> {
        if self.ways < 2 || self.queries == 0 || self.shots.is_empty() || self.shots.contains(&0) || self.episodes < 2 {
            let message = "`few_shot` needs `ways` and `episodes` of at least 2, `queries` of at least 1, and at least one \
                           number of `shots`, each at least 1";
            return Err(ParamError::new("few_shot", message));
        }
        if self.episodes > MOST_EPISODES {
            let message = format!("`episodes` of `few_shot` must be at most {MOST_EPISODES}");
            return Err(ParamError::new("few_shot.episodes", message));
        }
        Ok(())
    }
}
