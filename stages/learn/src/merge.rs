//! Merging learners that were trained apart, each from the same model on its own cluster, into one model.
//!
//! Formula, for learner k with n_k batches and mask m_k: a tensor of the backbone or the loss becomes
//! `Σ n_k t_k / Σ n_k`; row i of W and b becomes `Σ w_ki t_ki / Σ w_ki` with `w_ki = n_k · relu(m_k)_i`, or `w_ki = n_k` where no
//! mask lets the row through; row k of the masks is learner k's own. With slices and fixed masks every row of W thus comes
//! from the learner that owns it. Adam's moments are merged like the tensors that they belong to.
//! Shapes: W `[dim, F]`, b `[dim]`, masks `[learners, dim]`.
//! Source: McMahan et al. 2017, arXiv 1602.05629, algorithm 1 (federated averaging), for the backbone.
//! Deviation: what the loss learns a class, a row of β or a proxy, is averaged over all learners too, though a class may lie in one
//! cluster alone. Its β has then moved 1/K of the way that its learner went, where the interleaved schedule goes all of it: a model
//! does not tell whose images a class has. Proxies are trained by every learner, which all push the proxies of other classes.
//!
//! A mean of K learners has moved less far than each of them. With an outer learning rate η, what several learners share
//! becomes `t + η (mean − t)` instead, where t is what all began with; η = 1 is the mean. Moments stay means.
//! Source: Reddi et al. 2021, arXiv 2003.00295, algorithm 1 with plain gradient descent as the server's optimiser.
//!
//! Learners are added one after the other, so that only one is in memory beside the sums. Sums are `f64`: what a single
//! learner owns, and a learner alone, comes out as it went in, byte for byte.

use std::collections::BTreeMap;

use candle_core::{DType, Device};

use crate::error::{LearnError, Result};
use crate::parameters::Group;
use crate::subspaces::MASKS;
use crate::weights::NamedTensor;

/// What a learner has become.
#[derive(Clone, Copy, Debug)]
pub struct Trained<'a> {
    /// How many batches it has seen, or any number in proportion.
    pub batches: f64,
    /// Its model's tensors.
    pub tensors: &'a [NamedTensor],
    /// Its optimiser's moments.
    pub moments: &'a [NamedTensor],
}

/// Learners that are being merged.
#[derive(Debug)]
pub struct Merge {
    learners: usize,
    added: usize,
    tensors: BTreeMap<String, Sum>,
    moments: BTreeMap<String, Sum>,
}

impl Merge {
    /// A merge of so many learners, of which none was added yet.
    pub fn of(learners: usize) -> Self {
        Self { learners, added: 0, tensors: BTreeMap::new(), moments: BTreeMap::new() }
    }

    /// Adds the next learner: the k-th to be added owns row k of the masks.
    ///
    /// # Errors
    /// Its masks are not one a learner, or a tensor has another shape or type than the other learners'.
    pub fn add(&mut self, learner: Trained<'_>) -> Result<()> {
        let shares = Shares { learner: self.added, batches: learner.batches, mask: self.mask(learner.tensors)? };
        for (sums, tensors) in [(&mut self.tensors, learner.tensors), (&mut self.moments, learner.moments)] {
            for tensor in tensors {
                let sum = sums.entry(tensor.name.clone()).or_insert_with(|| Sum::empty(tensor));
                sum.add(tensor, &shares)?;
            }
        }
        self.added += 1;
        Ok(())
    }

    /// The merged model's tensors and moments, both ordered by name.
    pub fn finish(self) -> (Vec<NamedTensor>, Vec<NamedTensor>) {
        let means = |sums: BTreeMap<String, Sum>| sums.into_values().map(Sum::mean).collect();
        (means(self.tensors), means(self.moments))
    }

    /// As [`finish`](Self::finish), with an outer learning rate. What the model that all `began` with did not have, or had in
    /// another shape or type, becomes the mean.
    ///
    /// # Errors
    /// A tensor cannot be read as numbers.
    pub fn finish_stepping(
        mut self,
        began: &[NamedTensor],
        outer_lr: f64,
    ) -> Result<(Vec<NamedTensor>, Vec<NamedTensor>)> {
        for tensor in began {
            if let Some(sum) = self.tensors.get_mut(&tensor.name) {
                sum.step_from(tensor, outer_lr)?;
            }
        }
        Ok(self.finish())
    }

    /// The mask of the learner that is next, where there are several: a learner alone owns everything.
    fn mask(&self, tensors: &[NamedTensor]) -> Result<Option<Vec<f32>>> {
        if self.learners == 1 {
            return Ok(None);
        }
        let masks = tensors.iter().find(|tensor| tensor.name == MASKS);
        let masks = masks.ok_or_else(|| LearnError::NoTensor { name: MASKS.into() })?;
        if masks.shape.len() != 2 || masks.shape[0] != self.learners || self.added >= self.learners {
            let wanted = format!("a row for each of {} learners", self.learners);
            return Err(LearnError::Shape { name: MASKS.into(), wanted, found: masks.shape.clone() });
        }
        Ok(Some(masks.to_tensor(&Device::Cpu)?.get(self.added)?.to_vec1()?))
    }
}

/// How much the learner that is being added counts.
struct Shares {
    learner: usize,
    batches: f64,
    mask: Option<Vec<f32>>,
}

impl Shares {
    /// Its weight in a row of a tensor of this group; 0 where the row is not its own.
    fn weight(&self, group: Group, row: usize) -> f64 {
        match (&self.mask, group) {
            (Some(mask), Group::Embedding) => self.batches * f64::from(mask.get(row).map_or(0.0, |m| m.max(0.0))),
            (Some(_), Group::Masks) if row != self.learner => 0.0,
            _ => self.batches,
        }
    }
}

/// The weighted sum of one tensor over the learners that were added.
#[derive(Debug)]
struct Sum {
    /// The tensor without its bytes.
    like: NamedTensor,
    group: Group,
    values: Vec<f64>,
    /// The weights of each row; a tensor that is not divided between learners is one row.
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    weight: f64,
    /// Whether a learner has been added that owns it. Until then all count alike.
    is_owned: bool,
    /// Whether more than one learner counts.
    is_shared: bool,
}

impl Sum {
    fn empty(tensor: &NamedTensor) -> Self {
        // The name of a moment begins with that of its tensor.
        let is_mask = tensor.name.split('.').next() == Some(MASKS);
        let group = if is_mask { Group::Masks } else { Group::of(&tensor.name) };
        let rows = match group {
            Group::Embedding | Group::Masks => tensor.shape.first().copied().unwrap_or(1),
            Group::Backbone | Group::Loss => 1,
        };
        let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
        let like = NamedTensor { name, dtype: tensor.dtype, shape, bytes: Vec::new() };
        let values = vec![0.0; tensor.shape.iter().product()];
        Self { like, group, values, rows: vec![Row::default(); rows] }
    }

    fn add(&mut self, tensor: &NamedTensor, shares: &Shares) -> Result<()> {
        let numbers = numbers(tensor)?;
        if tensor.shape != self.like.shape || tensor.dtype != self.like.dtype || numbers.len() != self.values.len() {
            let wanted = format!("{:?} of {:?}, as another learner has it,", self.like.shape, self.like.dtype);
            return Err(LearnError::Shape { name: tensor.name.clone(), wanted, found: tensor.shape.clone() });
        }
        let width = self.width();
        let rows = self.rows.iter_mut().zip(self.values.chunks_exact_mut(width)).zip(numbers.chunks_exact(width));
        for (index, ((row, sums), numbers)) in rows.enumerate() {
            let weight = match shares.weight(self.group, index) {
                weight if weight > 0.0 && !row.is_owned => {
                    *row = Row { is_owned: true, ..Row::default() };
                    weight
                }
                weight if weight > 0.0 => weight,
                _ if !row.is_owned => shares.batches,
                _ => continue,
            };
            let is_first = row.weight == 0.0;
            row.is_shared = !is_first;
            row.weight += weight;
            for (sum, number) in sums.iter_mut().zip(numbers) {
                // Not `0.0 + …`, which would lose the sign of a negative zero.
                *sum = if is_first { weight * number } else { *sum + weight * number };
            }
        }
        Ok(())
    }

    /// Makes the mean of each shared row what `began` has there, and `outer_lr` times the way from there to the mean.
    fn step_from(&mut self, began: &NamedTensor, outer_lr: f64) -> Result<()> {
        if began.shape != self.like.shape || began.dtype != self.like.dtype {
            return Ok(());
        }
        let numbers = numbers(began)?;
        let width = self.width();
        let rows = self.rows.iter().zip(self.values.chunks_exact_mut(width)).zip(numbers.chunks_exact(width));
        for ((row, sums), numbers) in rows.filter(|((row, _), _)| row.is_shared) {
            for (sum, number) in sums.iter_mut().zip(numbers) {
                *sum = row.weight * (number + outer_lr * (*sum / row.weight - number));
            }
        }
        Ok(())
    }

    /// How many numbers a row has.
    fn width(&self) -> usize {
        self.values.len().checked_div(self.rows.len()).unwrap_or(0).max(1)
    }

    fn mean(self) -> NamedTensor {
        let width = self.width();
        let rows = self.rows.iter().zip(self.values.chunks_exact(width));
        let means = rows.flat_map(|(row, sums)| sums.iter().map(move |sum| sum / row.weight));
        let bytes = match self.like.dtype {
            DType::I64 => means.flat_map(|mean| (mean.round() as i64).to_le_bytes()).collect(),
            _ => means.flat_map(|mean| (mean as f32).to_le_bytes()).collect(),
        };
        NamedTensor { bytes, ..self.like }
    }
}

/// The numbers of a tensor of `f32`, or of a count of steps, which is `i64` and too small to be rounded.
fn numbers(tensor: &NamedTensor) -> Result<Vec<f64>> {
    match tensor.dtype {
        DType::F32 => {
            Ok(tensor.bytes.as_chunks().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect())
        }
        DType::I64 => Ok(tensor.bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f64).collect()),
        other => {
            let wanted = format!("`f32` or `i64` values instead of {other:?}");
            Err(LearnError::Shape { name: tensor.name.clone(), wanted, found: tensor.shape.clone() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], values: &[f32]) -> NamedTensor {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        NamedTensor { name: name.into(), dtype: DType::F32, shape: shape.to_vec(), bytes }
    }

    /// Two learners of an embedding of two coordinates, with these masks, whose tensors all hold one number.
    fn learners(masks: [f32; 4]) -> [Vec<NamedTensor>; 2] {
        [1.0, 5.0].map(|x| {
            vec![
                tensor("conv.weight", &[1], &[x]),
                tensor("embedding.bias", &[2], &[x, -x]),
                tensor("embedding.weight", &[2, 3], &[x, x, x, 10.0 * x, 10.0 * x, 10.0 * x]),
                tensor("loss.beta", &[1], &[x]),
                tensor(MASKS, &[2, 2], &masks.map(|mask| mask * x)),
            ]
        })
    }

    fn merged(learners: &[Vec<NamedTensor>; 2], batches: [f64; 2]) -> Vec<(String, Vec<f32>)> {
        let mut merge = Merge::of(2);
        for (tensors, batches) in learners.iter().zip(batches) {
            merge.add(Trained { batches, tensors, moments: &tensors[1..2] }).unwrap();
        }
        let (tensors, moments) = merge.finish();
        assert_eq!(moments[0], tensors[1], "moments are merged as their tensors are");
        let values = |tensor: &NamedTensor| numbers(tensor).unwrap().into_iter().map(|x| x as f32).collect();
        tensors.iter().map(|tensor| (tensor.name.clone(), values(tensor))).collect()
    }

    #[test]
    fn each_group_follows_its_rule() {
        // Fixed masks: coordinate 0 is learner 0's, coordinate 1 learner 1's.
        let found = merged(&learners([1.0, 0.0, 0.0, 1.0]), [3.0, 1.0]);
        let expected: [(&str, &[f32]); 5] = [
            ("conv.weight", &[2.0]),
            ("embedding.bias", &[1.0, -5.0]),
            ("embedding.weight", &[1.0, 1.0, 1.0, 50.0, 50.0, 50.0]),
            ("loss.beta", &[2.0]),
            (MASKS, &[1.0, 0.0, 0.0, 5.0]),
        ];
        assert_eq!(found, expected.map(|(name, values)| (name.to_owned(), values.to_vec())));
    }

    #[test]
    fn rows_that_learners_share_are_weighted_by_masks_and_batches() {
        // Coordinate 0 has weights 3 · 1 · 1 and 1 · 5 · 0.6; coordinate 1 is closed for both.
        let found = merged(&learners([1.0, 0.0, 0.6, -1.0]), [3.0, 1.0]);
        assert_eq!(found[1].1, [(3.0 * 1.0 + 3.0 * 5.0) / 6.0, -(3.0 * 1.0 + 1.0 * 5.0) / 4.0]);
    }

    #[test]
    fn an_outer_learning_rate_scales_the_way_of_what_is_shared() {
        let [mut began, _] = learners([1.0, 0.0, 0.0, 1.0]);
        began.retain(|tensor| tensor.name != "loss.beta");
        let mut merge = Merge::of(2);
        for tensors in &learners([1.0, 0.0, 0.0, 1.0]) {
            merge.add(Trained { batches: 1.0, tensors, moments: &tensors[..1] }).unwrap();
        }
        let (tensors, moments) = merge.finish_stepping(&began, 1.5).unwrap();
        let found: Vec<f32> = tensors.iter().map(|tensor| numbers(tensor).unwrap()[0] as f32).collect();
        // The backbone goes from 1 past the mean, 3; the loss is new; the first coordinate and mask are learner 0's.
        assert_eq!(found, [4.0, 1.0, 1.0, 3.0, 1.0]);
        assert_eq!(tensors[1], tensor("embedding.bias", &[2], &[1.0, -5.0]));
        assert_eq!(moments, [tensor("conv.weight", &[1], &[3.0])]);
    }

    #[test]
    fn one_learner_is_kept_byte_for_byte() {
        let [mut tensors, _] = learners([-0.0, 0.3, 1.0, 0.0]);
        let bytes = 12_345_i64.to_le_bytes().to_vec();
        tensors.push(NamedTensor { name: "x.steps".into(), dtype: DType::I64, shape: vec![], bytes });
        let mut merge = Merge::of(1);
        merge.add(Trained { batches: 7.0, tensors: &tensors, moments: &[] }).unwrap();
        assert_eq!(merge.finish().0, tensors);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let [tensors, _] = learners([1.0; 4]);
        let trained = Trained { batches: 1.0, tensors: &tensors, moments: &[] };
        let error = Merge::of(3).add(trained).unwrap_err();
        insta::assert_snapshot!(error, @"`masks` has shape [2, 2], but a row for each of 3 learners is wanted");
        let mut merge = Merge::of(2);
        merge.add(trained).unwrap();
        let mut other = tensors.clone();
        other[0] = tensor("conv.weight", &[2], &[1.0, 2.0]);
        let error = merge.add(Trained { tensors: &other, ..trained }).unwrap_err();
        insta::assert_snapshot!(error, @"`conv.weight` has shape [2], but [1] of F32, as another learner has it, is wanted");
    }
}
