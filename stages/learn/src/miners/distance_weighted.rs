//! Distance-weighted sampling: negatives are drawn with weights that make all distances equally likely.
//!
//! Formula: the distance d between two points drawn uniformly from the unit sphere in n dimensions has the density
//! `q(d) ∝ d^{n−2} (1 − d²/4)^{(n−3)/2}`. The weight of a negative is `1 / q(max(d, cutoff))`, with the logarithm
//! `(2 − n) ln d − (n − 3)/2 · ln(1 − d²/4)`, and almost zero if d ≥ `beyond`. Each anchor gets as many negatives as it has
//! positives: without replacement as long as there are enough, or with `replacement` independently of each other.
//! Source: Wu et al. 2017, arXiv 1706.07567, section 4.1.
//! Deviation: n is the dimension of the learner's subspace, as q requires, unless `dimension` is set. The paper bounds the
//! weights by a constant; here, as in its authors' code, the cutoff on d does so.
//!
//! Weighted sampling without replacement takes the negatives with the largest `ln weight + Gumbel noise` (Efraimidis and
//! Spirakis 2006, in logarithms). For n = 512 the weights span hundreds of powers of ten, so only their logarithms are used.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::miner::{Candidates, Miner};
use super::selection::Selection;
use crate::checks::{check_range, check_scale};
use crate::error::Result;

/// Log weight of a negative beyond the maximum distance, relative to the smallest weight within it. Not minus infinity, so that
/// an anchor whose negatives are all far still gets some.
const LN_FAR_WEIGHT: f64 = -20.723_265_836_946_41; // ln 1e-9

/// Default of `beyond` for a loss without a maximum distance of its own: the paper's α + β.
const PAPERS_MAX_DISTANCE: f64 = 1.4;

/// Lower bound on `1 − d²/4`, which is zero for opposite points and would make their weight infinite.
const SPAN_FLOOR: f64 = 1e-8;

/// Distance-weighted sampling: negatives drawn such that all distances are equally likely.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DistanceWeighted {
    /// Lower bound on the distance of a negative when its weight is computed; negatives that are very close are noisy or
    /// mislabelled.
    pub cutoff: f64,
    /// Distance beyond which a negative gets almost no weight, because it adds nothing to the loss. Default: β + margin of the
    /// margin loss, 1.4 for other losses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beyond: Option<f64>,
    /// Whether the negatives of an anchor are drawn with replacement, as in the code of the paper's authors. In a hundred or more
    /// dimensions the weights are so steep that most positives of an anchor are then paired with its single hardest negative.
    pub replacement: bool,
    /// Dimension n in the formula of the weights. Default: the dimension of the learner's subspace. A larger value draws harder
    /// negatives; the published code of DC21 uses the dimension of the whole embedding with masks.
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
        // Without a cutoff, two equal images would have an infinite weight.
        check_scale("cutoff", self.cutoff)?;
        check_range("cutoff", self.cutoff, 0.0..=2.0)?;
        check_range("beyond", self.beyond.unwrap_or(PAPERS_MAX_DISTANCE), 0.0..=2.0)?;
        check_scale("dimension", self.dimension.map_or(1.0, |dimension| dimension as f64))
    }
}

impl DistanceWeighted {
    /// The logarithm of each negative's weight, up to a constant per anchor.
    fn ln_weights(&self, batch: &Candidates<'_>, anchor: usize, negatives: &[usize]) -> Vec<f64> {
        let n = self.dimension.unwrap_or(batch.dimension) as f64;
        let ln_inverse_density = |distance: f64| {
            let distance = distance.max(self.cutoff);
            let span = (1.0 - distance * distance / 4.0).max(SPAN_FLOOR);
            (2.0 - n) * distance.ln() - (n - 3.0) / 2.0 * span.ln()
        };
        let beyond = self.beyond.or(batch.max_negative_distance).unwrap_or(PAPERS_MAX_DISTANCE);
        let near: Vec<Option<f64>> = negatives
            .iter()
            .map(|&negative| batch.distances.at(anchor, negative))
            .map(|distance| (distance < beyond).then(|| ln_inverse_density(distance)))
            .collect();
        let heaviest = near.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let near: Vec<Option<f64>> = near.into_iter().map(|weight| Some(weight? - heaviest)).collect();
        // If several are drawn, all near negatives come before any far one, however small their weights are.
        let far = near.iter().flatten().copied().fold(0.0, f64::min) + LN_FAR_WEIGHT;
        near.into_iter().map(|weight| weight.unwrap_or(far)).collect()
    }
}

/// A number from the standard Gumbel distribution. `1 − u` lies in (0, 1]; the clamp keeps both logarithms finite.
fn gumbel(rng: &mut ChaCha8Rng) -> f64 {
    let uniform = (1.0 - rng.random::<f64>()).clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON / 2.0);
    -(-uniform.ln()).ln()
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::losses::{Loss, Margin};
    use crate::pairwise::PairwiseMatrix;
    use crate::streams::Streams;

    /// One anchor and its positive, then a negative at each of `distances`.
    fn batch(distances: &[f64]) -> (PairwiseMatrix, Vec<u32>) {
        let size = distances.len() + 2;
        let mut matrix = vec![1.0f32; size * size];
        for (column, &distance) in distances.iter().enumerate() {
            matrix[column + 2] = distance as f32;
        }
        let labels = (0..size as u32).map(|image| image.saturating_sub(1)).collect();
        (PairwiseMatrix::of(Tensor::from_vec(matrix, (size, size), &Device::Cpu).unwrap()).unwrap(), labels)
    }

    /// Three images of a class, each with a negative at each of `distances`.
    fn three_anchors(distances: [f32; 3]) -> (PairwiseMatrix, [u32; 6]) {
        let mut matrix = [1.0f32; 36];
        (0..3).for_each(|anchor| matrix[anchor * 6 + 3..][..3].copy_from_slice(&distances));
        let matrix = Tensor::from_slice(&matrix, (6, 6), &Device::Cpu).unwrap();
        (PairwiseMatrix::of(matrix).unwrap(), [0, 0, 0, 1, 2, 3])
    }

    fn first_drawn(distances: &[f64], dimension: usize, draws: u64) -> Vec<f64> {
        let (matrix, labels) = batch(distances);
        let candidates = Candidates { distances: &matrix, labels: &labels, dimension, max_negative_distance: None };
        let mut counts = vec![0u64; distances.len()];
        for draw in 0..draws {
            let mut rng = Streams::new(1).at(draw).rng();
            let selection = DistanceWeighted::default().mine(&candidates, &mut rng).unwrap();
            let Selection::Triplets(triplets) = selection else { unreachable!("this miner selects triplets") };
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
        let matrix = PairwiseMatrix::distances(&dnc_kernels::l2_normalise(&raw).unwrap()).unwrap();
        let candidates =
            Candidates { distances: &matrix, labels: &labels, dimension: dim, max_negative_distance: None };
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
    fn a_configured_dimension_is_used() {
        let (matrix, labels) = batch(&[0.9, 1.0]);
        let candidates = Candidates { distances: &matrix, labels: &labels, dimension: 3, max_negative_distance: None };
        let spread = |dimension: Option<usize>| {
            let miner = DistanceWeighted { dimension, ..DistanceWeighted::default() };
            let weights = miner.ln_weights(&candidates, 0, &[2, 3]);
            weights[0] - weights[1]
        };
        assert_eq!(spread(None), spread(Some(3)));
        assert!(spread(Some(128)) > 10.0 * spread(None));
    }

    #[test]
    fn negatives_that_add_no_loss_are_not_drawn() {
        let (matrix, labels) = batch(&[0.9, 1.1]);
        let share = |beyond: Option<f64>, max_negative_distance: Option<f64>| {
            let candidates = Candidates { distances: &matrix, labels: &labels, dimension: 3, max_negative_distance };
            let weights =
                DistanceWeighted { beyond, ..DistanceWeighted::default() }.ln_weights(&candidates, 0, &[2, 3]);
            (weights[1] - weights[0]).exp()
        };
        let margin = |beta| Margin { beta, ..Margin::default() }.max_negative_distance();
        assert!(share(None, None) > 0.1, "1.1 lies within 1.4");
        assert_eq!(share(None, None), share(None, margin(1.2)), "1.4 is α + β of the paper");
        assert!(share(None, margin(0.8)) < 1e-8);
        assert!(share(Some(1.2), margin(0.8)) > 0.1, "the configured value has priority");
    }

    #[test]
    fn with_replacement_all_positives_get_the_hardest_negative() {
        let (matrix, labels) = three_anchors([0.6, 1.0, 1.0]);
        let candidates =
            Candidates { distances: &matrix, labels: &labels, dimension: 256, max_negative_distance: None };
        let of_anchors = |replacement: bool| -> Vec<u32> {
            let miner = DistanceWeighted { replacement, ..DistanceWeighted::default() };
            let selection = miner.mine(&candidates, &mut Streams::new(0).rng()).unwrap();
            selection.triplets(&labels).iter().filter(|triplet| triplet[0] < 3).map(|triplet| triplet[2]).collect()
        };
        assert_eq!(of_anchors(true), [3; 6]);
        assert_eq!(of_anchors(false).iter().filter(|&&negative| negative == 3).count(), 3);
    }

    #[test]
    fn weights_stay_finite_in_many_dimensions_and_far_negatives_are_still_drawn() {
        assert_eq!(first_drawn(&[0.5, 1.39], 2048, 50), [1.0, 0.0]);
        let shares = first_drawn(&[1.5, 1.9, 2.0], 512, 3000);
        assert!(shares.iter().all(|share| (share - 1.0 / 3.0).abs() < 0.04), "{shares:?}");
    }

    #[test]
    fn near_negatives_of_small_weight_are_drawn_before_far_ones() {
        let (matrix, labels) = three_anchors([0.6, 1.0, 1.5]);
        let candidates =
            Candidates { distances: &matrix, labels: &labels, dimension: 512, max_negative_distance: None };
        for draw in 0..50 {
            let selection = DistanceWeighted::default().mine(&candidates, &mut Streams::new(2).at(draw).rng()).unwrap();
            let triplets = selection.triplets(&labels);
            let of_anchors: Vec<u32> = triplets.iter().filter(|[anchor, ..]| *anchor < 3).map(|t| t[2]).collect();
            assert_eq!(of_anchors, [3, 4, 3, 4, 3, 4]);
        }
    }

    #[test]
    fn an_anchor_gets_distinct_negatives_if_there_are_enough() {
        let labels = [0, 0, 0, 0, 1, 2, 3];
        let matrix = PairwiseMatrix::of(Tensor::ones((7, 7), candle_core::DType::F32, &Device::Cpu).unwrap()).unwrap();
        let candidates = Candidates { distances: &matrix, labels: &labels, dimension: 8, max_negative_distance: None };
        let selection = DistanceWeighted::default().mine(&candidates, &mut Streams::new(0).rng()).unwrap();
        let triplets = selection.triplets(&labels);
        assert_eq!(triplets.len(), 4 * 3);
        for anchor in triplets.chunks(3) {
            let negatives: std::collections::BTreeSet<u32> = anchor.iter().map(|triplet| triplet[2]).collect();
            assert_eq!(negatives.into_iter().collect::<Vec<_>>(), [4, 5, 6]);
        }
    }
}
