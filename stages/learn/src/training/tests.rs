//! Trainings of a tiny network on striped images.

use candle_core::{Device, Tensor};

use super::*;
use crate::losses::{Beta, LossConfig, Margin, PairLoss, ProxyAnchor, Xbm, drop_state};
use crate::merge::{Merge, Trained};
use crate::miners::MinerConfig;
use crate::model::Model;
use crate::optimise::{Algorithm, Rate, Settings};
use crate::parameters::Parameters;
use crate::samplers::ClassBalanced;
use crate::spec::Role;
use crate::streams::Streams;
use crate::subspaces::{LearnedMask, MASKS, RandomMask, Slice, SubspaceConfig};
use crate::weights::NamedTensor;

const SIDE: usize = 16;
const CLASSES: u32 = 8;
const PER_CLASS: u32 = 6;

fn method(loss: LossConfig, subspaces: SubspaceConfig) -> Method {
    let mut model = Model::new("small", 8).unwrap();
    model.dropout = 0.01;
    Method { model, loss, miner: MinerConfig::default(), subspaces, classes: CLASSES as usize }
}

fn settings() -> Settings {
    Settings::uniform(Algorithm::Adam, Rate { lr: 1e-2, weight_decay: 1e-4 })
}

fn labels() -> Vec<u32> {
    (0..CLASSES * PER_CLASS).map(|image| image / PER_CLASS).collect()
}

/// Striped images whose class determines the direction and colour of the stripes, with some noise.
fn images(rows: &[u32]) -> Tensor {
    let mut values = Vec::with_capacity(rows.len() * SIDE * SIDE * 3);
    for &row in rows {
        let class = row / PER_CLASS;
        for index in 0..SIDE * SIDE * 3 {
            let (x, y, colour) = (index / 3 % SIDE, index / 3 / SIDE, index % 3);
            let along = if class.is_multiple_of(2) { x } else { y };
            let stripe = if (along / (1 + class as usize / 4)).is_multiple_of(2) { 1.0 } else { -1.0 };
            let noise = ((index as u32).wrapping_mul(2_654_435_761).wrapping_add(row * 40_503) >> 16) as u8;
            let tint = if colour == class as usize % 3 { 0.8 } else { 0.2 };
            values.push(stripe * tint + f32::from(noise) / 512.0);
        }
    }
    Tensor::from_vec(values, (rows.len(), SIDE, SIDE, 3), &Device::Cpu).unwrap()
}

/// Class c goes to learner c modulo `learners`.
fn divided(learners: usize) -> Vec<Vec<u32>> {
    let of = |learner: usize| {
        let rows = labels().into_iter().enumerate().filter(move |(_, label)| *label as usize % learners == learner);
        rows.map(|(row, _)| row as u32).collect()
    };
    (0..learners).map(of).collect()
}

/// Tensors and moments of a model.
type Saved = (Vec<NamedTensor>, Vec<NamedTensor>);

/// Trains for `epochs`; returns tensors, moments and the statistics of each step.
fn train(
    method: &Method,
    begin: &Saved,
    learners: usize,
    only: Option<usize>,
    epochs: std::ops::Range<u64>,
) -> (Saved, Vec<StepStatistics>) {
    let streams = Streams::new(3);
    let (mut parameters, mut optimiser) =
        method.begin_round(&begin.0, &begin.1, learners, settings(), &streams, &Device::Cpu).unwrap();
    let sampler = ClassBalanced { batch: 16, per_class: 4 };
    let mut found = Vec::new();
    for epoch in epochs {
        let streams = streams.at(epoch);
        for batch in epoch_batches(&divided(learners), &labels(), &sampler, &streams, only).unwrap() {
            let labels: Vec<u32> = batch.images.iter().map(|&row| labels()[row as usize]).collect();
            let learner = batch.learner as usize;
            let streams = streams.at(u64::from(batch.learner)).at(u64::from(batch.nth));
            let pixels = images(&batch.images);
            let step = epoch * 3 + u64::from(batch.step);
            let images = batch.images.as_slice();
            let input = StepInput { learner, pixels: &pixels, images, labels: &labels, step, streams: &streams };
            found.push(method.step(&mut parameters, &mut optimiser, input).unwrap());
        }
    }
    ((parameters.named_tensors().unwrap(), optimiser.named_moments(&parameters).unwrap()), found)
}

fn new_model(method: &Method) -> Saved {
    let parameters = Parameters::initialise(&method.model.specs(), &Streams::new(0), &Device::Cpu).unwrap();
    (parameters.named_tensors().unwrap(), Vec::new())
}

fn values(saved: &Saved, name: &str) -> Vec<Vec<f32>> {
    let tensor = saved.0.iter().find(|tensor| tensor.name == name).unwrap().to_tensor(&Device::Cpu).unwrap();
    tensor.flatten_from(1).unwrap().to_vec2().unwrap()
}

#[test]
fn a_learner_has_the_same_batches_alone_as_among_the_others() {
    let sampler = ClassBalanced { batch: 8, per_class: 2 };
    let (divided, labels, streams) = (divided(4), labels(), Streams::new(1));
    let all = epoch_batches(&divided, &labels, &sampler, &streams, None).unwrap();
    assert_eq!(all.len(), 48 / 8);
    let order: Vec<(u32, u32, u32)> = all.iter().map(|batch| (batch.step, batch.learner, batch.nth)).collect();
    assert_eq!(order, [(0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 3, 0), (4, 0, 1), (5, 1, 1)]);
    for (learner, rows) in divided.iter().enumerate() {
        let alone = epoch_batches(&divided, &labels, &sampler, &streams, Some(learner)).unwrap();
        let among: Vec<LearnerBatch> = all.iter().filter(|batch| batch.learner as usize == learner).cloned().collect();
        assert_eq!(alone, among);
        assert!(alone.iter().all(|batch| batch.images.iter().all(|row| rows.contains(row))));
    }
    let mut pruned = divided.clone();
    pruned.iter_mut().for_each(|rows| rows.truncate(rows.len() - 1));
    assert_eq!(
        epoch_batches(&pruned, &labels, &sampler, &streams, None).unwrap().len(),
        all.len(),
        "pruning does not shorten an epoch"
    );
    let few = epoch_batches(&divided, &labels, &ClassBalanced { batch: 40, per_class: 2 }, &streams, None).unwrap();
    assert_eq!(few.len(), 4, "every learner has a batch");
}

#[test]
fn training_lowers_the_loss_with_every_subspace_and_learned_loss() {
    let margin = |learn_beta| LossConfig::Margin(Margin { learn_beta, ..Margin::default() });
    for (loss, subspaces) in [
        (margin(Beta::PerClass), SubspaceConfig::LearnedMask(LearnedMask::default())),
        (margin(Beta::No), SubspaceConfig::Slice(Slice {})),
        (LossConfig::ProxyAnchor(ProxyAnchor::default()), SubspaceConfig::RandomMask(RandomMask {})),
    ] {
        let method = method(loss, subspaces);
        let (saved, found) = train(&method, &new_model(&method), 2, None, 0..12);
        let mean = |steps: &[StepStatistics]| steps.iter().map(|step| step.loss).sum::<f64>() / steps.len() as f64;
        let (first, last) = (mean(&found[..6]), mean(&found[found.len() - 6..]));
        assert!(last < 0.9 * first, "{:?} {:?}: {first} to {last}", method.loss, method.subspaces);
        assert!(found.iter().all(|step| step.informative <= step.terms));
        if matches!(&method.loss, LossConfig::Margin(margin) if margin.learn_beta == Beta::PerClass) {
            assert!((found[0].coefficient.unwrap() - 1.2).abs() < 1e-6, "β before the first step");
            assert!(found.windows(2).all(|pair| pair[0].coefficient != pair[1].coefficient), "each step moves β");
        } else {
            assert!(found.iter().all(|step| step.coefficient.is_none()));
        }
        if method.subspaces.as_subspaces().role(2) == Role::Weight {
            assert!(found[0].orthogonality > Some(0.999), "both masks start as copies");
            assert!(found.last().unwrap().orthogonality < found[0].orthogonality);
        } else {
            let masks = values(&saved, MASKS);
            assert!((0..8).all(|i| masks[0][i] + masks[1][i] == 1.0), "fixed masks stay as they are: {masks:?}");
            if matches!(method.subspaces, SubspaceConfig::Slice(_)) {
                assert_eq!(masks[0], [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
            }
        }
    }
}

#[test]
fn the_boundary_of_the_loss_has_its_own_learning_rate() {
    let loss = LossConfig::Margin(Margin { learn_beta: Beta::PerClass, ..Margin::default() });
    let method = method(loss, SubspaceConfig::default());
    let (tensors, moments) = new_model(&method);
    let rates = Settings { loss: Rate { lr: 0.05, weight_decay: 0.0 }, ..settings() };
    let streams = Streams::new(3);
    let (mut parameters, mut optimiser) =
        method.begin_round(&tensors, &moments, 1, rates, &streams, &Device::Cpu).unwrap();
    let sampler = ClassBalanced { batch: 16, per_class: 4 };
    let batch = epoch_batches(&divided(1), &labels(), &sampler, &streams, None).unwrap().swap_remove(0);
    let classes: Vec<u32> = batch.images.iter().map(|&row| labels()[row as usize]).collect();
    let (pixels, images) = (images(&batch.images), batch.images.as_slice());
    let input = StepInput { learner: 0, pixels: &pixels, images, labels: &classes, step: 0, streams: &streams };
    method.step(&mut parameters, &mut optimiser, input).unwrap();
    // The length of Adam's first step is the learning rate wherever there is a gradient.
    let betas = parameters.tensor("loss.beta").unwrap().to_vec1::<f32>().unwrap();
    let moved: Vec<u32> = (0..CLASSES).filter(|&class| betas[class as usize] != 1.2).collect();
    assert!(!moved.is_empty() && moved.iter().all(|class| classes.contains(class)), "{betas:?}");
    assert!(moved.iter().all(|&class| ((betas[class as usize] - 1.2).abs() - 0.05).abs() < 1e-5), "{betas:?}");
}

#[test]
fn a_learner_whose_mask_is_empty_is_an_error() {
    let method = method(LossConfig::default(), SubspaceConfig::default());
    let (tensors, moments) = new_model(&method);
    let streams = Streams::new(3);
    let (mut parameters, mut optimiser) =
        method.begin_round(&tensors, &moments, 2, settings(), &streams, &Device::Cpu).unwrap();
    let masks = Tensor::from_vec([vec![1.0f32; 8], vec![-0.5; 8]].concat(), (2, 8), &Device::Cpu).unwrap();
    parameters.insert(MASKS, Role::Weight, &masks).unwrap();
    let rows: Vec<u32> = (0..12).collect();
    let classes: Vec<u32> = rows.iter().map(|&row| labels()[row as usize]).collect();
    let pixels = images(&rows);
    let mut step = |learner| {
        let input = StepInput { learner, pixels: &pixels, images: &rows, labels: &classes, step: 0, streams: &streams };
        method.step(&mut parameters, &mut optimiser, input).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(step(0), Ok(()));
    insta::assert_snapshot!(step(1).unwrap_err(), @"Nothing is left to train: no coordinate of the mask of learner 1 is above 0; try a lower learning rate of the masks");
}

#[test]
fn one_learner_gives_the_same_bytes_with_both_schedules_and_after_an_interruption() {
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
fn merging_keeps_the_rows_of_each_learner() {
    let method = method(LossConfig::default(), SubspaceConfig::Slice(Slice {}));
    let begin = new_model(&method);
    let trained = [0, 1].map(|learner| train(&method, &begin, 2, Some(learner), 0..2).0);
    let mut merge = Merge::of(2);
    for (tensors, moments) in &trained {
        merge.add(Trained { batches: 3.0, tensors, moments }).unwrap();
    }
    let merged = merge.finish();
    let weight = |saved: &Saved| values(saved, "embedding.weight");
    let (start, found) = (weight(&begin), weight(&merged));
    for row in 0..8 {
        assert_eq!(found[row], weight(&trained[row / 4])[row], "row {row} comes from its owner");
        assert_ne!(found[row], start[row], "row {row} was trained");
    }
}

#[test]
fn doubling_copies_the_masks_and_resets_their_moments() {
    let method = method(LossConfig::default(), SubspaceConfig::default());
    let (two, _) = train(&method, &new_model(&method), 2, None, 0..1);
    assert!(two.1.iter().any(|moment| moment.name == "masks.first"));
    let begin =
        |learners| method.begin_round(&two.0, &two.1, learners, settings(), &Streams::new(0), &Device::Cpu).unwrap();
    let (parameters, optimiser) = begin(4);
    let (old, tensors) = (values(&two, MASKS), parameters.named_tensors().unwrap());
    let new = values(&(tensors, vec![]), MASKS);
    assert_eq!(new, [old[0].clone(), old[0].clone(), old[1].clone(), old[1].clone()]);
    let moments = optimiser.named_moments(&parameters).unwrap();
    assert!(moments.iter().all(|moment| !moment.name.starts_with("masks.")));
    assert_eq!(moments.len() + 3, two.1.len(), "all other moments are kept");
    let (parameters, optimiser) = begin(2);
    assert!((parameters.named_tensors().unwrap(), optimiser.named_moments(&parameters).unwrap()) == two);
}

#[test]
fn a_cross_batch_memory_is_kept_per_learner_and_survives_an_interruption_and_a_merge() {
    let margin = Margin { learn_beta: Beta::Shared, ..Margin::default() };
    let xbm = |size, warm_up| {
        let loss = LossConfig::Xbm(Xbm { loss: PairLoss::Margin(margin.clone()), size, warm_up });
        method(loss, SubspaceConfig::Slice(Slice {}))
    };
    let with_memory = xbm(20, 1);
    let begin = new_model(&with_memory);
    let (whole, _) = train(&with_memory, &begin, 2, None, 0..3);
    let (interrupted, _) = train(&with_memory, &begin, 2, None, 0..1);
    assert!(whole == train(&with_memory, &interrupted, 2, None, 1..3).0);

    let shapes = |saved: &Saved| -> Vec<(String, Vec<usize>)> {
        let states = saved.0.iter().filter(|tensor| tensor.name.starts_with("loss.state."));
        states.map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect()
    };
    let state = |learner: usize| {
        let name = |name: &str| format!("loss.state.{learner}.{name}");
        [(name("embeddings"), vec![20, 8]), (name("images"), vec![20]), (name("labels"), vec![20])]
    };
    assert_eq!(shapes(&whole), [state(0), state(1)].concat());
    for learner in 0..2 {
        let name = format!("loss.state.{learner}.labels");
        let labels = whole.0.iter().find(|tensor| tensor.name == name).unwrap();
        let labels: Vec<f32> = labels.to_tensor(&Device::Cpu).unwrap().to_vec1().unwrap();
        assert!(labels.iter().all(|label| *label as usize % 2 == learner), "{labels:?}");
    }

    // Learners that were trained alone each have their own memory, and merging keeps it.
    let alone = [0, 1].map(|learner| train(&with_memory, &begin, 2, Some(learner), 0..3).0);
    let mut merge = Merge::of(2);
    for (learner, (tensors, moments)) in alone.iter().enumerate() {
        assert_eq!(shapes(&alone[learner]), state(learner));
        merge.add(Trained { batches: 3.0, tensors, moments }).unwrap();
    }
    let mut merged = merge.finish();
    assert_eq!(shapes(&merged), shapes(&whole));
    for (learner, trained) in alone.iter().enumerate() {
        let name = format!("loss.state.{learner}.embeddings");
        assert_eq!(values(&merged, &name), values(trained, &name));
    }
    drop_state(&mut merged.0);
    assert!(shapes(&merged).is_empty());

    // A memory that is never filled changes nothing.
    let plain = method(LossConfig::Margin(margin.clone()), SubspaceConfig::Slice(Slice {}));
    let (plain, _) = train(&plain, &begin, 2, None, 0..2);
    for (size, warm_up) in [(0, 0), (20, u64::MAX)] {
        assert!(plain == train(&xbm(size, warm_up), &begin, 2, None, 0..2).0, "size {size}, warm-up {warm_up}");
    }
}
