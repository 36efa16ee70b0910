//! Merging learners that were trained apart, each from the same model on its own cluster, into one model.
//!
//! Formula, for learner k with n_k batches and mask m_k: a tensor of the backbone or the loss becomes
//! `Σ n_k t_k / Σ n_k`; row i of W and b becomes `Σ w_ki t_ki / Σ w_ki` with `w_ki = n_k · relu(m_k)_i`, or `w_ki = n_k` where no
//! mask lets the row through; row k of the masks is learner k's own. With slices and fixed masks every row of W thus comes
//! from the learner that owns it. Adam's moments are merged like the tensors that they belong to.
//! Shapes: W `[dim, F]`, b `[dim]`, masks `[learners, dim]`.
//! Source: McMahan et al. 2017, arXiv 1602.05629, algorithm 1 (federated averaging), for the backbone.
//!
//! One learner alone is returned as it is, byte for byte.

use std::collections::BTreeMap;

use candle_core::DType;

use crate::error::{LearnError, Result};
use crate::optimise::average;
use crate::parameters::Group;
use crate::subspaces::MASKS;
use crate::weights::NamedTensor;

/// What a learner has become.
#[derive(Clone, Copy, Debug)]
pub struct Trained<'a> {
    /// How many batches it has seen.
    pub batches: u64,
    /// Its model's tensors.
    pub tensors: &'a [NamedTensor],
    /// Its optimiser's moments.
    pub moments: &'a [NamedTensor],
}

/// A model and its optimiser's moments.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// The model's tensors, ordered by name.
    pub tensors: Vec<NamedTensor>,
    /// The moments, ordered by name.
    pub moments: Vec<NamedTensor>,
}

/// Merges learners, given in their order: learner k owns row k of the masks.
///
/// # Errors
/// The masks are not one a learner, tensors of different learners differ in shape, or nobody has
/// seen a batch.
pub fn merge(learners: &[Trained<'_>]) -> Result<Merged> {
    if let [alone] = learners {
        return Ok(Merged { tensors: alone.tensors.to_vec(), moments: alone.moments.to_vec() });
    }
    let weights = Weights::of(learners)?;
    let tensors: Vec<_> = learners.iter().map(|learner| (learner.batches as f64, learner.tensors)).collect();
    let moments: Vec<_> = learners.iter().map(|learner| (learner.batches as f64, learner.moments)).collect();
    Ok(Merged { tensors: weights.merge(&tensors)?, moments: weights.merge(&moments)? })
}

/// How much each learner counts in each row of the tensors that are divided between learners.
struct Weights {
    /// For each coordinate of the embedding, a weight a learner.
    embedding: Vec<Vec<f64>>,
    /// For each mask, a weight a learner.
    masks: Vec<Vec<f64>>,
}

impl Weights {
    fn of(learners: &[Trained<'_>]) -> Result<Self> {
        let mut rows = Vec::with_capacity(learners.len());
        for (index, learner) in learners.iter().enumerate() {
            let masks = learner.tensors.iter().find(|tensor| tensor.name == MASKS);
            let masks = masks.ok_or_else(|| LearnError::NoTensor { name: MASKS.into() })?;
            let [count, dimension] = masks.shape[..] else { return Err(misfit(masks, learners.len())) };
            if count != learners.len() {
                return Err(misfit(masks, learners.len()));
            }
            let values = values(masks)?;
            let open = values[index * dimension..][..dimension].iter().map(|&weight| f64::from(weight.max(0.0)));
            rows.push(open.collect::<Vec<f64>>());
        }
        let dimension = rows.iter().map(Vec::len).min().unwrap_or(0);
        let batches: Vec<f64> = learners.iter().map(|learner| learner.batches as f64).collect();
        let embedding = (0..dimension)
            .map(|i| {
                let weights: Vec<f64> = batches.iter().zip(&rows).map(|(batches, mask)| batches * mask[i]).collect();
                if weights.iter().sum::<f64>() > 0.0 { weights } else { batches.clone() }
            })
            .collect();
        let own = |k: usize| (0..learners.len()).map(|j| if j == k { 1.0 } else { 0.0 }).collect();
        Ok(Self { embedding, masks: (0..learners.len()).map(own).collect() })
    }

    /// Each tensor by its group's rule; the name of a moment begins with the name of its tensor.
    fn merge(&self, learners: &[(f64, &[NamedTensor])]) -> Result<Vec<NamedTensor>> {
        let mut merged = average(learners)?;
        let by_name: Vec<BTreeMap<&str, &NamedTensor>> = learners
            .iter()
            .map(|(_, tensors)| tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect())
            .collect();
        for tensor in &mut merged {
            let stem = tensor.name.split('.').next().unwrap_or_default();
            let group = if stem == MASKS { Group::Masks } else { Group::of(&tensor.name) };
            let weights = match group {
                Group::Embedding => &self.embedding,
                Group::Masks => &self.masks,
                Group::Backbone | Group::Loss => continue,
            };
            if tensor.dtype != DType::F32 {
                continue;
            }
            let apart: Option<Vec<&NamedTensor>> =
                by_name.iter().map(|tensors| tensors.get(tensor.name.as_str()).copied()).collect();
            // Moments that some learner lacks, since it was never stepped, stay the mean of the others'.
            if let Some(apart) = apart {
                tensor.bytes = row_by_row(&apart, weights)?;
            }
        }
        Ok(merged)
    }
}

/// The weighted mean of each row over the learners' tensors, which have as many rows as `weights`.
fn row_by_row(tensors: &[&NamedTensor], weights: &[Vec<f64>]) -> Result<Vec<u8>> {
    let columns: Vec<Vec<f32>> = tensors.iter().map(|tensor| values(tensor)).collect::<Result<_>>()?;
    if tensors[0].shape.first() != Some(&weights.len()) {
        return Err(misfit(tensors[0], weights.len()));
    }
    let width = columns[0].len() / weights.len().max(1);
    let mut bytes = Vec::with_capacity(4 * columns[0].len());
    for (row, weights) in weights.iter().enumerate() {
        let owners: Vec<(&[f32], f64)> = columns
            .iter()
            .zip(weights)
            .filter(|&(_, &weight)| weight > 0.0)
            .map(|(values, &weight)| (&values[row * width..][..width], weight))
            .collect();
        if let [(own, _)] = owners[..] {
            // What only one learner owns is its own bit for bit.
            bytes.extend(own.iter().flat_map(|value| value.to_le_bytes()));
            continue;
        }
        let total: f64 = owners.iter().map(|(_, weight)| weight).sum();
        for index in 0..width {
            let sum: f64 = owners.iter().map(|(values, weight)| weight * f64::from(values[index])).sum();
            bytes.extend(((sum / total) as f32).to_le_bytes());
        }
    }
    Ok(bytes)
}

fn values(tensor: &NamedTensor) -> Result<Vec<f32>> {
    Ok(tensor.to_tensor(&candle_core::Device::Cpu)?.flatten_all()?.to_vec1()?)
}

fn misfit(tensor: &NamedTensor, rows: usize) -> LearnError {
    LearnError::Shape { name: tensor.name.clone(), wanted: format!("{rows} rows"), found: tensor.shape.clone() }
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

    fn merged(learners: &[Vec<NamedTensor>; 2], batches: [u64; 2]) -> Vec<(String, Vec<f32>)> {
        let trained =
            [0, 1].map(|k| Trained { batches: batches[k], tensors: &learners[k], moments: &learners[k][1..2] });
        let merged = merge(&trained).unwrap();
        assert_eq!(merged.moments[0], merged.tensors[1], "moments are merged as their tensors are");
        merged.tensors.iter().map(|tensor| (tensor.name.clone(), values(tensor).unwrap())).collect()
    }

    #[test]
    fn each_group_follows_its_rule() {
        // Fixed masks: coordinate 0 is learner 0's, coordinate 1 learner 1's.
        let found = merged(&learners([1.0, 0.0, 0.0, 1.0]), [3, 1]);
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
        let found = merged(&learners([1.0, 0.0, 0.6, -1.0]), [3, 1]);
        assert_eq!(found[1].1, [(3.0 * 1.0 + 3.0 * 5.0) / 6.0, -(3.0 * 1.0 + 1.0 * 5.0) / 4.0]);
    }

    #[test]
    fn one_learner_is_kept_byte_for_byte() {
        let [tensors, _] = learners([-0.0, 0.3, 1.0, 0.0]);
        let alone = merge(&[Trained { batches: 7, tensors: &tensors, moments: &[] }]).unwrap();
        assert_eq!(alone.tensors, tensors);
    }

    #[test]
    fn masks_that_are_not_one_a_learner_are_refused() {
        let [tensors, _] = learners([1.0; 4]);
        let trained = Trained { batches: 1, tensors: &tensors, moments: &[] };
        let error = merge(&[trained; 3]).unwrap_err();
        insta::assert_snapshot!(error, @"`masks` has shape [2, 2], but 3 rows is wanted");
        assert!(merge(&[]).unwrap().tensors.is_empty());
    }
}
