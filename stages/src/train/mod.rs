//! `train`: moves the model so that images of a class come together, each learner in its subspace on its cluster.
//!
//! Per round it trains all learners, walking them round-robin (the papers' schedule); per learner it trains one, and
//! `merge` brings them together. Each epoch's state is kept ([`checkpoint`]), so that a kill loses the epoch in flight only.

mod checkpoint;
mod optimiser;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use candle_core::Device;
use dnc_learn::error::LearnError;
use dnc_learn::losses::LossConfig;
use dnc_learn::miners::MinerConfig;
use dnc_learn::optimise::{Optimiser, Settings};
use dnc_learn::parameters::{Frozen, Parameters};
use dnc_learn::samplers::SamplerConfig;
use dnc_learn::schedules::ScheduleConfig;
use dnc_learn::streams::Streams;
use dnc_learn::subspaces::SubspaceConfig;
use dnc_learn::training::{Method, StepStatistics, Turn, scaled, turns};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use optimiser::{GroupRate, OptimiserConfig};

use crate::context::Context;
use crate::error::StageError;
use crate::kind::Kind;
use crate::loader::{Loader, Look, Request};
use crate::stage::{Ambient, Input, Output, ParamError, Ports, Resources, Stage, Threads};
use crate::tables::assignments::Assignments;
use crate::tables::history::{self, HistoryRow};
use crate::tables::images::Images;
use crate::tables::views::Views;
use crate::tables::{Split, model};
use checkpoint::Checkpoint;

/// Trains the model for some epochs under one division.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Train {
    /// Epochs, each as many batches as the training images make.
    pub epochs: u32,
    /// What makes an embedding bad.
    pub loss: LossConfig,
    /// Which triplets or pairs of a batch the loss is summed over; without it, what goes with the loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miner: Option<MinerConfig>,
    /// Which images make a batch.
    pub sampler: SamplerConfig,
    /// The part of the embedding that each learner compares images in.
    pub subspaces: SubspaceConfig,
    /// How the model moves.
    pub optimiser: OptimiserConfig,
    /// How learning rates change over the epochs of all rounds.
    pub schedule: ScheduleConfig,
    /// So many epochs at the beginning of each round only the embedding and the masks move.
    pub freeze_backbone: u32,
    /// Keeps the scales and shifts of batch-norms as they are; their statistics always stay.
    pub freeze_affine: bool,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            epochs: 2,
            loss: LossConfig::default(),
            miner: None,
            sampler: SamplerConfig::default(),
            subspaces: SubspaceConfig::default(),
            optimiser: OptimiserConfig::default(),
            schedule: ScheduleConfig::default(),
            freeze_backbone: 0,
            freeze_affine: false,
        }
    }
}

impl Stage for Train {
    const NAME: &'static str = "train";
    const VERSION: u32 = 6;
    const SUMMARY: &'static str = "Trains the learners of a round, or one of them";

    fn ports(&self) -> Ports {
        let columns = ["id", "label", "split", "height", "width", "pixels"];
        Ports {
            inputs: vec![
                Input::new("images", Kind::Images, &columns),
                Input::whole("views", Kind::Views).optional(),
                Input::new("clusters", Kind::Assignments, &["id", "cluster"]).optional(),
                Input::whole("model", Kind::Model),
            ],
            outputs: vec![Output::new("model", Kind::Model), Output::new("history", Kind::History)],
        }
    }

    fn ambient(&self) -> Ambient {
        Ambient { seed: true, round: true, learners: true, learner: true, arithmetic: true }
    }

    fn check(&self) -> Result<(), ParamError> {
        if self.epochs == 0 {
            return Err(ParamError::new("epochs", "A training has at least one epoch"));
        }
        let loss = self.loss.as_loss();
        if self.miner.is_some() && !loss.takes_selection() {
            return Err(ParamError::new("miner", "This loss looks at the whole batch and takes no miner")
                .hint("leave the miner out, or choose another loss"));
        }
        if self.freeze_backbone > self.epochs {
            let message = format!("{} frozen epochs do not fit a round of {}", self.freeze_backbone, self.epochs);
            return Err(ParamError::new("freeze_backbone", message));
        }
        loss.check().map_err(|error| param_error("loss", &error))?;
        if let Some(miner) = &self.miner {
            miner.as_miner().check().map_err(|error| param_error("miner", &error))?;
        }
        self.subspaces.as_subspaces().check().map_err(|error| param_error("subspaces", &error))?;
        self.sampler.as_sampler().check().map_err(|error| param_error("sampler", &error))?;
        self.schedule.check().map_err(|error| param_error("schedule", &error))?;
        self.optimiser.check()
    }

    fn resources(&self) -> Resources {
        Resources { threads: Threads::Many, device: true, ..Resources::default() }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let images = Images::open(context.input("images")?)?;
        let views = context.input_if_any("views").map(Views::open).transpose()?;
        let division = Division::open(context, &images)?;
        let given = model::Model::open(context.input("model")?)?;
        let method = self.method(&given, division.classes)?;
        let loader = Loader::new(&images, views.as_ref(), method.model.preprocessing)?;

        let first_step = given.step;
        let begin = Checkpoint { epochs: 0, model: given, history: Vec::new() };
        let mut state = Checkpoint::last(context.scratch()?)?.unwrap_or(begin);
        if state.epochs > 0 {
            context.log(format!("Goes on after epoch {} of {}", state.epochs, self.epochs));
        }
        let mut training = Training::begin(self, &method, &division, &loader, &state.model, context)?;
        for epoch in state.epochs..self.epochs {
            for step in training.epoch(context, epoch)? {
                let number = (state.model.step - first_step) as u32;
                state.history.extend(step.terms().map(|(term, value)| HistoryRow {
                    step: number,
                    epoch,
                    learner: step.learner,
                    term: term.to_owned(),
                    value,
                }));
                state.model.step += 1;
            }
            state.epochs = epoch + 1;
            context.log(summary(&state.history, epoch));
            training.save(&mut state.model)?;
            if state.epochs < self.epochs {
                state.write(context.scratch()?)?;
            }
        }
        model::write(context, "model", &state.model)?;
        history::write(context, "history", &state.history)
    }
}

impl Train {
    /// What is trained and how, from the given model on.
    fn method(&self, given: &model::Model, classes: usize) -> Result<Method, StageError> {
        let model = given.network()?;
        let miner = self.miner.clone().unwrap_or_else(|| self.loss.as_loss().usual_miner());
        Ok(Method { model, loss: self.loss.clone(), miner, subspaces: self.subspaces.clone(), classes })
    }
}

/// The training images and who trains on which.
struct Division {
    ids: Vec<u32>,
    /// The class of each, counted from 0 over all training classes.
    labels: Vec<u32>,
    classes: usize,
    /// The rows of each learner's images.
    learners: Vec<Vec<u32>>,
}

impl Division {
    fn open(context: &Context<'_>, images: &Images) -> Result<Self, StageError> {
        let count = context.ambient().learners.unwrap_or(1) as usize;
        let rows = images.ids()?.into_iter().zip(images.labels()?).zip(images.splits()?);
        let (ids, labels): (Vec<u32>, Vec<u32>) =
            rows.filter(|(_, split)| *split == Split::Train).map(|(row, _)| row).unzip();
        let classes: BTreeSet<u32> = labels.iter().copied().collect();
        let numbers: BTreeMap<u32, u32> = classes.iter().copied().zip(0..).collect();
        let labels = labels.iter().map(|label| numbers[label]).collect();

        let mut learners = vec![Vec::new(); count];
        match context.input_if_any("clusters") {
            None if count == 1 => learners[0] = (0..ids.len() as u32).collect(),
            None => {
                return Err(StageError::input(format!(
                    "{count} learners are to be trained, but the port `clusters` is empty"
                )));
            }
            Some(artifact) => {
                let table = Assignments::open(artifact)?;
                let clusters: BTreeMap<u32, i32> =
                    table.ids()?.iter().copied().zip(table.clusters()?.iter().copied()).collect();
                for (row, id) in ids.iter().enumerate() {
                    // An image that was pruned, or is not among the divided ones, has no learner.
                    let Some(cluster) = clusters.get(id).and_then(|&cluster| usize::try_from(cluster).ok()) else {
                        continue;
                    };
                    let learner = learners.get_mut(cluster).ok_or_else(|| {
                        StageError::input(format!("Image {id} is in cluster {cluster}, but there are {count} learners"))
                    })?;
                    learner.push(row as u32);
                }
            }
        }
        Ok(Self { ids, labels, classes: classes.len(), learners })
    }
}

/// A model in training.
struct Training<'a> {
    stage: &'a Train,
    method: &'a Method,
    division: &'a Division,
    loader: &'a Loader<'a>,
    settings: Settings,
    parameters: Parameters,
    optimiser: Optimiser,
    streams: Streams,
    round: u32,
    only: Option<usize>,
    device: Device,
}

/// A step that was taken.
struct Step {
    learner: u32,
    lr: f64,
    found: StepStatistics,
}

impl<'a> Training<'a> {
    fn begin(
        stage: &'a Train,
        method: &'a Method,
        division: &'a Division,
        loader: &'a Loader<'a>,
        model: &model::Model,
        context: &Context<'_>,
    ) -> Result<Self, StageError> {
        let ambient = context.ambient();
        let (round, only) = (ambient.round.unwrap_or(0), ambient.learner.map(|learner| learner as usize));
        let device = context.device()?.clone();
        let settings = stage.optimiser.settings();
        let streams = context.streams()?.named(Train::NAME).at(u64::from(round));
        let (parameters, optimiser) = method
            .begin_round(
                &model.parameters,
                &model.moments,
                division.learners.len(),
                settings.clone(),
                &streams,
                &device,
            )
            .map_err(|source| StageError::compute("begin the round with this model", source))?;
        Ok(Self { stage, method, division, loader, settings, parameters, optimiser, streams, round, only, device })
    }

    /// Trains for one epoch; returns the steps in their order.
    fn epoch(&mut self, context: &Context<'_>, epoch: u32) -> Result<Vec<Step>, StageError> {
        let failed = |source| StageError::compute("train", source);
        let (start, streams) = (Instant::now(), self.streams.at(u64::from(epoch)));
        let Division { ids, labels, learners, .. } = self.division;
        let turns = turns(learners, labels, self.stage.sampler.as_sampler(), &streams, self.only).map_err(failed)?;
        let frozen = Frozen { backbone: epoch < self.stage.freeze_backbone, affine: self.stage.freeze_affine };
        self.parameters.freeze(frozen);

        let of_turn = |turn: &Turn| streams.at(u64::from(turn.learner)).at(u64::from(turn.nth));
        let look = |turn: &Turn| match self.loader.has_views() {
            true => Look::View(of_turn(turn).named("view").seed()),
            false => Look::Evaluation,
        };
        let requests: Vec<Request> = turns
            .iter()
            .map(|turn| Request { ids: turn.images.iter().map(|&row| ids[row as usize]).collect(), look: look(turn) })
            .collect();

        let mut steps = Vec::with_capacity(turns.len());
        self.loader.each(requests, &self.device, |_, images| {
            context.check_cancelled()?;
            let turn = &turns[steps.len()];
            let labels: Vec<u32> = turn.images.iter().map(|&row| labels[row as usize]).collect();
            let share = steps.len() as f64 / turns.len() as f64;
            let past = u64::from(self.round) * u64::from(self.stage.epochs) + u64::from(epoch);
            let factor = self.stage.schedule.factor(past as f64 + share);
            self.optimiser.settings = scaled(&self.settings, factor);
            let learner = turn.learner as usize;
            let found = self
                .method
                .step(&self.parameters, &mut self.optimiser, learner, &images, &labels, &of_turn(turn))
                .map_err(failed)?;
            steps.push(Step { learner: turn.learner, lr: self.settings.backbone.lr * factor, found });
            context.progress(steps.len() as u64, turns.len() as u64, "batches");
            Ok(())
        })?;
        let images: usize = turns.iter().map(|turn| turn.images.len()).sum();
        context.measured("images per second", images as f64 / start.elapsed().as_secs_f64());
        Ok(steps)
    }

    /// Copies tensors and moments into `model`.
    fn save(&self, model: &mut model::Model) -> Result<(), StageError> {
        let failed = |source| StageError::compute("copy the model from the device", source);
        model.parameters = self.parameters.rows().map_err(failed)?;
        model.moments = self.optimiser.rows(&self.parameters).map_err(failed)?;
        Ok(())
    }
}

impl Step {
    /// What the history holds of a step; a term is left out where it does not exist.
    fn terms(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let StepStatistics { loss, orthogonality, terms, informative, negative_distance } = self.found;
        let informative = informative as f64 / terms.max(1) as f64;
        let always = [("loss", loss), ("informative", informative), ("lr", self.lr)];
        let sometimes = [("negative_distance", negative_distance), ("orthogonality", orthogonality)];
        always.into_iter().chain(sometimes.into_iter().filter_map(|(term, value)| Some((term, value?))))
    }
}

/// An epoch in a line: how many steps it had, and the mean of each term over them. With `informative` and `negative_distance` it
/// tells how the mined set changes as training goes on.
fn summary(history: &[HistoryRow], epoch: u32) -> String {
    let means = ["loss", "informative", "negative_distance"].into_iter().filter_map(|term| {
        let mean = history::mean_of_epoch(history, epoch, term)?;
        Some(format!(", {term} {mean:.4}"))
    });
    let steps = history.iter().filter(|row| row.epoch == epoch && row.term == "loss").count();
    format!("Epoch {epoch}: {steps} steps{}", means.collect::<String>())
}

/// A refusal of the method's own as one of the stage's, whose key lies under `table`.
fn param_error(table: &str, error: &LearnError) -> ParamError {
    match error {
        LearnError::Config { parameter, .. } => ParamError::new(format!("{table}.{parameter}"), error.to_string()),
        other => ParamError::new(table, other.to_string()),
    }
}

#[cfg(test)]
mod tests;
