//! Training: whose turn it is in an epoch, and one step of one learner.
//!
//! An epoch walks the learners round-robin, one batch each, until it has seen as many batches as the training images make:
//! however they are divided and however many were pruned, an epoch is as long.
//! Which batches a learner gets, and every chance in its steps, depends on the seed, the epoch and the learner alone: a
//! learner that is trained on its own (schedule `parallel`) sees the same batches as among the others (`interleaved`),
//! and a single learner is the same computation either way.
//!
//! Source: DC19, algorithm 1; DC21.

use candle_core::{Device, Tensor};

use crate::comparisons::Comparisons;
use crate::error::Result;
use crate::losses::{Batch, Learned, LossConfig};
use crate::miners::{Candidates, MinerConfig, Selection};
use crate::model::Model;
use crate::optimise::{Optimiser, Rate, Settings};
use crate::parameters::{Group, Parameters, Role};
use crate::samplers::{BatchSampler, batches_in};
use crate::streams::Streams;
use crate::subspaces::{self, MASKS, SubspaceConfig, orthogonality};
use crate::weights::NamedTensor;

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
    /// The mean cosine between masks; `None` where they are not trained.
    pub orthogonality: Option<f64>,
    /// Triplets or pairs that the loss was summed over.
    pub terms: usize,
    /// Those that are informative, as [`LossOutput`](crate::losses::LossOutput) has it.
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
    // In every epoch each learner has a turn, however few images there are.
    let total = batches_in(labels.len(), sampler.batch()).max(learners.len());
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
    /// What the loss learns.
    fn learned(&self) -> Option<Learned> {
        self.loss.as_loss().learned(self.classes, self.model.dimension)
    }

    /// Model and optimiser as a round begins: `tensors` and `moments` as last round left them, or an interrupted try at
    /// this one. The masks are made to fit the number of learners, and forget their moments where it changed; what the
    /// loss learns is drawn from `streams` where it is not there yet.
    ///
    /// # Errors
    /// The tensors are not this model's, or the number of learners cannot follow last round's.
    pub fn begin_round(
        &self,
        tensors: &[NamedTensor],
        moments: &[NamedTensor],
        learners: usize,
        settings: Settings,
        streams: &Streams,
        device: &Device,
    ) -> Result<(Parameters, Optimiser)> {
        let mut specs = self.model.specs();
        let mut kept: Vec<NamedTensor> = tensors
            .iter()
            .filter(|tensor| !matches!(Group::of(&tensor.name), Group::Masks | Group::Loss))
            .cloned()
            .collect();
        if let Some(learned) = self.learned() {
            let spec = learned.spec();
            match tensors.iter().find(|tensor| tensor.name == spec.name) {
                Some(tensor) => kept.push(tensor.clone()),
                None => kept.extend(Parameters::initialise(std::slice::from_ref(spec), streams, device)?.rows()?),
            }
            specs.push(spec.clone());
        }
        let mut parameters = Parameters::restore(&specs, &kept, device)?;

        let last = tensors.iter().find(|tensor| tensor.name == MASKS);
        let last = last.map(|masks| masks.to_tensor(&Device::Cpu)).transpose()?;
        let last: Option<Vec<Vec<f32>>> = last.map(|masks| masks.to_vec2()).transpose()?;
        let masks = Tensor::new(self.subspaces.masks(last.as_deref(), learners, self.model.dimension)?, device)?;
        parameters.insert(MASKS, self.subspaces.as_subspaces().role(learners), &masks)?;

        let same_masks = last.is_some_and(|last| last.len() == learners);
        let is_kept = |row: &&NamedTensor| {
            let parameter = row.name.rsplit_once('.').map_or("", |(parameter, _)| parameter);
            parameters.contains(parameter) && (parameter != MASKS || same_masks)
        };
        let moments: Vec<NamedTensor> = moments.iter().filter(is_kept).cloned().collect();
        let optimiser = Optimiser::restore(settings, &moments, &parameters)?;
        Ok((parameters, optimiser))
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
        let features = self.model.features(parameters, images, Some(streams))?; // [batch, F]
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
        let candidates = Candidates { distances: &distances, labels, dimension, reach: loss.reach() };
        let selection = match loss.takes_selection() {
            true => self.miner.as_miner().mine(&candidates, &mut streams.named("miner").rng())?,
            false => Selection::Everything,
        };
        let batch = Batch { embeddings: &embeddings, distances: &distances, labels, learned: learned.as_ref() };
        let output = loss.forward(&batch, &selection)?;

        let mut objective = output.objective;
        let mut statistics = StepStatistics {
            loss: output.value,
            orthogonality: None,
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
            statistics.orthogonality = Some(f64::from(penalty.to_scalar::<f32>()?));
            objective = (objective + (penalty * subspaces.orthogonality())?)?;
        }
        optimiser.step(parameters, &dnc_kernels::backward(&objective)?)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::{Margin, ProxyAnchor};
    use crate::merge::{Merge, Trained};
    use crate::optimise::Kind;
    use crate::samplers::ClassBalanced;
    use crate::subspaces::{FixedMask, LearnedMask, Slice};

    const SIDE: usize = 16;
    const CLASSES: u32 = 8;
    const PER_CLASS: u32 = 6;

    fn method(loss: LossConfig, subspaces: SubspaceConfig) -> Method {
        let mut model = Model::new("small", 8).unwrap();
        model.dropout = 0.01;
        Method { model, loss, miner: MinerConfig::default(), subspaces, classes: CLASSES as usize }
    }

    fn settings() -> Settings {
        Settings::uniform(Kind::Adam, Rate { lr: 1e-2, weight_decay: 1e-4 })
    }

    fn labels() -> Vec<u32> {
        (0..CLASSES * PER_CLASS).map(|image| image / PER_CLASS).collect()
    }

    /// Images of stripes whose direction and colour tell their class, with some noise.
    fn images(rows: &[u32]) -> Tensor {
        let mut values = Vec::with_capacity(rows.len() * SIDE * SIDE * 3);
        for &row in rows {
            let class = row / PER_CLASS;
            for place in 0..SIDE * SIDE * 3 {
                let (x, y, colour) = (place / 3 % SIDE, place / 3 / SIDE, place % 3);
                let along = if class.is_multiple_of(2) { x } else { y };
                let stripe = if (along / (1 + class as usize / 4)).is_multiple_of(2) { 1.0 } else { -1.0 };
                let noise = ((place as u32).wrapping_mul(2_654_435_761).wrapping_add(row * 40_503) >> 16) as u8;
                let tint = if colour == class as usize % 3 { 0.8 } else { 0.2 };
                values.push(stripe * tint + f32::from(noise) / 512.0);
            }
        }
        Tensor::from_vec(values, (rows.len(), SIDE, SIDE, 3), &Device::Cpu).unwrap()
    }

    /// The classes of even number for learner 0, the others for learner 1; or all for one.
    fn divided(learners: usize) -> Vec<Vec<u32>> {
        let of = |learner: usize| {
            let rows = labels().into_iter().enumerate().filter(move |(_, label)| *label as usize % learners == learner);
            rows.map(|(row, _)| row as u32).collect()
        };
        (0..learners).map(of).collect()
    }

    type Rows = (Vec<NamedTensor>, Vec<NamedTensor>);

    /// Trains for so many epochs; returns tensors, moments and what each step found.
    fn train(
        method: &Method,
        begin: &Rows,
        learners: usize,
        only: Option<usize>,
        epochs: std::ops::Range<u64>,
    ) -> (Rows, Vec<StepStatistics>) {
        let streams = Streams::new(3);
        let (parameters, mut optimiser) =
            method.begin_round(&begin.0, &begin.1, learners, settings(), &streams, &Device::Cpu).unwrap();
        let sampler = ClassBalanced { batch: 16, per_class: 4 };
        let mut found = Vec::new();
        for epoch in epochs {
            let streams = streams.at(epoch);
            for turn in turns(&divided(learners), &labels(), &sampler, &streams, only).unwrap() {
                let labels: Vec<u32> = turn.images.iter().map(|&row| labels()[row as usize]).collect();
                let learner = turn.learner as usize;
                let streams = streams.at(u64::from(turn.learner)).at(u64::from(turn.nth));
                let images = images(&turn.images);
                found.push(method.step(&parameters, &mut optimiser, learner, &images, &labels, &streams).unwrap());
            }
        }
        ((parameters.rows().unwrap(), optimiser.rows(&parameters).unwrap()), found)
    }

    fn new_model(method: &Method) -> Rows {
        let parameters = Parameters::initialise(&method.model.specs(), &Streams::new(0), &Device::Cpu).unwrap();
        (parameters.rows().unwrap(), Vec::new())
    }

    fn values(rows: &Rows, name: &str) -> Vec<Vec<f32>> {
        let tensor = rows.0.iter().find(|tensor| tensor.name == name).unwrap().to_tensor(&Device::Cpu).unwrap();
        tensor.flatten_from(1).unwrap().to_vec2().unwrap()
    }

    #[test]
    fn every_learner_has_the_same_turns_alone_as_among_the_others() {
        let sampler = ClassBalanced { batch: 8, per_class: 2 };
        let (divided, labels, streams) = (divided(4), labels(), Streams::new(1));
        let all = turns(&divided, &labels, &sampler, &streams, None).unwrap();
        assert_eq!(all.len(), 48 / 8);
        let order: Vec<(u32, u32, u32)> = all.iter().map(|turn| (turn.step, turn.learner, turn.nth)).collect();
        assert_eq!(order, [(0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 3, 0), (4, 0, 1), (5, 1, 1)]);
        for (learner, rows) in divided.iter().enumerate() {
            let alone = turns(&divided, &labels, &sampler, &streams, Some(learner)).unwrap();
            let among: Vec<Turn> = all.iter().filter(|turn| turn.learner as usize == learner).cloned().collect();
            assert_eq!(alone, among);
            assert!(alone.iter().all(|turn| turn.images.iter().all(|row| rows.contains(row))));
        }
        let mut pruned = divided.clone();
        pruned.iter_mut().for_each(|rows| rows.truncate(rows.len() - 1));
        assert_eq!(
            turns(&pruned, &labels, &sampler, &streams, None).unwrap().len(),
            all.len(),
            "pruning keeps the length"
        );
        let few = turns(&divided, &labels, &ClassBalanced { batch: 40, per_class: 2 }, &streams, None).unwrap();
        assert_eq!(few.len(), 4, "every learner has a turn");
    }

    #[test]
    fn training_lowers_the_loss_for_every_kind_of_subspace_and_learned_loss() {
        let margin = |learn_beta| LossConfig::Margin(Margin { learn_beta, ..Margin::default() });
        for (loss, subspaces) in [
            (margin(crate::losses::Beta::PerClass), SubspaceConfig::LearnedMask(LearnedMask::default())),
            (margin(crate::losses::Beta::No), SubspaceConfig::Slice(Slice {})),
            (LossConfig::ProxyAnchor(ProxyAnchor::default()), SubspaceConfig::FixedMask(FixedMask {})),
        ] {
            let method = method(loss, subspaces);
            let (rows, found) = train(&method, &new_model(&method), 2, None, 0..12);
            let mean = |steps: &[StepStatistics]| steps.iter().map(|step| step.loss).sum::<f64>() / steps.len() as f64;
            let (first, last) = (mean(&found[..6]), mean(&found[found.len() - 6..]));
            assert!(last < 0.9 * first, "{:?} {:?}: {first} to {last}", method.loss, method.subspaces);
            assert!(found.iter().all(|step| step.informative <= step.terms));
            if method.subspaces.as_subspaces().role(2) == Role::Weight {
                assert!(found[0].orthogonality > Some(0.999), "both masks begin as copies");
                assert!(found.last().unwrap().orthogonality < found[0].orthogonality);
            } else {
                assert_eq!(values(&rows, MASKS)[0], [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
            }
        }
    }

    #[test]
    fn what_the_loss_learns_moves_at_a_rate_of_its_own() {
        let loss = LossConfig::Margin(Margin { learn_beta: crate::losses::Beta::PerClass, ..Margin::default() });
        let method = method(loss, SubspaceConfig::default());
        let (tensors, moments) = new_model(&method);
        let rates = Settings { loss: Rate { lr: 0.05, weight_decay: 0.0 }, ..settings() };
        let streams = Streams::new(3);
        let (parameters, mut optimiser) =
            method.begin_round(&tensors, &moments, 1, rates, &streams, &Device::Cpu).unwrap();
        let sampler = ClassBalanced { batch: 16, per_class: 4 };
        let turn = turns(&divided(1), &labels(), &sampler, &streams, None).unwrap().swap_remove(0);
        let classes: Vec<u32> = turn.images.iter().map(|&row| labels()[row as usize]).collect();
        method.step(&parameters, &mut optimiser, 0, &images(&turn.images), &classes, &streams).unwrap();
        // Adam's first step is as long as the rate wherever there is a gradient.
        let betas = parameters.tensor("loss.beta").unwrap().to_vec1::<f32>().unwrap();
        let moved: Vec<u32> = (0..CLASSES).filter(|&class| betas[class as usize] != 1.2).collect();
        assert!(!moved.is_empty() && moved.iter().all(|class| classes.contains(class)), "{betas:?}");
        assert!(moved.iter().all(|&class| ((betas[class as usize] - 1.2).abs() - 0.05).abs() < 1e-5), "{betas:?}");
    }

    #[test]
    fn one_learner_gives_the_same_bytes_under_both_schedules_and_after_an_interruption() {
        let method = method(LossConfig::default(), SubspaceConfig::default());
        let begin = new_model(&method);
        let (whole, _) = train(&method, &begin, 1, None, 0..3);
        let ((tensors, moments), _) = train(&method, &begin, 1, Some(0), 0..3);
        let mut merge = Merge::of(1);
        merge.add(Trained { batches: 9.0, tensors: &tensors, moments: &moments }).unwrap();
        assert!(whole == merge.finish());
        let (interrupted, _) = train(&method, &begin, 1, None, 0..1);
        let (resumed, _) = train(&method, &interrupted, 1, None, 1..3);
        assert!(whole == resumed);
    }

    #[test]
    fn a_learner_alone_trains_its_own_rows_and_merging_keeps_them() {
        let method = method(LossConfig::default(), SubspaceConfig::Slice(Slice {}));
        let begin = new_model(&method);
        let trained = [0, 1].map(|learner| train(&method, &begin, 2, Some(learner), 0..2).0);
        let mut merge = Merge::of(2);
        for (tensors, moments) in &trained {
            merge.add(Trained { batches: 3.0, tensors, moments }).unwrap();
        }
        let merged = merge.finish();
        let weight = |rows: &Rows| values(rows, "embedding.weight");
        let (start, found) = (weight(&begin), weight(&merged));
        for row in 0..8 {
            assert_eq!(found[row], weight(&trained[row / 4])[row], "row {row} is its owner's");
            assert_ne!(found[row], start[row], "row {row} was trained");
        }
    }

    #[test]
    fn doubling_divides_the_masks_and_forgets_their_moments() {
        let method = method(LossConfig::default(), SubspaceConfig::default());
        let (two, _) = train(&method, &new_model(&method), 2, None, 0..1);
        assert!(two.1.iter().any(|row| row.name == "masks.first"));
        let begin = |learners| {
            method.begin_round(&two.0, &two.1, learners, settings(), &Streams::new(0), &Device::Cpu).unwrap()
        };
        let (parameters, optimiser) = begin(4);
        let (old, rows) = (values(&two, MASKS), parameters.rows().unwrap());
        let new = values(&(rows, vec![]), MASKS);
        assert_eq!(new, [old[0].clone(), old[0].clone(), old[1].clone(), old[1].clone()]);
        let moments = optimiser.rows(&parameters).unwrap();
        assert!(moments.iter().all(|row| !row.name.starts_with("masks.")));
        assert_eq!(moments.len() + 3, two.1.len(), "all others are kept");
        let (parameters, optimiser) = begin(2);
        assert!((parameters.rows().unwrap(), optimiser.rows(&parameters).unwrap()) == two);
    }
}
