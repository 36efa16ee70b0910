//! Distance-weighted negatives: drawn with weights that make all distances equally likely.
//!
//! Formula: the distance d of two uniform points on the unit sphere in n dimensions has density
//! `q(d) ∝ d^{n−2} (1 − d²/4)^{(n−3)/2}`; a negative's weight is `1 / q(max(d, cutoff))`, in logarithms
//! `(2 − n) ln d − (n − 3)/2 · ln(1 − d²/4)`, and next to nothing where d ≥ `beyond`. Each anchor gets as many negatives
//! as it has positives, without replacement while there are enough, or independently of each other.
//! Source: Wu et al. 2017, arXiv 1706.07567, section 4.1.
//! Deviation: n is the dimension of the subspace that the learner trains, as q demands, unless another is given. The
//! paper bounds weights by a constant; as in its authors' code, the cutoff on d does that here.
//!
//! Drawing without replacement by weights is taking those with the largest `ln weight + Gumbel noise` (Efraimidis and
//! Spirakis 2006, in logarithms). Weights of n = 512 span hundreds of powers of ten, so they never leave the logarithm.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Candidates, Miner, Selection};
use crate::checks::{check_range, check_scale};
use crate::error::Result;

/// The logarithm of the weight of a negative that is too far to push, relative to the anchor's lightest near one. It is not
/// minus infinity, so that an anchor all of whose negatives are far still gets some.
const LN_FAR_WEIGHT: f64 = -20.723_265_836_946_41; // ln 1e-9

/// `beyond` where neither it nor the loss says otherwise: the paper's α + β.
const PAPERS_REACH: f64 = 1.4;

/// `1 − d²/4` counts as no less than this: it is zero for opposite points, whose weight would be infinite.
const SPAN_FLOOR: f64 = 1e-8;

/// Negatives drawn so that all distances are equally likely.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DistanceWeighted {
    /// A negative nearer than this counts as this far: very near ones are noise or mislabelled.
    pub cutoff: f64,
    /// From this distance on a negative gets next to no weight, since the loss would not push it; where it is not given, α + β of the
    /// margin loss as configured, and 1.4 for other losses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beyond: Option<f64>,
    /// Whether an anchor's negatives are drawn independently of each other, as the paper's authors' code does. With weights
    /// as steep as in a hundred dimensions most positives of an anchor then meet its one hardest negative.
    pub replacement: bool,
    /// n; where it is not given, the dimension of the learner's subspace. A larger one draws harder negatives; the published
    /// code of divide and conquer takes the width of the whole embedding for masks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimension: Option<usize>,
}

impl Default for DistanceWeighted {
    fn default() -> Self {
        Self { cutoff: 0.5, beyond: None, replacement: false, dimension: None }
    }
}

impl Miner for DistanceWeighted {
    fn mine(&self, batch: &Candidates<'_>, rng: &mut ChaCha8Rng) -> Result<Selection> {
        batch.triplets(|anchor, positives, negatives| {
            let weights = self.ln_weights(batch, anchor, negatives);
            let mut draw = |count: usize| -> Vec<usize> {
                let mut keyed: Vec<(f64, usize)> =
                    weights.iter().zip(negatives).map(|(weight, &negative)| (weight + gumbel(rng), negative)).collect();
                keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
                keyed.into_iter().take(count).map(|(_, negative)| negative).collect()
            };
            let drawn: Vec<usize> = match self.replacement {
                true => positives.iter().flat_map(|_| draw(1)).collect(),
                false => draw(positives.len()),
            };
            positives.iter().zip(drawn.iter().cycle()).map(|(&positive, &negative)| [positive, negative]).collect()
        })
    }

    fn check(&self) -> Result<()> {
        // Without a cutoff two equal images would have an infinite weight.
        check_scale("cutoff", self.cutoff)?;
        check_range("cutoff", self.cutoff, 0.0..=2.0)?;
        check_range("beyond", self.beyond.unwrap_or(PAPERS_REACH), 0.0..=2.0)?;
        check_scale("dimension", self.dimension.map_or(1.0, |dimension| dimension as f64))
    }
}

impl DistanceWeighted {
    /// The logarithm of each negative's weight, up to a constant an anchor.
    fn ln_weights(&self, batch: &Candidates<'_>, anchor: usize, negatives: &[usize]) -> Vec<f64> {
        let n = self.dimension.unwrap_or(batch.dimension) as f64;
        let ln_inverse_density = |distance: f64| {
            let distance = distance.max(self.cutoff);
            let span = (1.0 - distance * distance / 4.0).max(SPAN_FLOOR);
            (2.0 - n) * distance.ln() - (n - 3.0) / 2.0 * span.ln()
        };
        let beyond = self.beyond.or(batch.reach).unwrap_or(PAPERS_REACH);
        let near: Vec<Option<f64>> = negatives
            .iter()
            .map(|&negative| batch.distances.at(anchor, negative))
            .map(|distance| (distance < beyond).then(|| ln_inverse_density(distance)))
            .collect();
        let heaviest = near.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let near: Vec<Option<f64>> = near.into_iter().map(|weight| Some(weight? - heaviest)).collect();
        // Where several are drawn, all near ones come before any far one, however light they are.
        let far = near.iter().flatten().copied().fold(0.0, f64::min) + LN_FAR_WEIGHT;
        near.into_iter().map(|weight| weight.unwrap_or(far)).collect()
    }
}

/// A number from the standard Gumbel distribution. `1 − u` lies in (0, 1], the floor keeps both logarithms finite.
fn gumbel(rng: &mut ChaCha8Rng) -> f64 {
    let uniform = (1.0 - rng.random::<f64>()).clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON / 2.0);
    -(-uniform.ln()).ln()
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::comparisons::Comparisons;
    use crate::losses::{Loss, Margin};
    use crate::streams::Streams;

    /// One anchor and its positive, then a negative at each of `distances`.
    fn batch(distances: &[f64]) -> (Comparisons, Vec<u32>) {
        let size = distances.len() + 2;
        let mut matrix = vec![1.0f32; size * size];
        for (column, &distance) in distances.iter().enumerate() {
            matrix[column + 2] = distance as f32;
        }
        let labels = (0..size as u32).map(|image| image.saturating_sub(1)).collect();
        (Comparisons::of(Tensor::from_vec(matrix, (size, size), &Device::Cpu).unwrap()).unwrap(), labels)
    }

    /// Three images of a class, and to each of them a negative at each of `distances`.
    fn three_anchors(distances: [f32; 3]) -> (Comparisons, [u32; 6]) {
        let mut matrix = [1.0f32; 36];
        (0..3).for_each(|anchor| matrix[anchor * 6 + 3..][..3].copy_from_slice(&distances));
        let matrix = Tensor::from_slice(&matrix, (6, 6), &Device::Cpu).unwrap();
        (Comparisons::of(matrix).unwrap(), [0, 0, 0, 1, 2, 3])
    }

    fn first_drawn(distances: &[f64], dimension: usize, draws: u64) -> Vec<f64> {
        let (matrix, labels) = batch(distances);
        let candidates = Candidates { distances: &matrix, labels: &labels, dimension, reach: None };
        let mut counts = vec![0u64; distances.len()];
        for draw in 0..draws {
            let mut rng = Streams::new(1).at(draw).rng();
            let selection = DistanceWeighted::default().mine(&candidates, &mut rng).unwrap();
            let Selection::Triplets(triplets) = selection else { unreachable!("this miner makes triplets") };
            counts[triplets[0][2] as usize - 2] += 1;
        }
        counts.into_iter().map(|count| count as f64 / draws as f64).collect()
    }

    #[test]
    fn shares_follow_the_inverse_density() {
        let distances = [0.3, 0.5, 0.6, 0.9, 1.3, 1.5];
        for dimension in [3, 4, 8] {
            let n = dimension as f64;
            let weight = |d: f64| {
                let d = d.max(0.5);
                if d > 1.4 { 0.0 } else { 1.0 / (d.powf(n - 2.0) * (1.0 - d * d / 4.0).powf((n - 3.0) / 2.0)) }
            };
            let total: f64 = distances.iter().map(|&d| weight(d)).sum();
            let shares = first_drawn(&distances, dimension, 4000);
            for (&distance, share) in distances.iter().zip(shares) {
                let expected = weight(distance) / total;
                assert!((share - expected).abs() < 0.03, "n {dimension}, d {distance}: {share} for {expected}");
            }
        }
    }

    #[derive(Deserialize)]
    struct Fixture {
        labels: Vec<u32>,
        dim: usize,
        raw: Vec<f32>,
        weights: Vec<f64>,
    }

    #[test]
    fn weights_agree_with_pytorch_metric_learning() {
        let Fixture { labels, dim, raw, weights } =
            serde_json::from_str(include_str!("../../tests/fixtures/method_parts.json")).unwrap();
        let count = labels.len();
        let raw = Tensor::from_vec(raw, (count, dim), &Device::Cpu).unwrap();
        let matrix = Comparisons::distances(&dnc_kernels::l2_normalise(&raw).unwrap()).unwrap();
        let candidates = Candidates { distances: &matrix, labels: &labels, dimension: dim, reach: None };
        for (anchor, expected) in weights.chunks_exact(count).enumerate() {
            let negatives = candidates.negatives(anchor);
            let found = DistanceWeighted::default().ln_weights(&candidates, anchor, &negatives);
            let sum: f64 = found.iter().map(|weight| weight.exp()).sum();
            for (&negative, weight) in negatives.iter().zip(found) {
                let (share, expected) = (weight.exp() / sum, expected[negative]);
                assert!((share - expected).abs() < 1e-4, "{anchor}, {negative}: {share} for {expected}");
            }
        }
    }

    #[test]
    fn a_given_dimension_counts() {
        let (matrix, labels) = batch(&[0.9, 1.0]);
        let candidates = Candidates { distances: &matrix, labels: &labels, dimension: 3, reach: None };
        let spread = |dimension: Option<usize>| {
            let miner = DistanceWeighted { dimension, ..DistanceWeighted::default() };
            let weights = miner.ln_weights(&candidates, 0, &[2, 3]);
            weights[0] - weights[1]
        };
        assert_eq!(spread(None), spread(Some(3)));
        assert!(spread(Some(128)) > 10.0 * spread(None));
    }

    #[test]
    fn what_the_loss_does_not_push_is_not_drawn() {
        let (matrix, labels) = batch(&[0.9, 1.1]);
        let share = |beyond: Option<f64>, reach: Option<f64>| {
            let candidates = Candidates { distances: &matrix, labels: &labels, dimension: 3, reach };
            let weights =
                DistanceWeighted { beyond, ..DistanceWeighted::default() }.ln_weights(&candidates, 0, &[2, 3]);
            (weights[1] - weights[0]).exp()
        };
        let margin = |beta| Margin { beta, ..Margin::default() }.reach();
        assert!(share(None, None) > 0.1, "1.1 lies within 1.4");
        assert_eq!(share(None, None), share(None, margin(1.2)), "which is α + β as in the paper");
        assert!(share(None, margin(0.8)) < 1e-8);
        assert!(share(Some(1.2), margin(0.8)) > 0.1, "what is configured counts");
    }

    #[test]
    fn with_replacement_all_positives_meet_the_hardest() {
        let (matrix, labels) = three_anchors([0.6, 1.0, 1.0]);
        let candidates = Candidates { distances: &matrix, labels: &labels, dimension: 256, reach: None };
        let of_anchors = |replacement: bool| -> Vec<u32> {
            let miner = DistanceWeighted { replacement, ..DistanceWeighted::default() };
            let selection = miner.mine(&candidates, &mut Streams::new(0).rng()).unwrap();
            selection.triplets(&labels).iter().filter(|triplet| triplet[0] < 3).map(|triplet| triplet[2]).collect()
        };
        assert_eq!(of_anchors(true), [3; 6]);
        assert_eq!(of_anchors(false).iter().filter(|&&negative| negative == 3).count(), 3);
    }

    #[test]
    fn large_dimensions_stay_finite_and_far_negatives_still_serve() {
        assert_eq!(first_drawn(&[0.5, 1.39], 2048, 50), [1.0, 0.0]);
        let shares = first_drawn(&[1.5, 1.9, 2.0], 512, 3000);
        assert!(shares.iter().all(|share| (share - 1.0 / 3.0).abs() < 0.04), "{shares:?}");
    }

    #[test]
    fn light_negatives_are_drawn_before_far_ones() {
        let (matrix, labels) = three_anchors([0.6, 1.0, 1.5]);
        let candidates = Candidates { distances: &matrix, labels: &labels, dimension: 512, reach: None };
        for draw in 0..50 {
            let selection = DistanceWeighted::default().mine(&candidates, &mut Streams::new(2).at(draw).rng()).unwrap();
            let triplets = selection.triplets(&labels);
            let of_anchors: Vec<u32> = triplets.iter().filter(|[anchor, ..]| *anchor < 3).map(|t| t[2]).collect();
            assert_eq!(of_anchors, [3, 4, 3, 4, 3, 4]);
        }
    }

    #[test]
    fn an_anchor_gets_distinct_negatives_while_there_are_enough() {
        let labels = [0, 0, 0, 0, 1, 2, 3];
        let matrix = Comparisons::of(Tensor::ones((7, 7), candle_core::DType::F32, &Device::Cpu).unwrap()).unwrap();
        let candidates = Candidates { distances: &matrix, labels: &labels, dimension: 8, reach: None };
        let selection = DistanceWeighted::default().mine(&candidates, &mut Streams::new(0).rng()).unwrap();
        let triplets = selection.triplets(&labels);
        assert_eq!(triplets.len(), 4 * 3);
        for anchor in triplets.chunks(3) {
            let negatives: std::collections::BTreeSet<u32> = anchor.iter().map(|triplet| triplet[2]).collect();
            assert_eq!(negatives.into_iter().collect::<Vec<_>>(), [4, 5, 6]);
        }
    }
}
