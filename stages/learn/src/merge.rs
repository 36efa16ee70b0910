//! Merges learners that were trained separately, each from the same model on its own cluster, into one model.
//!
//! Formula, for learner k with n_k batches and mask m_k: a tensor of the backbone or the loss becomes
//! `Σ n_k t_k / Σ n_k`; row i of W and b becomes `Σ w_ki t_ki / Σ w_ki` with `w_ki = n_k · relu(m_k)_i`, or `w_ki = n_k` if row i is
//! zero in every mask; row k of the masks is that of learner k. With disjoint masks, every row of W thus comes from the learner
//! that owns it. Adam's moments are merged like the tensors that they belong to.
//! Shapes: W `[dim, F]`, b `[dim]`, masks `[learners, dim]`.
//! Source: McMahan et al. 2017, arXiv 1602.05629, algorithm 1 (federated averaging), for the backbone.
//! Deviation: tensors that the loss learns per class (β, proxies) are averaged over all learners too, although a class may occur in
//! one cluster only. Its β then changes by 1/K of its learner's change, where the interleaved schedule applies all of it: a model
//! does not record which learner has the images of a class. Proxies are trained by every learner, because each one pushes away the
//! proxies of other classes.
//!
//! The mean of K learners has moved less far than each of them. With an outer learning rate η, values that several learners share
//! become `t + η (mean − t)` instead, where t is the value that all started from; η = 1 gives the mean. Moments remain means.
//! Source: Reddi et al. 2021, arXiv 2003.00295, algorithm 1 with plain gradient descent as the server's optimiser.
//!
//! Learners are added one by one, so that only one is in memory beside the sums. Sums are `f64`, so that rows with a single owner,
//! and a single learner as a whole, are preserved byte for byte.

use std::collections::BTreeMap;

use candle_core::{DType, Device};

use crate::error::{LearnError, Result};
use crate::parameters::Group;
use crate::subspaces::MASKS;
use crate::weights::NamedTensor;

/// A trained learner.
#[derive(Clone, Copy, Debug)]
pub struct Trained<'a> {
    /// Number of batches that it was trained on, or any proportional number.
    pub batches: f64,
    /// Tensors of its model.
    pub tensors: &'a [NamedTensor],
    /// Moments of its optimiser.
    pub moments: &'a [NamedTensor],
}

/// A merge in progress.
#[derive(Debug)]
pub struct Merge {
    learners: usize,
    added: usize,
    tensors: BTreeMap<String, Sum>,
    moments: BTreeMap<String, Sum>,
}

impl Merge {
    /// Starts a merge of `learners` learners.
    pub fn of(learners: usize) -> Self {
        Self { learners, added: 0, tensors: BTreeMap::new(), moments: BTreeMap::new() }
    }

    /// Adds the next learner. The k-th one to be added owns row k of the masks.
    ///
    /// # Errors
    /// If there is not one mask per learner, or a tensor differs in shape or type from that of the other learners.
    pub fn add(&mut self, learner: Trained<'_>) -> Result<()> {
        let weight = LearnerWeight { learner: self.added, batches: learner.batches, mask: self.mask(learner.tensors)? };
        for (sums, tensors) in [(&mut self.tensors, learner.tensors), (&mut self.moments, learner.moments)] {
            for tensor in tensors {
                let sum = sums.entry(tensor.name.clone()).or_insert_with(|| Sum::empty(tensor));
                sum.add(tensor, &weight)?;
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

    /// As [`finish`](Self::finish), with an outer learning rate. `start` holds the tensors that all learners started from; a tensor
    /// that is not among them, or has another shape or type there, becomes the mean.
    ///
    /// # Errors
    /// If a tensor has an unsupported type.
    pub fn finish_with_outer_lr(
        mut self,
        start: &[NamedTensor],
        outer_lr: f64,
    ) -> Result<(Vec<NamedTensor>, Vec<NamedTensor>)> {
        for tensor in start {
            if let Some(sum) = self.tensors.get_mut(&tensor.name) {
                sum.step_from(tensor, outer_lr)?;
            }
        }
        Ok(self.finish())
    }

    /// The mask of the next learner; `None` if there is only one, which owns everything.
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

/// The weights of the learner that is being added.
struct LearnerWeight {
    learner: usize,
    batches: f64,
    mask: Option<Vec<f32>>,
}

impl LearnerWeight {
    /// Its weight in a row of a tensor of this group; 0 if the row belongs to other learners.
    fn in_row(&self, group: Group, row: usize) -> f64 {
        match (&self.mask, group) {
            (Some(mask), Group::Embedding) => self.batches * f64::from(mask.get(row).map_or(0.0, |m| m.max(0.0))),
            (Some(_), Group::Masks) if row != self.learner => 0.0,
            _ => self.batches,
        }
    }
}

/// The weighted sum of one tensor over the learners added so far.
#[derive(Debug)]
struct Sum {
    /// Name, type and shape of the tensor; no bytes.
    header: NamedTensor,
    group: Group,
    values: Vec<f64>,
    /// The total weight of each row. A tensor that is not divided among the learners counts as one row.
    rows: Vec<RowWeight>,
}

#[derive(Clone, Copy, Debug, Default)]
struct RowWeight {
    total: f64,
    /// Whether a learner that owns the row has been added. Until then, all learners count.
    is_owned: bool,
    /// Whether more than one learner counts.
    is_shared: bool,
}

impl Sum {
    fn empty(tensor: &NamedTensor) -> Self {
        // The name of a moment starts with that of its tensor.
        let is_mask = tensor.name.split('.').next() == Some(MASKS);
        let group = if is_mask { Group::Masks } else { Group::of(&tensor.name) };
        let rows = match group {
            Group::Embedding | Group::Masks => tensor.shape.first().copied().unwrap_or(1),
            Group::Backbone | Group::Loss => 1,
        };
        let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
        let header = NamedTensor { name, dtype: tensor.dtype, shape, bytes: Vec::new() };
        let values = vec![0.0; tensor.shape.iter().product()];
        Self { header, group, values, rows: vec![RowWeight::default(); rows] }
    }

    fn add(&mut self, tensor: &NamedTensor, learner: &LearnerWeight) -> Result<()> {
        let numbers = numbers(tensor)?;
        if tensor.shape != self.header.shape || tensor.dtype != self.header.dtype || numbers.len() != self.values.len()
        {
            let wanted = format!("{:?} of {:?} like that of another learner", self.header.shape, self.header.dtype);
            return Err(LearnError::Shape { name: tensor.name.clone(), wanted, found: tensor.shape.clone() });
        }
        let width = self.width();
        let rows = self.rows.iter_mut().zip(self.values.chunks_exact_mut(width)).zip(numbers.chunks_exact(width));
        for (index, ((row, sums), numbers)) in rows.enumerate() {
            let weight = match learner.in_row(self.group, index) {
                weight if weight > 0.0 && !row.is_owned => {
                    *row = RowWeight { is_owned: true, ..RowWeight::default() };
                    weight
                }
                weight if weight > 0.0 => weight,
                _ if !row.is_owned => learner.batches,
                _ => continue,
            };
            let is_first = row.total == 0.0;
            row.is_shared = !is_first;
            row.total += weight;
            for (sum, number) in sums.iter_mut().zip(numbers) {
                // `0.0 + …` would lose the sign of a negative zero.
                *sum = if is_first { weight * number } else { *sum + weight * number };
            }
        }
        Ok(())
    }

    /// Replaces the mean of each shared row by `start + outer_lr · (mean − start)`.
    fn step_from(&mut self, start: &NamedTensor, outer_lr: f64) -> Result<()> {
        if start.shape != self.header.shape || start.dtype != self.header.dtype {
            return Ok(());
        }
        let numbers = numbers(start)?;
        let width = self.width();
        let rows = self.rows.iter().zip(self.values.chunks_exact_mut(width)).zip(numbers.chunks_exact(width));
        for ((row, sums), numbers) in rows.filter(|((row, _), _)| row.is_shared) {
            for (sum, number) in sums.iter_mut().zip(numbers) {
                *sum = row.total * (number + outer_lr * (*sum / row.total - number));
            }
        }
        Ok(())
    }

    /// Number of values per row.
    fn width(&self) -> usize {
        self.values.len().checked_div(self.rows.len()).unwrap_or(0).max(1)
    }

    fn mean(self) -> NamedTensor {
        let width = self.width();
        let rows = self.rows.iter().zip(self.values.chunks_exact(width));
        let means = rows.flat_map(|(row, sums)| sums.iter().map(move |sum| sum / row.total));
        let bytes = match self.header.dtype {
            DType::I64 => means.flat_map(|mean| (mean.round() as i64).to_le_bytes()).collect(),
            _ => means.flat_map(|mean| (mean as f32).to_le_bytes()).collect(),
        };
        NamedTensor { bytes, ..self.header }
    }
}

/// The values of an `f32` tensor, or of an `i64` step count, which is small enough to be exact.
fn numbers(tensor: &NamedTensor) -> Result<Vec<f64>> {
    match tensor.dtype {
        DType::F32 => {
            Ok(tensor.bytes.as_chunks().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect())
        }
        DType::I64 => Ok(tensor.bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f64).collect()),
        other => {
            let wanted = format!("`f32` or `i64` values, not {other:?}");
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

    /// Two learners with these masks and an embedding of two coordinates. All tensors of a learner hold multiples of one number.
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
        assert_eq!(moments[0], tensors[1], "moments are merged like their tensors");
        let values = |tensor: &NamedTensor| numbers(tensor).unwrap().into_iter().map(|x| x as f32).collect();
        tensors.iter().map(|tensor| (tensor.name.clone(), values(tensor))).collect()
    }

    #[test]
    fn each_parameter_group_follows_its_formula() {
        // Disjoint masks: coordinate 0 belongs to learner 0, coordinate 1 to learner 1.
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
    fn shared_rows_are_weighted_by_masks_and_batches() {
        // Coordinate 0 has weights 3 · 1 · 1 and 1 · 5 · 0.6; coordinate 1 is not positive in either mask.
        let found = merged(&learners([1.0, 0.0, 0.6, -1.0]), [3.0, 1.0]);
        assert_eq!(found[1].1, [(3.0 * 1.0 + 3.0 * 5.0) / 6.0, -(3.0 * 1.0 + 1.0 * 5.0) / 4.0]);
    }

    #[test]
    fn an_outer_learning_rate_scales_the_change_of_shared_values() {
        let [mut start, _] = learners([1.0, 0.0, 0.0, 1.0]);
        start.retain(|tensor| tensor.name != "loss.beta");
        let mut merge = Merge::of(2);
        for tensors in &learners([1.0, 0.0, 0.0, 1.0]) {
            merge.add(Trained { batches: 1.0, tensors, moments: &tensors[..1] }).unwrap();
        }
        let (tensors, moments) = merge.finish_with_outer_lr(&start, 1.5).unwrap();
        let found: Vec<f32> = tensors.iter().map(|tensor| numbers(tensor).unwrap()[0] as f32).collect();
        // The backbone goes from 1 past the mean, 3. The loss tensor is new. The first coordinate and mask are those of learner 0.
        assert_eq!(found, [4.0, 1.0, 1.0, 3.0, 1.0]);
        assert_eq!(tensors[1], tensor("embedding.bias", &[2], &[1.0, -5.0]));
        assert_eq!(moments, [tensor("conv.weight", &[1], &[3.0])]);
    }

    #[test]
    fn a_single_learner_is_preserved_byte_for_byte() {
        let [mut tensors, _] = learners([-0.0, 0.3, 1.0, 0.0]);
        let bytes = 12_345_i64.to_le_bytes().to_vec();
        tensors.push(NamedTensor { name: "x.steps".into(), dtype: DType::I64, shape: vec![], bytes });
        let mut merge = Merge::of(1);
        merge.add(Trained { batches: 7.0, tensors: &tensors, moments: &[] }).unwrap();
        assert_eq!(merge.finish().0, tensors);
    }

    #[test]
    fn inconsistent_learners_are_rejected() {
        let [tensors, _] = learners([1.0; 4]);
        let trained = Trained { batches: 1.0, tensors: &tensors, moments: &[] };
        let error = Merge::of(3).add(trained).unwrap_err();
        insta::assert_snapshot!(error, @"`masks` has shape [2, 2], expected a row for each of 3 learners");
        let mut merge = Merge::of(2);
        merge.add(trained).unwrap();
        let mut other = tensors.clone();
        other[0] = tensor("conv.weight", &[2], &[1.0, 2.0]);
        let error = merge.add(Trained { tensors: &other, ..trained }).unwrap_err();
        insta::assert_snapshot!(error, @"`conv.weight` has shape [2], expected [1] of F32 like that of another learner");
    }
}
