//! Parity with PyTorch, pytorch-metric-learning and SciPy: losses and miners with the fixture of `fixtures/method_losses.py`; further
//! miners, subspaces, schedules and re-assignment with that of `fixtures/method_parts.py`.

use candle_core::{Device, Tensor, Var};
use dnc_learn::division::reassignment;
use dnc_learn::losses::{Batch, Learned, LossConfig};
use dnc_learn::miners::{Candidates, MinerConfig, Pairs, Selection};
use dnc_learn::pairwise::PairwiseMatrix;
use dnc_learn::schedules::ScheduleConfig;
use dnc_learn::streams::Streams;
use dnc_learn::subspaces::{orthogonality, project};
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
struct Parts {
    #[serde(flatten)]
    images: Images,
    mining: Vec<MinedCase>,
    projections: Vec<ProjectionCase>,
    orthogonality: OrthogonalityCase,
    schedules: Vec<ScheduleCase>,
    matchings: Vec<MatchingCase>,
}

#[derive(Deserialize)]
struct MinedCase {
    config: MinerConfig,
    triplets: Vec<[u32; 3]>,
}

#[derive(Deserialize)]
struct ProjectionCase {
    embeddings: Vec<f32>,
    masks: Vec<Vec<f32>>,
    learner: usize,
    coefficients: Vec<f32>,
    value: Vec<f32>,
    by_embeddings: Vec<f32>,
    by_masks: Option<Vec<f32>>,
}

#[derive(Deserialize)]
struct OrthogonalityCase {
    masks: Vec<f32>,
    value: f32,
    gradient: Vec<f32>,
}

#[derive(Deserialize)]
struct ScheduleCase {
    config: ScheduleConfig,
    /// By epoch.
    factors: Vec<f64>,
}

#[derive(Deserialize)]
struct MatchingCase {
    new: Vec<u32>,
    last: Vec<i32>,
    clusters: usize,
    kept: usize,
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

fn parts() -> Parts {
    serde_json::from_str(include_str!("fixtures/method_parts.json")).unwrap()
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
        let distances = PairwiseMatrix::distances(&embeddings).unwrap();
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
            assert_near(gradients.get(variable).unwrap(), &learned.gradient, &format!("the learned tensor of {what}"));
        }
    }
}

fn learned_classes(case: &LossCase) -> usize {
    case.learned.as_ref().map_or(0, |learned| learned.shape[0])
}

#[test]
fn miners_select_the_same() {
    let check = |config: &MinerConfig, images: &Images, expected: Selection| {
        let raw = Tensor::from_slice(&images.raw, (images.labels.len(), images.dim), &Device::Cpu).unwrap();
        let distances = PairwiseMatrix::distances(&dnc_kernels::l2_normalise(&raw).unwrap()).unwrap();
        let candidates = Candidates {
            distances: &distances,
            labels: &images.labels,
            dimension: images.dim,
            max_negative_distance: None,
        };
        let found = config.as_miner().mine(&candidates, &mut Streams::new(0).rng()).unwrap();
        assert_eq!(sorted(found), sorted(expected), "{config:?} on {:?}", images.labels);
    };
    let (fixture, parts) = (fixture(), parts());
    for case in &fixture.mining {
        check(&case.config, &fixture.batches[case.batch], Selection::from(&case.selected));
    }
    for case in &parts.mining {
        check(&case.config, &parts.images, Selection::Triplets(case.triplets.clone()));
    }
}

#[test]
fn subspaces_and_their_penalty_agree() {
    let parts = parts();
    for case in &parts.projections {
        let (embeddings, masks) = (variable(&case.embeddings, &[3, 6]), variable(&case.masks.concat(), &[2, 6]));
        let found = project(&embeddings, &masks, case.learner).unwrap();
        assert_near(&found, &case.value, "projection");
        let coefficients = Tensor::from_slice(&case.coefficients, (3, 6), &Device::Cpu).unwrap();
        let gradients = (found * coefficients).unwrap().sum_all().unwrap().backward().unwrap();
        assert_near(gradients.get(&embeddings).unwrap(), &case.by_embeddings, "projection by embeddings");
        if let Some(expected) = &case.by_masks {
            assert_near(gradients.get(&masks).unwrap(), expected, "projection by masks");
        }
    }
    let case = &parts.orthogonality;
    let masks = variable(&case.masks, &[3, 6]);
    let penalty = orthogonality(&masks).unwrap();
    assert_near(&penalty, &[case.value], "orthogonality");
    assert_near(penalty.backward().unwrap().get(&masks).unwrap(), &case.gradient, "orthogonality by masks");
}

#[test]
fn schedules_agree() {
    for case in parts().schedules {
        case.config.check().unwrap();
        for (epoch, expected) in case.factors.iter().enumerate() {
            let found = case.config.factor(epoch as f64);
            assert!((found - expected).abs() < 1e-6, "{:?} at {epoch}: {found} for {expected}", case.config);
        }
    }
}

#[test]
fn reassignment_keeps_as_many_images() {
    for case in parts().matchings {
        let names = reassignment(&case.new, &case.last, case.clusters);
        let kept = case.new.iter().zip(&case.last).filter(|&(&new, &last)| names[new as usize] as i32 == last).count();
        assert_eq!(kept, case.kept, "{} clusters", case.clusters);
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
