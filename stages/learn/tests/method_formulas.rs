//! Losses and miners against slow loops that follow their formulas, on random batches; the gradients of the losses against finite
//! differences of those loops.

use std::collections::BTreeSet;

use candle_core::{Device, Var};
use dnc_learn::losses::{
    Batch, Beta, Contrastive, Loss, LossConfig, Margin, MultiSimilarity, NPairs, ProxyAnchor, Triplet,
};
use dnc_learn::miners::{
    self, BatchAll, Candidates, DistanceWeighted, EasyPositive, Hard, MinerConfig, NearestBeyond, NegativeChoice,
    Random, RandomPositive, Selection, SemiHard,
};
use dnc_learn::pairwise::PairwiseMatrix;
use dnc_learn::streams::Streams;
use proptest::prelude::*;

const DIM: usize = 5;

/// Rows before normalisation, and their labels.
#[derive(Clone, Debug)]
struct Images {
    rows: Vec<[f64; DIM]>,
    labels: Vec<usize>,
}

impl Images {
    /// The same images with one coordinate moved.
    fn moved(&self, index: usize, by: f64) -> Self {
        let mut images = self.clone();
        images.rows[index / DIM][index % DIM] += by;
        images
    }
}

fn images() -> impl Strategy<Value = Images> {
    let image = (prop::array::uniform5(-1.0f64..1.0), 0usize..3);
    prop::collection::vec(image, 6..12).prop_map(|images| {
        let (mut rows, labels): (Vec<[f64; DIM]>, _) = images.into_iter().unzip();
        // Far enough from the origin to be normalised well in single precision.
        rows.iter_mut().for_each(|row| row[0] += if row[0] < 0.0 { -0.5 } else { 0.5 });
        Images { rows, labels }
    })
}

fn normalised(row: &[f64; DIM]) -> [f64; DIM] {
    let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
    row.map(|x| x / norm)
}

fn cosine(a: &[f64; DIM], b: &[f64; DIM]) -> f64 {
    normalised(a).iter().zip(normalised(b)).map(|(x, y)| x * y).sum()
}

fn distance(a: &[f64; DIM], b: &[f64; DIM]) -> f64 {
    normalised(a).iter().zip(normalised(b)).map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt()
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().collect();
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The same loss over all triplets or pairs, by the formula in its file.
fn slow(config: &LossConfig, images: &Images, proxies: &[[f64; DIM]]) -> f64 {
    let (rows, labels) = (&images.rows, &images.labels);
    let n = rows.len();
    let d = |i: usize, j: usize| distance(&rows[i], &rows[j]);
    let s = |i: usize, j: usize| cosine(&rows[i], &rows[j]);
    let positives = |i: usize| (0..n).filter(move |&j| j != i && labels[j] == labels[i]);
    let negatives = |i: usize| (0..n).filter(move |&j| labels[j] != labels[i]);
    let triplets = || (0..n).flat_map(|a| positives(a).flat_map(move |p| negatives(a).map(move |n| (a, p, n))));
    let hinge = |values: Vec<f64>| mean(values.into_iter().filter(|&value| value > 0.0));
    match config {
        LossConfig::Xbm(_) => unreachable!("`method_xbm.rs` tests this loss"),
        LossConfig::Margin(c) => slow_margin(c, images, &[c.beta]),
        LossConfig::Triplet(c) if c.soft => mean(triplets().map(|(a, p, n)| (1.0 + (d(a, p) - d(a, n)).exp()).ln())),
        LossConfig::Triplet(c) => hinge(triplets().map(|(a, p, n)| d(a, p) - d(a, n) + c.margin).collect()),
        LossConfig::Contrastive(c) => {
            let near = (0..n).flat_map(|a| positives(a).map(move |p| d(a, p) - c.positive_margin));
            let far = (0..n).flat_map(|a| negatives(a).map(move |n| c.negative_margin - d(a, n)));
            let power = |x: f64| if c.squared && x > 0.0 { x * x } else { x };
            hinge(near.map(power).collect()) + hinge(far.map(power).collect())
        }
        LossConfig::MultiSimilarity(c) => mean((0..n).map(|i| {
            let near: f64 = positives(i).map(|p| (-c.alpha * (s(i, p) - c.base)).exp()).sum();
            let far: f64 = negatives(i).map(|n| (c.beta * (s(i, n) - c.base)).exp()).sum();
            (1.0 + near).ln() / c.alpha + (1.0 + far).ln() / c.beta
        })),
        LossConfig::NPairs(c) => {
            let mut pairs = Vec::new();
            for class in 0..3 {
                let members: Vec<usize> = (0..n).filter(|&i| labels[i] == class).collect();
                pairs.extend(members.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            mean(pairs.iter().map(|&(a, p)| {
                let others = pairs.iter().filter(|&&(other, _)| labels[other] != labels[a]);
                (1.0 + others.map(|&(_, n)| (c.scale * (s(a, n) - s(a, p))).exp()).sum::<f64>()).ln()
            }))
        }
        LossConfig::ProxyAnchor(c) => {
            let s = |i: usize, p: usize| cosine(&rows[i], &proxies[p]);
            let term = |exponents: Vec<f64>| (1.0 + exponents.into_iter().map(f64::exp).sum::<f64>()).ln();
            let with = |p: usize| (0..n).filter(move |&i| labels[i] == p);
            let near = |p| term(with(p).map(|i| -c.alpha * (s(i, p) - c.margin)).collect());
            let far = |p| term((0..n).filter(|&i| labels[i] != p).map(|i| c.alpha * (s(i, p) + c.margin)).collect());
            let present: Vec<usize> = (0..proxies.len()).filter(|&p| with(p).next().is_some()).collect();
            mean(present.into_iter().map(near)) + mean((0..proxies.len()).map(far))
        }
    }
}

/// The margin loss with its boundaries, one for all classes or one for each.
fn slow_margin(config: &Margin, Images { rows, labels }: &Images, betas: &[f64]) -> f64 {
    let beta = |anchor: usize| if betas.len() == 1 { betas[0] } else { betas[labels[anchor]] };
    let (mut terms, mut sizes) = (Vec::new(), Vec::new());
    for a in 0..rows.len() {
        for p in (0..rows.len()).filter(|&p| p != a && labels[p] == labels[a]) {
            for n in (0..rows.len()).filter(|&n| labels[n] != labels[a]) {
                terms.push(distance(&rows[a], &rows[p]) - beta(a) + config.margin);
                terms.push(beta(a) - distance(&rows[a], &rows[n]) + config.margin);
                sizes.push(beta(a).abs());
            }
        }
    }
    let terms: Vec<f64> = terms.into_iter().filter(|&term| term > 0.0).collect();
    let penalty = match betas {
        [beta] => beta.abs(),
        _ if terms.is_empty() => 0.0,
        _ => sizes.iter().sum::<f64>() / terms.len() as f64,
    };
    mean(terms) + config.nu * penalty
}

fn configs() -> Vec<LossConfig> {
    vec![
        LossConfig::Margin(Margin::default()),
        LossConfig::Margin(Margin { beta: 0.8, margin: 0.4, learn_beta: Beta::No, nu: 0.0 }),
        LossConfig::Triplet(Triplet::default()),
        LossConfig::Triplet(Triplet { soft: true, ..Triplet::default() }),
        LossConfig::Contrastive(Contrastive::default()),
        LossConfig::Contrastive(Contrastive { positive_margin: 0.2, negative_margin: 1.4, squared: true }),
        LossConfig::MultiSimilarity(MultiSimilarity::default()),
        LossConfig::NPairs(NPairs { scale: 4.0 }),
        LossConfig::ProxyAnchor(ProxyAnchor { alpha: 5.0, margin: 0.1 }),
    ]
}

/// Step of the finite differences in double precision: large enough for accurate differences, and so small that it rarely crosses a
/// hinge.
const STEP: f64 = 1e-5;

/// Checks that `found` is the derivative of `moved` at 0. If a term crosses zero within the step, the one-sided derivatives differ, and
/// any value between them is accepted.
fn assert_derivative(found: f32, moved: impl Fn(f64) -> f64, what: &str) -> Result<(), TestCaseError> {
    let (right, left) = ((moved(STEP) - moved(0.0)) / STEP, (moved(0.0) - moved(-STEP)) / STEP);
    let (low, high) = (right.min(left), right.max(left));
    let room = 2e-3 * low.abs().max(high.abs()).max(1.0);
    let found = f64::from(found);
    prop_assert!(found >= low - room && found <= high + room, "{what}: {found} not in {low}..{high}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn losses_follow_their_formulas(images in images()) {
        let proxies: Vec<[f64; DIM]> = (0..4).map(|p| std::array::from_fn(|i| ((p * 7 + i * 3) % 5) as f64 - 1.7)).collect();
        let labels: Vec<u32> = images.labels.iter().map(|&label| label as u32).collect();
        let flat: Vec<f32> = images.rows.iter().flatten().map(|&x| x as f32).collect();
        let raw = Var::from_vec(flat, (labels.len(), DIM), &Device::Cpu).unwrap();
        let flat: Vec<f32> = proxies.iter().flatten().map(|&x| x as f32).collect();
        let points = candle_core::Tensor::from_vec(flat, (4, DIM), &Device::Cpu).unwrap();
        let points = dnc_kernels::l2_normalise(&points).unwrap();
        for config in configs() {
            let loss = config.as_loss();
            // Backpropagation consumes the graph.
            let embeddings = dnc_kernels::l2_normalise(&raw).unwrap();
            let distances = PairwiseMatrix::distances(&embeddings).unwrap();
            let batch = Batch { embeddings: &embeddings, distances: &distances, labels: &labels, learned: Some(&points) };
            let output = loss.forward(&batch, &Selection::Everything).unwrap();
            let expected = slow(&config, &images, &proxies);
            prop_assert!((output.value - expected).abs() < 1e-4 * expected.max(1.0), "{config:?}: {} {expected}", output.value);

            let gradients = output.objective.backward().unwrap();
            let found: Vec<f32> = gradients.get(&raw).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            for (index, found) in found.into_iter().enumerate() {
                let moved = |by: f64| slow(&config, &images.moved(index, by), &proxies);
                assert_derivative(found, moved, &format!("{config:?}, {index}"))?;
            }
        }
    }

    #[test]
    fn a_learned_boundary_follows_its_formula(images in images()) {
        let labels: Vec<u32> = images.labels.iter().map(|&label| label as u32).collect();
        let flat: Vec<f32> = images.rows.iter().flatten().map(|&x| x as f32).collect();
        let raw = Var::from_vec(flat, (labels.len(), DIM), &Device::Cpu).unwrap();
        for (learn_beta, betas) in [(Beta::Shared, vec![0.9]), (Beta::PerClass, vec![0.7, 1.0, 1.3])] {
            for nu in [0.0, 0.3] {
                let loss = Margin { learn_beta, nu, ..Margin::default() };
                let flat: Vec<f32> = betas.iter().map(|&beta| beta as f32).collect();
                let learned = Var::from_vec(flat, betas.len(), &Device::Cpu).unwrap();
                let embeddings = dnc_kernels::l2_normalise(&raw).unwrap();
                let distances = PairwiseMatrix::distances(&embeddings).unwrap();
                let batch =
                    Batch { embeddings: &embeddings, distances: &distances, labels: &labels, learned: Some(&learned) };
                let output = loss.forward(&batch, &Selection::Everything).unwrap();
                let expected = slow_margin(&loss, &images, &betas);
                let room = 1e-4 * expected.max(1.0);
                prop_assert!((output.value - expected).abs() < room, "{loss:?}: {} {expected}", output.value);

                let gradients = output.objective.backward().unwrap();
                let by = |variable: &Var| -> Vec<f32> {
                    gradients.get(variable).unwrap().flatten_all().unwrap().to_vec1().unwrap()
                };
                for (index, found) in by(&raw).into_iter().enumerate() {
                    let moved = |by: f64| slow_margin(&loss, &images.moved(index, by), &betas);
                    assert_derivative(found, moved, &format!("{loss:?}, {index}"))?;
                }
                for (index, found) in by(&learned).into_iter().enumerate() {
                    let moved = |by: f64| {
                        let mut betas = betas.clone();
                        betas[index] += by;
                        slow_margin(&loss, &images, &betas)
                    };
                    assert_derivative(found, moved, &format!("{loss:?}, boundary {index}"))?;
                }
            }
        }
    }

    #[test]
    fn miners_follow_their_definitions(images in images(), seed in any::<u64>()) {
        let labels: Vec<u32> = images.labels.iter().map(|&label| label as u32).collect();
        let flat: Vec<f32> = images.rows.iter().flatten().map(|&x| x as f32).collect();
        let raw = candle_core::Tensor::from_vec(flat, (labels.len(), DIM), &Device::Cpu).unwrap();
        let distances = PairwiseMatrix::distances(&dnc_kernels::l2_normalise(&raw).unwrap()).unwrap();
        let candidates = Candidates { distances: &distances, labels: &labels, dimension: DIM, max_negative_distance: None };
        let mine = |config: &MinerConfig| {
            let mut rng = Streams::new(seed).rng();
            config.as_miner().mine(&candidates, &mut rng).unwrap().triplets(&labels).into_owned()
        };
        let n = labels.len();
        let d = |a: u32, b: u32| distances.at(a as usize, b as usize);
        let all: Vec<[u32; 3]> = Selection::Everything.triplets(&labels).into_owned();
        prop_assert_eq!(all.len(), (0..n).map(|a| {
            let same = labels.iter().filter(|&&label| label == labels[a]).count();
            (same - 1) * (n - same)
        }).sum::<usize>());
        prop_assert_eq!(&mine(&MinerConfig::BatchAll(BatchAll {})), &all);

        // Whether no other triplet of the same anchor (and positive) has a lower rank.
        let first_by = |triplet: &[u32; 3], same_positive: bool, rank: &dyn Fn(&[u32; 3]) -> f64| {
            all.iter()
                .filter(|other| other[0] == triplet[0] && (!same_positive || other[1] == triplet[1]))
                .all(|other| rank(triplet) <= rank(other))
        };
        let semi_hard = |t: &[u32; 3]| {
            // Negatives beyond the positive from near to far, then the others from far to near.
            if d(t[0], t[2]) > d(t[0], t[1]) { d(t[0], t[2]) } else { 10.0 - d(t[0], t[2]) }
        };
        let hard_negative = |t: &[u32; 3]| d(t[0], t[2]);
        let hard_positive = |t: &[u32; 3]| -d(t[0], t[1]);
        let easy_positive = |t: &[u32; 3]| d(t[0], t[1]);

        let pairs: BTreeSet<[u32; 2]> = all.iter().map(|t| [t[0], t[1]]).collect();
        let anchors: BTreeSet<u32> = all.iter().map(|t| t[0]).collect();

        for (config, one_per_pair) in [
            (MinerConfig::SemiHard(SemiHard {}), true),
            (MinerConfig::Random(Random {}), true),
            (MinerConfig::DistanceWeighted(DistanceWeighted::default()), true),
            (MinerConfig::NearestBeyond(NearestBeyond::default()), true),
            (MinerConfig::Hard(Hard {}), false),
            (MinerConfig::EasyPositive(EasyPositive { negative: NegativeChoice::SemiHard }), false),
            (MinerConfig::EasyPositive(EasyPositive { negative: NegativeChoice::Hard }), false),
            (MinerConfig::EasyPositive(EasyPositive { negative: NegativeChoice::Random }), false),
            (MinerConfig::RandomPositive(RandomPositive { negative: NegativeChoice::Hard }), false),
            (MinerConfig::RandomPositive(RandomPositive { negative: NegativeChoice::SemiHard }), false),
            (MinerConfig::RandomPositive(RandomPositive { negative: NegativeChoice::Random }), false),
        ] {
            let found = mine(&config);
            prop_assert!(found.iter().all(|triplet| all.contains(triplet)), "{config:?}");
            if one_per_pair {
                let found: Vec<[u32; 2]> = found.iter().map(|t| [t[0], t[1]]).collect();
                prop_assert_eq!(found, pairs.iter().copied().collect::<Vec<_>>(), "{:?}", config);
            } else {
                let found: Vec<u32> = found.iter().map(|t| t[0]).collect();
                prop_assert_eq!(found, anchors.iter().copied().collect::<Vec<_>>(), "{:?}", config);
            }
            for t in &found {
                let right = match &config {
                    MinerConfig::SemiHard(_) => first_by(t, true, &semi_hard),
                    MinerConfig::Hard(_) => first_by(t, false, &hard_positive) && first_by(t, false, &hard_negative),
                    MinerConfig::EasyPositive(c) if c.negative == NegativeChoice::Hard => {
                        first_by(t, false, &easy_positive) && first_by(t, true, &hard_negative)
                    }
                    MinerConfig::EasyPositive(c) if c.negative == NegativeChoice::SemiHard => {
                        first_by(t, false, &easy_positive) && first_by(t, true, &semi_hard)
                    }
                    MinerConfig::EasyPositive(_) => first_by(t, false, &easy_positive),
                    MinerConfig::RandomPositive(c) if c.negative == NegativeChoice::Hard => first_by(t, true, &hard_negative),
                    MinerConfig::RandomPositive(c) if c.negative == NegativeChoice::SemiHard => first_by(t, true, &semi_hard),
                    _ => true,
                };
                prop_assert!(right, "{config:?}: {t:?}");
            }
        }

        // One negative per positive: those beyond the cutoff from near to far, then the others from far to near, then again.
        let cutoff = 0.9;
        let found = mine(&MinerConfig::NearestBeyond(NearestBeyond { cutoff }));
        for &anchor in &anchors {
            let mut expected: Vec<u32> = (0..n as u32).filter(|&i| labels[i as usize] != labels[anchor as usize]).collect();
            expected.sort_by(|&a, &b| {
                let key = |i| if d(anchor, i) >= cutoff { d(anchor, i) } else { 10.0 - d(anchor, i) };
                key(a).total_cmp(&key(b))
            });
            let found: Vec<u32> = found.iter().filter(|t| t[0] == anchor).map(|t| t[2]).collect();
            let expected: Vec<u32> = expected.into_iter().cycle().take(found.len()).collect();
            prop_assert_eq!(found, expected);
        }

        // Pairs harder than the easiest pair of the other kind, with a tolerance of ε.
        let epsilon = 0.1;
        let config = MinerConfig::MultiSimilarity(miners::MultiSimilarity { epsilon });
        let found = config.as_miner().mine(&candidates, &mut Streams::new(seed).rng()).unwrap().pairs(&labels).into_owned();
        let s = |a: u32, b: u32| 1.0 - d(a, b).powi(2) / 2.0;
        let everything = Selection::Everything.pairs(&labels).into_owned();
        let of = |pairs: &[[u32; 2]], anchor: u32| -> Vec<f64> {
            pairs.iter().filter(|pair| pair[0] == anchor).map(|pair| s(pair[0], pair[1])).collect()
        };
        for pair in &everything.negatives {
            let hard = of(&everything.positives, pair[0]).iter().any(|&p| s(pair[0], pair[1]) > p - epsilon);
            prop_assert_eq!(found.negatives.contains(pair), hard);
        }
        for pair in &everything.positives {
            let hard = of(&everything.negatives, pair[0]).iter().any(|&n| s(pair[0], pair[1]) < n + epsilon);
            prop_assert_eq!(found.positives.contains(pair), hard);
        }
    }
}
