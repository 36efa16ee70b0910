//! The method of a training: how a round begins, and one optimiser step of one learner.

use candle_core::{Device, Tensor};

use crate::error::{LearnError, Result};
use crate::losses::{Batch, EmbeddedBatch, Learned, LossConfig, LossState, References, is_state, state_prefix};
use crate::miners::{Candidates, MinerConfig, Selection};
use crate::model::Model;
use crate::optimise::{Optimiser, Settings};
use crate::parameters::{Group, Parameters};
use crate::spec::Role;
use crate::streams::Streams;
use crate::subspaces::{self, MASKS, SubspaceConfig, orthogonality};
use crate::weights::NamedTensor;

/// Everything that defines a training except for the optimiser's settings.
pub struct Method {
    /// The network.
    pub model: Model,
    /// Loss function.
    pub loss: LossConfig,
    /// Selects the pairs or triplets that the loss is computed on.
    pub miner: MinerConfig,
    /// The part of the embedding space that each learner trains.
    pub subspaces: SubspaceConfig,
    /// Number of training classes.
    pub classes: usize,
}

/// The input of one step.
#[derive(Clone, Copy, Debug)]
pub struct StepInput<'a> {
    /// The learner to train.
    pub learner: usize,
    /// Preprocessed images of the batch, `[batch, height, width, 3]`.
    pub pixels: &'a Tensor,
    /// The number of each image among the training images.
    pub images: &'a [u32],
    /// The class of each image, counted from 0.
    pub labels: &'a [u32],
    /// Number of optimiser steps taken before this one, over all rounds.
    pub step: u64,
    /// The random stream of this step.
    pub streams: &'a Streams,
}

/// Statistics of one step, for the history.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepStatistics {
    /// The loss, without the orthogonality penalty on the masks.
    pub loss: f64,
    /// Mean cosine between the masks; `None` if the masks are not trained.
    pub orthogonality: Option<f64>,
    /// Number of triplets or pairs that the loss was computed on.
    pub terms: usize,
    /// Number of informative ones among them, as defined by [`LossOutput`](crate::losses::LossOutput).
    pub informative: usize,
    /// Mean distance of the mined negatives; `None` if the loss uses no miner, or no negative was found.
    pub negative_distance: Option<f64>,
    /// The coefficient that the loss learns, before the step, averaged if each class has one: β of the margin loss. `None` if it learns
    /// none.
    pub coefficient: Option<f64>,
}

impl Method {
    /// The tensor that the loss learns, if any.
    fn learned(&self) -> Option<Learned> {
        self.loss.as_loss().learned(self.classes, self.model.dimension)
    }

    /// Model and optimiser at the start of a round, from the `tensors` and `moments` of the previous round, or of an interrupted
    /// training of this one. The masks are adapted to the number of learners; if that changed, their moments are reset. What
    /// the loss learns is initialised from `streams` if `tensors` lack it. The state of the loss is kept; for a new round, the
    /// caller removes it first with [`drop_state`](crate::losses::drop_state).
    ///
    /// # Errors
    /// If the tensors do not belong to this model, or the number of learners cannot follow that of the previous round.
    pub fn begin_round(
        &self,
        tensors: &[NamedTensor],
        moments: &[NamedTensor],
        learners: usize,
        settings: Settings,
        streams: &Streams,
        device: &Device,
    ) -> Result<(Parameters, Optimiser)> {
        let mut specs = self.model.specs_for(tensors);
        let mut kept: Vec<NamedTensor> = tensors
            .iter()
            .filter(|tensor| !matches!(Group::of(&tensor.name), Group::Masks | Group::Loss))
            .cloned()
            .collect();
        if let Some(learned) = self.learned() {
            let spec = learned.spec();
            match tensors.iter().find(|tensor| tensor.name == spec.name) {
                Some(tensor) => kept.push(tensor.clone()),
                None => {
                    kept.extend(Parameters::initialise(std::slice::from_ref(spec), streams, device)?.named_tensors()?)
                }
            }
            specs.push(spec.clone());
        }
        let mut parameters = Parameters::restore(&specs, &kept, device)?;
        for tensor in tensors.iter().filter(|tensor| is_state(tensor)) {
            parameters.insert(&tensor.name, Role::Constant, &tensor.to_tensor(device)?)?;
        }

        let previous = tensors.iter().find(|tensor| tensor.name == MASKS);
        let previous = previous.map(|masks| masks.to_tensor(&Device::Cpu)).transpose()?;
        let previous: Option<Vec<Vec<f32>>> = previous.map(|masks| masks.to_vec2()).transpose()?;
        let masks = self.subspaces.masks(previous.as_deref(), learners, self.model.dimension, &streams.named(MASKS))?;
        let masks = Tensor::new(masks, device)?;
        parameters.insert(MASKS, self.subspaces.as_subspaces().role(learners), &masks)?;

        let same_masks = previous.is_some_and(|previous| previous.len() == learners);
        let is_kept = |moment: &&NamedTensor| {
            let parameter = moment.name.rsplit_once('.').map_or("", |(parameter, _)| parameter);
            parameters.contains(parameter) && (parameter != MASKS || same_masks)
        };
        let moments: Vec<NamedTensor> = moments.iter().filter(is_kept).cloned().collect();
        let optimiser = Optimiser::restore(settings, &moments, &parameters)?;
        Ok((parameters, optimiser))
    }

    /// Trains one learner on one batch.
    ///
    /// # Errors
    /// If images, labels and parameters do not match, the training has diverged, or the device fails.
    pub fn step(
        &self,
        parameters: &mut Parameters,
        optimiser: &mut Optimiser,
        input: StepInput<'_>,
    ) -> Result<StepStatistics> {
        let StepInput { learner, pixels, images, labels, step, streams } = input;
        let features = self.model.features(parameters, pixels, Some(streams))?; // [batch, F]
        let embeddings = self.model.embed(parameters, &features, Some(streams))?; // [batch, dim]
        let masks = parameters.tensor(MASKS)?; // [learners, dim]
        let embeddings = subspaces::project(&embeddings, &masks, learner)?;

        // The host first waits for a GPU when it reads the distances, and then reads the penalty without another wait.
        let subspaces = self.subspaces.as_subspaces();
        let (learners, _) = masks.dims2()?;
        let are_trained = learners > 1 && subspaces.role(learners) == Role::Weight;
        let penalty = are_trained.then(|| orthogonality(&masks)).transpose()?;

        let loss = self.loss.as_loss();
        let state = loss_state(parameters, learner);
        let embedded = EmbeddedBatch { embeddings: &embeddings, labels, images, step, state: &state };
        let References { distances, labels } = loss.references(&embedded)?; // [batch, references]
        let mut coefficient = None;
        let learned = match self.learned() {
            Some(Learned::Coefficients(spec)) => {
                let tensor = parameters.tensor(&spec.name)?;
                coefficient = Some(mean(&tensor.detach().to_vec1::<f32>()?));
                Some(tensor)
            }
            Some(Learned::Points(spec)) => Some(subspaces::project(&parameters.tensor(&spec.name)?, &masks, learner)?),
            None => None,
        };
        let dimension = subspaces::dimension(&masks.detach().get(learner)?.to_vec1::<f32>()?);
        if dimension == 0 {
            return Err(LearnError::EmptyMask { learner });
        }
        let mean_cosine = penalty.as_ref().map(Tensor::to_scalar::<f32>).transpose()?;
        let candidates = Candidates {
            distances: &distances,
            labels: &labels,
            dimension,
            max_negative_distance: loss.max_negative_distance(),
        };
        let selection = match loss.uses_miner() {
            true => self.miner.as_miner().mine(&candidates, &mut streams.named("miner").rng())?,
            false => Selection::Everything,
        };
        let batch =
            Batch { embeddings: &embeddings, distances: &distances, labels: &labels, learned: learned.as_ref() };
        let output = loss.forward(&batch, &selection)?;

        let mut objective = output.objective;
        let mut statistics = StepStatistics {
            loss: output.value,
            orthogonality: mean_cosine.map(f64::from),
            terms: output.terms,
            informative: output.informative,
            negative_distance: None,
            coefficient,
        };
        if loss.uses_miner() {
            statistics.negative_distance = selection.mean_negative_distance(&distances, &labels);
        }
        if let Some(penalty) = penalty {
            objective = (objective + (penalty * subspaces.orthogonality())?)?;
        }
        let next_state = loss.next_state(&embedded)?;
        optimiser.step(parameters, &dnc_kernels::backward(&objective)?)?;
        for (name, tensor) in next_state.into_iter().flatten() {
            parameters.insert(&format!("{}{name}", state_prefix(learner)), Role::Constant, &tensor)?;
        }
        Ok(statistics)
    }
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64
}

/// The state of the loss for `learner` among the parameters.
fn loss_state(parameters: &Parameters, learner: usize) -> LossState {
    let prefix = state_prefix(learner);
    let tensors = parameters.iter();
    tensors.filter_map(|(name, _, tensor)| Some((name.strip_prefix(&prefix)?.to_owned(), tensor))).collect()
}
