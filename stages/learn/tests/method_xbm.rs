//! Cross-batch memory against a slow loop that follows its formula, over several steps; gradients against finite differences.

use candle_core::{Device, Var};
use dnc_learn::losses::{
    Batch, Contrastive, EmbeddedBatch, Loss, LossConfig, LossOutput, LossState, Margin, PairLoss, Triplet, Xbm,
};
use dnc_learn::miners::{BatchAll, Candidates, Miner};
use dnc_learn::streams::Streams;
use proptest::prelude::*;

const DIM: usize = 4;
const BATCH: usize = 6;

/// An image that was embedded in a step.
#[derive(Clone, Copy, Debug)]
struct Embedded {
    embedding: [f64; DIM],
    label: u32,
    image: u32,
}

fn normalised(row: [f64; DIM]) -> [f64; DIM] {
    let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
    row.map(|x| x / norm)
}

fn distance(a: &Embedded, b: &Embedded) -> f64 {
    let pairs = normalised(a.embedding).into_iter().zip(normalised(b.embedding));
    pairs.map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt()
}

fn mean_above_zero(values: Vec<f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().filter(|&value| value > 0.0).collect();
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The loss of `batch` against itself and the newest `size` images of `earlier`.
fn slow(loss: &PairLoss, batch: &[Embedded], earlier: &[Embedded], size: usize) -> f64 {
    let memory = &earlier[earlier.len().saturating_sub(size)..];
    let others = |anchor: usize| -> Vec<&Embedded> {
        let within = batch.iter().enumerate().filter(move |(index, _)| *index != anchor).map(|(_, other)| other);
        let across = memory.iter().filter(|old| batch.iter().all(|new| new.image != old.image));
        within.chain(across).collect()
    };
    let (mut near, mut far, mut triplets) = (Vec::new(), Vec::new(), Vec::new());
    for (index, anchor) in batch.iter().enumerate() {
        let others = others(index);
        let positives = others.iter().filter(|other| other.label == anchor.label).map(|other| distance(anchor, other));
        let negatives = others.iter().filter(|other| other.label != anchor.label).map(|other| distance(anchor, other));
        near.extend(positives.clone());
        far.extend(negatives.clone());
        triplets.extend(positives.flat_map(|positive| negatives.clone().map(move |negative| (positive, negative))));
    }
    match loss {
        PairLoss::Contrastive(c) => {
            mean_above_zero(near.iter().map(|d| d - c.positive_margin).collect())
                + mean_above_zero(far.iter().map(|d| c.negative_margin - d).collect())
        }
        PairLoss::Margin(c) => {
            let terms = triplets.iter().flat_map(|(p, n)| [p - c.beta + c.margin, c.beta - n + c.margin]);
            mean_above_zero(terms.collect())
        }
        PairLoss::Triplet(c) => mean_above_zero(triplets.iter().map(|(p, n)| p - n + c.margin).collect()),
    }
}

/// One step: the output, the gradient with respect to the embeddings before their normalisation, and the next state.
fn step(loss: &dyn Loss, batch: &[Embedded], step: u64, state: &LossState) -> (LossOutput, Vec<f32>, LossState) {
    let flat: Vec<f32> = batch.iter().flat_map(|image| image.embedding.map(|x| x as f32)).collect();
    let raw = Var::from_vec(flat, (batch.len(), DIM), &Device::Cpu).unwrap();
    let embeddings = dnc_kernels::l2_normalise(&raw).unwrap();
    let labels: Vec<u32> = batch.iter().map(|image| image.label).collect();
    let images: Vec<u32> = batch.iter().map(|image| image.image).collect();
    let embedded = EmbeddedBatch { embeddings: &embeddings, labels: &labels, images: &images, step, state };
    let references = loss.references(&embedded).unwrap();
    let (distances, labels) = (&references.distances, references.labels.as_slice());
    let candidates = Candidates { distances, labels, dimension: DIM, max_negative_distance: None };
    let selection = BatchAll {}.mine(&candidates, &mut Streams::new(0).rng()).unwrap();
    let batch = Batch { embeddings: &embeddings, distances, labels, learned: None };
    let output = loss.forward(&batch, &selection).unwrap();
    let next = loss.next_state(&embedded).unwrap().unwrap_or_else(|| state.clone());
    let gradients = output.objective.backward().unwrap();
    let gradient = gradients.get(&raw).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    (output, gradient, next)
}

fn batches() -> impl Strategy<Value = Vec<Vec<Embedded>>> {
    // Few images, so that they come again in later batches.
    let image = (prop::array::uniform4(-1.0f64..1.0), 0u32..9).prop_map(|(mut embedding, image)| {
        // Far enough from the origin to be normalised well in single precision.
        embedding[0] += if embedding[0] < 0.0 { -0.5 } else { 0.5 };
        Embedded { embedding, label: image % 3, image }
    });
    prop::collection::vec(prop::collection::vec(image, BATCH), 5)
}

/// Step of the finite differences.
const STEP: f64 = 1e-5;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_loss_is_that_against_the_batch_and_the_memory(batches in batches()) {
        for loss in [
            PairLoss::Contrastive(Contrastive { positive_margin: 0.2, ..Contrastive::default() }),
            PairLoss::Margin(Margin { beta: 0.9, margin: 0.3, ..Margin::default() }),
            PairLoss::Triplet(Triplet::default()),
        ] {
            for (size, warm_up) in [(8, 0), (100, 2), (0, 0), (8, u64::MAX)] {
                let xbm = Xbm { loss: loss.clone(), size, warm_up };
                let (mut state, mut earlier) = (LossState::new(), Vec::new());
                for (number, batch) in batches.iter().enumerate() {
                    let (output, gradient, next) = step(&xbm, batch, number as u64, &state);
                    let expected = slow(&loss, batch, &earlier, size);
                    let what = format!("{xbm:?}, step {number}");
                    prop_assert!((output.value - expected).abs() < 1e-4 * expected.max(1.0), "{what}: {} for {expected}", output.value);
                    prop_assert!(output.informative <= output.terms);
                    for (index, found) in gradient.into_iter().enumerate() {
                        let moved = |by: f64| {
                            let mut batch = batch.clone();
                            batch[index / DIM].embedding[index % DIM] += by;
                            slow(&loss, &batch, &earlier, size)
                        };
                        // If a term crosses zero within the step, any value between the one-sided derivatives is accepted.
                        let (right, left) = ((moved(STEP) - moved(0.0)) / STEP, (moved(0.0) - moved(-STEP)) / STEP);
                        let (low, high) = (right.min(left), right.max(left));
                        let room = 2e-3 * low.abs().max(high.abs()).max(1.0);
                        let found = f64::from(found);
                        prop_assert!(found >= low - room && found <= high + room, "{what}: {found} not in {low}..{high}");
                    }
                    if number as u64 >= warm_up {
                        earlier.extend(batch.iter().copied());
                    }
                    state = next;
                }
            }
        }
    }

    #[test]
    fn an_unused_memory_gives_the_plain_loss(batches in batches()) {
        let plain = Margin { beta: 0.9, ..Margin::default() };
        for (size, warm_up) in [(0, 0), (8, u64::MAX)] {
            let xbm = Xbm { loss: PairLoss::Margin(plain.clone()), size, warm_up };
            let mut state = LossState::new();
            for (number, batch) in batches.iter().enumerate() {
                let (output, gradient, next) = step(&xbm, batch, number as u64, &state);
                let (expected, expected_gradient, _) = step(&plain, batch, number as u64, &state);
                prop_assert_eq!((output.value, output.terms), (expected.value, expected.terms));
                prop_assert_eq!(gradient, expected_gradient);
                prop_assert!(next.is_empty());
                state = next;
            }
        }
    }
}

#[test]
fn the_memory_keeps_the_newest_images_in_their_order() {
    let image = |image: u32| Embedded { embedding: [1.0, f64::from(image), 0.0, 0.0], label: image / 2, image };
    let xbm = Xbm { size: 5, warm_up: 1, ..Xbm::default() };
    let mut state = LossState::new();
    for (number, images) in [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]].into_iter().enumerate() {
        state = step(&xbm, &images.map(image), number as u64, &state).2;
    }
    let numbers = |name: &str| -> Vec<f32> { state[name].to_vec1().unwrap() };
    assert_eq!(numbers("images"), [7.0, 8.0, 9.0, 10.0, 11.0]);
    assert_eq!(numbers("labels"), [3.0, 4.0, 4.0, 5.0, 5.0]);
    let embeddings: Vec<Vec<f32>> = state["embeddings"].to_vec2().unwrap();
    for (row, number) in embeddings.iter().zip(7..) {
        assert!((row[1] / row[0] - number as f32).abs() < 1e-4, "{row:?}");
    }
}

#[test]
fn the_configuration_is_a_table_with_the_pair_loss_in_it() {
    let parse = |text: &str| serde_json::from_str::<LossConfig>(text);
    let parsed = parse(r#"{ "kind": "xbm", "size": 64, "loss": { "kind": "margin", "beta": 1.0 } }"#).unwrap();
    let loss = PairLoss::Margin(Margin { beta: 1.0, ..Margin::default() });
    assert_eq!(parsed, LossConfig::Xbm(Xbm { loss, size: 64, warm_up: 1000 }));
    assert!(parse(r#"{ "kind": "xbm", "loss": { "kind": "n_pairs" } }"#).is_err());
    let check = |text: &str| parse(text).unwrap().as_loss().check().unwrap_err().to_string();
    insta::assert_snapshot!(check(r#"{ "kind": "xbm", "size": 2000000 }"#), @"`size` cannot be 2000000: it must be at most 1048576");
    insta::assert_snapshot!(check(r#"{ "kind": "xbm", "loss": { "kind": "margin", "beta": 3 } }"#), @"`beta` cannot be 3: it must lie between 0 and 2");
}
