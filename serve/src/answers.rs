//! Answers, as they are written in JSON. Fields may be added, never renamed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All runs.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Runs {
    /// Version of the program.
    pub version: String,
    /// Whether labels cannot be corrected.
    pub read_only: bool,
    /// The runs that are served, as they were given. The first is used where a request names none.
    pub served: Vec<String>,
    /// All runs, the last started first.
    pub runs: Vec<Run>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Run {
    /// Its name, such as `sop/3`.
    pub run: String,
    /// `done`, `failed`, `interrupted`, `running`, or `unfinished` if it was killed.
    pub state: String,
    /// When it started, in seconds since 1970.
    pub started: Option<u64>,
    /// How long it took, in seconds.
    pub seconds: Option<f64>,
    /// Its result in a number, such as `test recall@1 0.3962`.
    pub result: Option<String>,
    /// Values that `--set` and `--vary` changed.
    pub overrides: Vec<String>,
    /// The metric of `rounds`.
    pub metric: Option<String>,
    /// Its value in each round.
    pub rounds: Vec<Round>,
    /// What can be searched, if this run is served.
    pub search: Option<Searchable>,
}

/// A round in the list of runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Round {
    /// Its number, from 0.
    pub round: i32,
    /// Number of learners.
    pub learners: i32,
    /// Value of the metric.
    pub value: f64,
}

/// What can be searched in a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Searchable {
    /// Number of images that are searched.
    pub images: usize,
    /// Digest of their ids, classes and origins. Only in runs with the same one does an id mean the same image.
    pub images_digest: String,
    /// Dimension of the embeddings.
    pub dimension: usize,
    /// Number of learners of the model.
    pub learners: usize,
    /// Names of the classes of the images that are searched, sorted; the first ones if there are many.
    pub classes: Vec<String>,
    /// Ids of some of the images, spread over all.
    pub examples: Vec<u32>,
    /// Why the run cannot be searched, if so.
    pub problem: Option<String>,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RunState {
    /// Its name, such as `sop/3`.
    pub run: String,
    /// As in the list of runs.
    pub state: String,
    /// When it started, in seconds since 1970.
    pub started: u64,
    /// How long it took, or has taken at the time of the last news, in seconds.
    pub seconds: f64,
    /// Its nodes in the order of the plan.
    pub nodes: Vec<Node>,
    /// The values of its metrics so far.
    pub metrics: Vec<Metric>,
}

/// A node of a run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Node {
    /// Its name, such as `train@2[3]`.
    pub node: String,
    /// Kind of its stage.
    pub stage: String,
    /// `waiting`, `running`, `hit`, `ran`, `failed`, `skipped` or `cancelled`.
    pub state: String,
    /// When it began, in seconds since the start of the run.
    pub began: Option<f64>,
    /// How long it ran, in seconds.
    pub seconds: f64,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// The metrics of a run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Metrics {
    /// Its name, such as `sop/3`.
    pub run: String,
    /// The values.
    pub metrics: Vec<Metric>,
}

/// A value of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Metric {
    /// The node that measured it.
    pub node: String,
    /// Round of the evaluated model; -1 outside of rounds.
    pub round: i32,
    /// Its number of learners.
    pub learners: i32,
    /// Split of the evaluated images.
    pub split: String,
    /// Name of the metric, such as `recall`.
    pub metric: String,
    /// The k of the metric, if it has one.
    pub k: Option<i32>,
    /// The value.
    pub value: f64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Found {
    /// The run that was searched.
    pub run: String,
    /// Whether even the nearest image is so far away that fewer than 5 % of such neighbours are right.
    pub nothing_near: bool,
    /// The most frequent class among the neighbours.
    pub vote: Option<Vote>,
    /// The nearest images, nearest first.
    pub neighbours: Vec<Neighbour>,
    /// Width and height in pixels of the image that was searched for, as the run decodes it, before it was cropped.
    pub size: Option<[usize; 2]>,
    /// The embedding that was searched for, if it was asked for.
    pub vector: Option<Vec<f32>>,
    /// How long it took, in milliseconds.
    pub milliseconds: f64,
}

/// The most frequent class among the neighbours.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Vote {
    /// The class.
    pub class: String,
    /// Number of neighbours of this class.
    pub count: usize,
    /// Share of right neighbours at the distances of these, on average, if it is known.
    pub share_right: Option<f64>,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Neighbour {
    /// Its rank, from 1.
    pub rank: usize,
    /// Its id among the images of the run.
    pub id: u32,
    /// Its class.
    pub class: String,
    /// Distance of the embeddings.
    pub distance: f32,
    /// Share of right neighbours at this distance among the run's own queries, if it is known.
    pub share_right: Option<f64>,
    /// The file that it came from, or its name in the data set.
    pub source: String,
}

/// An embedding.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Embedding {
    /// The run whose model computed it.
    pub run: String,
    /// The L2-normalised vector.
    pub vector: Vec<f32>,
    /// Width and height in pixels of the image, as the run decodes it, before it was cropped.
    pub size: [usize; 2],
}

/// The corrected labels of a run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Labels {
    /// The run.
    pub run: String,
    /// The corrections.
    pub labels: Vec<Label>,
}

/// A corrected label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Label {
    /// Id of the image.
    pub id: u32,
    /// The file that it came from, or its name in the data set.
    pub source: String,
    /// The class that the data set gives it.
    pub was: String,
    /// Its right class; empty if the image belongs to none and should be left out.
    pub class: String,
}

/// Correction of a label.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// Id of the image.
    pub id: u32,
    /// Its right class; empty if the image belongs to none and should be left out; null takes the correction back.
    pub class: Option<String>,
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// The reason, in a sentence.
    pub error: String,
}
