//! Training: whose turn it is in an epoch, and one step of one learner.
//!
//! An epoch walks the learners round-robin, one batch each, until it has seen as many batches as the divided images make.
//! Which batches a learner gets, and every chance in its steps, depends on the seed, the epoch and the learner alone: a
//! learner that is trained on its own (schedule `parallel`) sees the same batches as among the others (`interleaved`),
//! and a single learner is the same computation either way.
//!
//! Source: DC19, algorithm 1; DC21.

use candle_core::Tensor;

use crate::comparisons::Comparisons;
use crate::error::Result;
use crate::losses::{Batch, Learned, LossConfig};
use crate::miners::{Candidates, MinerConfig, Selection};
use crate::model::Model;
use crate::optimise::{Optimiser, Rate, Settings};
use crate::parameters::{Parameters, Role, Spec};
use crate::samplers::{BatchSampler, batches_in};
use crate::streams::Streams;
use crate::subspaces::{self, MASKS, SubspaceConfig, orthogonality};

/// What is trained and how, besides rates.
pub struct Method {
    /// The network.
    pub model: Model,
    /// What makes an embedding bad.
    pub loss: LossConfig,
    /// What the loss looks at.
    pub miner: MinerConfig,
    /// The part of the embedding that each learner compares images in.
    pub subspaces: SubspaceConfig,
    /// How many training classes there are.
    pub classes: usize,
}

/// A learner's turn in an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Counts the epoch's turns, those of all learners.
    pub step: u32,
    /// Whose turn it is.
    pub learner: u32,
    /// Counts this learner's turns.
    pub nth: u32,
    /// The images of the batch, as rows among the training images.
    pub images: Vec<u32>,
}

/// What a step found, for the history.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepStatistics {
    /// The loss, without the penalty on masks.
    pub loss: f64,
    /// The mean cosine between masks; 0 where they are not trained.
    pub orthogonality: f64,
    /// Terms that the loss was summed over.
    pub terms: usize,
    /// Those that pull or push.
    pub informative: usize,
    /// Mean distance of the mined negatives; `None` where the loss takes no miner or none was found.
    pub negative_distance: Option<f64>,
}

/// The turns of one epoch: `learners` holds the rows of each learner's images among the training images, `labels` the class
/// of every training image. With `only`, the turns of that learner alone, the same that it has among the others.
///
/// # Errors
/// A learner's images make no batch.
pub fn turns(
    learners: &[Vec<u32>],
    labels: &[u32],
    sampler: &dyn BatchSampler,
    streams: &Streams,
    only: Option<usize>,
) -> Result<Vec<Turn>> {
    let images = learners.iter().map(Vec::len).sum();
    // In every epoch each learner has a turn, however few images there are.
    let total = batches_in(images, sampler.batch()).max(learners.len());
    let mut turns = Vec::with_capacity(total);
    for (learner, rows) in learners.iter().enumerate().filter(|(learner, _)| only.is_none_or(|only| only == *learner)) {
        let mut nth = (learner..total).step_by(learners.len()).enumerate().peekable();
        let labels: Vec<u32> = rows.iter().map(|&row| labels[row as usize]).collect();
        let mut pass = 0;
        while nth.peek().is_some() {
            let batches = sampler.epoch(&labels, &streams.named("batches").at(learner as u64).at(pass))?;
            for (batch, (nth, step)) in batches.into_iter().zip(&mut nth) {
                let images = batch.into_iter().map(|index| rows[index as usize]).collect();
                turns.push(Turn { step: step as u32, learner: learner as u32, nth: nth as u32, images });
            }
            pass += 1;
        }
    }
    turns.sort_by_key(|turn| turn.step);
    Ok(turns)
}

impl Method {
    /// All tensors of the model but the masks, whose number changes from round to round.
    pub fn specs(&self) -> Vec<Spec> {
        let mut specs = self.model.specs();
        specs.extend(self.learned().map(|learned| learned.spec().clone()));
        specs
    }

    /// What the loss learns.
    fn learned(&self) -> Option<Learned> {
        self.loss.as_loss().learned(self.classes, self.model.dimension)
    }

    /// Puts the masks of `learners` learners into the model, made from those of `last` round, and forgets their moments
    /// where their number changed.
    ///
    /// # Errors
    /// The number of learners cannot follow last round's, or is larger than the embedding.
    pub fn begin_round(
        &self,
        parameters: &mut Parameters,
        optimiser: &mut Optimiser,
        last: Option<&[Vec<f32>]>,
        learners: usize,
    ) -> Result<()> {
        let masks = self.subspaces.masks(last, learners, self.model.dimension)?;
        let masks = Tensor::new(masks, parameters.device())?; // [learners, dim]
        parameters.insert(MASKS, self.subspaces.as_subspaces().role(learners), &masks)?;
        if last.is_some_and(|last| last.len() != learners) {
            optimiser.forget(MASKS);
        }
        Ok(())
    }

    /// One step of the turn's learner on `images`, `[batch, height, width, 3]`, of the classes `labels`, counted from 0.
    /// `streams` is this turn's own.
    ///
    /// # Errors
    /// Images, labels and parameters do not fit each other, the training has diverged, or the device fails.
    pub fn step(
        &self,
        parameters: &Parameters,
        optimiser: &mut Optimiser,
        learner: usize,
        images: &Tensor,
        labels: &[u32],
        streams: &Streams,
    ) -> Result<StepStatistics> {
        let features = self.model.features(parameters, images)?; // [batch, F]
        let embeddings = self.model.embed(parameters, &features, Some(streams))?; // [batch, dim]
        let masks = parameters.tensor(MASKS)?; // [learners, dim]
        let embeddings = subspaces::project(&embeddings, &masks, learner)?;
        let distances = Comparisons::distances(&embeddings)?; // [batch, batch]

        let loss = self.loss.as_loss();
        let learned = match self.learned() {
            Some(Learned::Coefficients(spec)) => Some(parameters.tensor(&spec.name)?),
            Some(Learned::Points(spec)) => Some(subspaces::project(&parameters.tensor(&spec.name)?, &masks, learner)?),
            None => None,
        };
        let dimension = subspaces::dimension(&masks.detach().get(learner)?.to_vec1::<f32>()?);
        let candidates = Candidates { distances: &distances, labels, dimension };
        let selection = match loss.takes_selection() {
            true => self.miner.as_miner().mine(&candidates, &mut streams.named("miner").rng())?,
            false => Selection::Everything,
        };
        let batch = Batch { embeddings: &embeddings, distances: &distances, labels, learned: learned.as_ref() };
        let output = loss.forward(&batch, &selection)?;

        let mut objective = output.objective;
        let mut statistics = StepStatistics {
            loss: output.value,
            orthogonality: 0.0,
            terms: output.terms,
            informative: output.informative,
            negative_distance: None,
        };
        if loss.takes_selection() {
            statistics.negative_distance = selection.mean_negative_distance(&distances, labels);
        }
        let subspaces = self.subspaces.as_subspaces();
        let (learners, _) = masks.dims2()?;
        if learners > 1 && subspaces.role(learners) == Role::Weight {
            let penalty = orthogonality(&masks)?;
            statistics.orthogonality = f64::from(penalty.to_scalar::<f32>()?);
            objective = (objective + (penalty * subspaces.orthogonality())?)?;
        }
        optimiser.step(parameters, &objective.backward()?)?;
        Ok(statistics)
    }
}

/// The settings with every learning rate multiplied by `factor`, as a schedule wants.
pub fn scaled(settings: &Settings, factor: f64) -> Settings {
    let rate = |rate: Rate| Rate { lr: rate.lr * factor, ..rate };
    Settings {
        backbone: rate(settings.backbone),
        embedding: rate(settings.embedding),
        masks: rate(settings.masks),
        loss: rate(settings.loss),
        ..settings.clone()
    }
}
