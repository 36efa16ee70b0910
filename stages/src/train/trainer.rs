//! Training loop: the batches of an epoch, one optimiser step each.

use std::time::Instant;

use candle_core::Device;
use dnc_learn::checks::finite_values;
use dnc_learn::optimise::{Optimiser, Settings};
use dnc_learn::parameters::{Frozen, Parameters};
use dnc_learn::streams::Streams;
use dnc_learn::training::{LearnerBatch, Method, StepInput, StepStatistics, epoch_batches};
use dnc_tables::model::Model;

use super::parameters::Train;
use super::training_set::TrainingSet;
use crate::api::{Context, StageError};
use crate::loader::{ImageVariant, Loader, Request};

/// Images whose embeddings are checked after the last step.
const CHECKED_IMAGES: usize = 8;

/// What a trainer works on.
#[derive(Clone, Copy)]
pub(super) struct Setup<'a> {
    pub(super) stage: &'a Train,
    pub(super) method: &'a Method,
    pub(super) images: &'a TrainingSet,
    pub(super) loader: &'a Loader<'a>,
}

/// Model and optimiser in training.
pub(super) struct Trainer<'a> {
    setup: Setup<'a>,
    settings: Settings,
    parameters: Parameters,
    optimiser: Optimiser,
    streams: Streams,
    round: u32,
    /// Number of optimiser steps taken, over all rounds.
    steps: u64,
    /// The learner to train; `None` for all.
    only: Option<usize>,
    device: Device,
}

impl<'a> Trainer<'a> {
    /// Loads `model`, as the previous round or an interrupted run of this node left it.
    pub(super) fn new(setup: Setup<'a>, model: &Model, context: &Context<'_>) -> Result<Self, StageError> {
        let ambient = context.ambient();
        let (round, only) = (ambient.round.unwrap_or(0), ambient.learner.map(|learner| learner as usize));
        let device = context.device()?.clone();
        let settings = setup.stage.optimiser.settings();
        let streams = context.streams()?.named("train").at(u64::from(round));
        let (parameters, optimiser) = setup
            .method
            .begin_round(
                &model.parameters,
                &model.moments,
                setup.images.learners.len(),
                settings.clone(),
                &streams,
                &device,
            )
            .map_err(|source| StageError::compute("load the model for training", source))?;
        let parameters = parameters.with_precision(setup.stage.precision.on(&device)?);
        let steps = model.step;
        Ok(Self { setup, settings, parameters, optimiser, streams, round, steps, only, device })
    }

    /// Trains for one epoch and returns its steps in order.
    pub(super) fn epoch(&mut self, context: &Context<'_>, epoch: u32) -> Result<Vec<FinishedStep>, StageError> {
        let failed = |source| StageError::compute("train the model", source);
        let (start, streams) = (Instant::now(), self.streams.at(u64::from(epoch)));
        let Setup { stage, method, images: TrainingSet { ids, labels, learners, .. }, loader } = self.setup;
        let batches =
            epoch_batches(learners, labels, stage.sampler.as_sampler(), &streams, self.only).map_err(failed)?;
        let frozen = Frozen { backbone: epoch < stage.freeze_backbone, affine: stage.freeze_affine };
        self.parameters.freeze(frozen);

        let streams_of = |batch: &LearnerBatch| streams.at(u64::from(batch.learner)).at(u64::from(batch.nth));
        let variant = |batch: &LearnerBatch| match loader.has_views() {
            true => ImageVariant::View(streams_of(batch).named("view").seed()),
            false => ImageVariant::Evaluation,
        };
        let requests: Vec<Request> = batches
            .iter()
            .map(|batch| Request {
                ids: batch.images.iter().map(|&row| ids[row as usize]).collect(),
                variant: variant(batch),
            })
            .collect();

        let mut steps = Vec::with_capacity(batches.len());
        loader.each(requests, &self.device, |_, pixels| {
            context.check_cancelled()?;
            let batch = &batches[steps.len()];
            let labels: Vec<u32> = batch.images.iter().map(|&row| labels[row as usize]).collect();
            let fraction = steps.len() as f64 / batches.len() as f64;
            let past_epochs = u64::from(self.round) * u64::from(stage.epochs) + u64::from(epoch);
            let factor = stage.schedule.factor(past_epochs as f64 + fraction);
            self.optimiser.settings = self.settings.scaled(factor);
            let (learner, images) = (batch.learner as usize, batch.images.as_slice());
            let (step, streams) = (self.steps, streams_of(batch));
            let input = StepInput { learner, pixels: &pixels, images, labels: &labels, step, streams: &streams };
            let nth = steps.len();
            let failed = |source| StageError::compute(format!("train the model in epoch {epoch}, step {nth}"), source);
            let statistics = method.step(&mut self.parameters, &mut self.optimiser, input).map_err(failed)?;
            self.steps += 1;
            steps.push(FinishedStep { learner: batch.learner, lr: self.settings.backbone.lr * factor, statistics });
            context.progress(steps.len() as u64, batches.len() as u64, "batches");
            Ok(())
        })?;
        let images: usize = batches.iter().map(|batch| batch.images.len()).sum();
        context.measured("images per second", images as f64 / start.elapsed().as_secs_f64());
        Ok(steps)
    }

    /// Checks that the model still computes embeddings. Each step checks those that the step before it left; nothing checked those of
    /// the last step, which was in `epoch`.
    pub(super) fn check(&self, epoch: u32) -> Result<(), StageError> {
        let Setup { method, images, loader, .. } = self.setup;
        let failed = |source| StageError::compute(format!("train the model in epoch {epoch}, last step"), source);
        let ids = images.ids.iter().copied().take(CHECKED_IMAGES).collect();
        let pixels = loader.tensor(&Request { ids, variant: ImageVariant::Evaluation }, &self.device)?;
        let parameters = self.parameters.clone().without_gradients();
        let features = method.model.features(&parameters, &pixels, None).map_err(failed)?;
        let embeddings = method.model.embed(&parameters, &features, None).map_err(failed)?; // [images, dim]
        let normalised = dnc_kernels::l2_normalise(&embeddings).map_err(|source| failed(source.into()))?;
        finite_values(&normalised, "embeddings").map(drop).map_err(failed)
    }

    /// Copies tensors and optimiser moments into `model`.
    pub(super) fn save(&self, model: &mut Model) -> Result<(), StageError> {
        let failed = |source| StageError::compute("copy the model from the device", source);
        model.parameters = self.parameters.named_tensors().map_err(failed)?;
        model.moments = self.optimiser.named_moments(&self.parameters).map_err(failed)?;
        Ok(())
    }
}

/// Result of one optimiser step.
pub(super) struct FinishedStep {
    pub(super) learner: u32,
    lr: f64,
    statistics: StepStatistics,
}

impl FinishedStep {
    /// The terms of the table `history`; a term that is not defined for this step is left out.
    pub(super) fn terms(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let StepStatistics { loss, orthogonality, terms, informative, negative_distance, coefficient } =
            self.statistics;
        let informative = informative as f64 / terms.max(1) as f64;
        let always = [("loss", loss), ("informative", informative), ("lr", self.lr)];
        let sometimes =
            [("negative_distance", negative_distance), ("orthogonality", orthogonality), ("beta", coefficient)];
        always.into_iter().chain(sometimes.into_iter().filter_map(|(term, value)| Some((term, value?))))
    }
}
