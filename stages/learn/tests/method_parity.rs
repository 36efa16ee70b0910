//! Losses and miners give what PyTorch and pytorch-metric-learning give: see `fixtures/method_losses.py`.

use candle_core::{Device, Tensor, Var};
use dnc_learn::comparisons::Comparisons;
use dnc_learn::losses::{Batch, Learned, LossConfig};
use dnc_learn::miners::{Candidates, MinerConfig, Pairs, Selection};
use dnc_learn::streams::Streams;
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    batches: Vec<Images>,
    losses: Vec<LossCase>,
    mining: Vec<MiningCase>,
}

#[derive(Deserialize)]
struct Images {
    labels: Vec<u32>,
    dim: usize,
    raw: Vec<f32>,
}

#[derive(Deserialize)]
struct LossCase {
    config: LossConfig,
    batch: usize,
    selection: Option<Selected>,
    value: f64,
    gradient: Vec<f32>,
    learned: Option<LearnedCase>,
}

#[derive(Deserialize)]
struct MiningCase {
    config: MinerConfig,
    batch: usize,
    #[serde(flatten)]
    selected: Selected,
}

#[derive(Deserialize)]
struct LearnedCase {
    shape: Vec<usize>,
    values: Vec<f32>,
    gradient: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Selected {
    Triplets { triplets: Vec<[u32; 3]> },
    Pairs { positives: Vec<[u32; 2]>, negatives: Vec<[u32; 2]> },
}

impl From<&Selected> for Selection {
    fn from(selected: &Selected) -> Self {
        match selected {
            Selected::Triplets { triplets } => Selection::Triplets(triplets.clone()),
            Selected::Pairs { positives, negatives } => {
                Selection::Pairs(Pairs { positives: positives.clone(), negatives: negatives.clone() })
            }
        }
    }
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/method_losses.json")).unwrap()
}

fn variable(values: &[f32], shape: &[usize]) -> Var {
    Var::from_slice(values, shape, &Device::Cpu).unwrap()
}

fn assert_near(found: &Tensor, expected: &[f32], what: &str) {
    let found: Vec<f32> = found.flatten_all().unwrap().to_vec1().unwrap();
    let size = expected.iter().map(|x| x.abs()).fold(1e-3, f32::max);
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-4 * size, "{what}: {found} for {expected}");
    }
}

#[test]
fn losses_and_their_gradients_agree() {
    let fixture = fixture();
    assert!(fixture.losses.len() >= 35);
    for case in &fixture.losses {
        let images = &fixture.batches[case.batch];
        let raw = variable(&images.raw, &[images.labels.len(), images.dim]);
        let embeddings = dnc_kernels::l2_normalise(&raw).unwrap();
        let distances = Comparisons::distances(&embeddings).unwrap();
        let variables = case.learned.as_ref().map(|learned| variable(&learned.values, &learned.shape));
        let loss = case.config.as_loss();
        loss.check().unwrap();
        let learned = variables.as_ref().map(|variable| match loss.learned(learned_classes(case), images.dim) {
            Some(Learned::Points(spec)) => {
                assert_eq!(spec.shape, variable.dims());
                dnc_kernels::l2_normalise(variable).unwrap()
            }
            Some(Learned::Coefficients(spec)) => {
                assert_eq!(spec.shape, variable.dims());
                variable.as_tensor().clone()
            }
            None => panic!("{:?} learns nothing", case.config),
        });
        let batch =
            Batch { embeddings: &embeddings, distances: &distances, labels: &images.labels, learned: learned.as_ref() };
        let selection = case.selection.as_ref().map_or(Selection::Everything, Selection::from);
        let output = loss.forward(&batch, &selection).unwrap();

        let what = format!("{:?} on batch {}", case.config, case.batch);
        assert!(
            (output.value - case.value).abs() <= 1e-4 * case.value.max(1.0),
            "{what}: {} for {}",
            output.value,
            case.value
        );
        assert_eq!(output.objective.to_scalar::<f32>().unwrap(), output.value as f32, "{what}");
        assert!(output.informative <= output.terms && output.informative > 0, "{what}");
        let gradients = output.objective.backward().unwrap();
        assert_near(gradients.get(&raw).unwrap(), &case.gradient, &what);
        if let (Some(variable), Some(learned)) = (&variables, &case.learned) {
            assert_near(gradients.get(variable).unwrap(), &learned.gradient, &format!("what is learned by {what}"));
        }
    }
}

fn learned_classes(case: &LossCase) -> usize {
    case.learned.as_ref().map_or(0, |learned| learned.shape[0])
}

#[test]
fn miners_choose_the_same() {
    let fixture = fixture();
    for case in &fixture.mining {
        let images = &fixture.batches[case.batch];
        let raw = Tensor::from_slice(&images.raw, (images.labels.len(), images.dim), &Device::Cpu).unwrap();
        let distances = Comparisons::distances(&dnc_kernels::l2_normalise(&raw).unwrap()).unwrap();
        let candidates =
            Candidates { distances: &distances, labels: &images.labels, dimension: images.dim, reach: None };
        let found = case.config.as_miner().mine(&candidates, &mut Streams::new(0).rng()).unwrap();
        assert_eq!(sorted(found), sorted(Selection::from(&case.selected)), "{:?} on batch {}", case.config, case.batch);
    }
}

fn sorted(selection: Selection) -> Selection {
    match selection {
        Selection::Everything => Selection::Everything,
        Selection::Triplets(mut triplets) => {
            triplets.sort_unstable();
            Selection::Triplets(triplets)
        }
        Selection::Pairs(mut pairs) => {
            pairs.positives.sort_unstable();
            pairs.negatives.sort_unstable();
            Selection::Pairs(pairs)
        }
    }
}
