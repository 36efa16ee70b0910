//! Cross-batch memory (XBM): a pair loss between the images of the batch and those of the batch and of earlier batches.
//!
//! Formula: `L(anchors = batch, references = batch ∪ memory)` for a pair loss L. The memory holds the embeddings of the last M
//! images of earlier steps of the same learner, in the order in which they were seen, and is replaced first in, first out. Gradients
//! reach the embeddings of the batch, not those of the memory. An image of the batch is not compared with its own embedding in the
//! memory. In the first `warm_up` steps of the model, while embeddings still change quickly, the memory stays empty and L is the loss of
//! the batch alone. A new round starts with an empty memory, because the learners' clusters change.
//! Shapes: batch `[batch, dim]`; memory: `embeddings` `[m, dim]`, `labels` `[m]` and `images` `[m]`, with m ≤ M.
//! Source: Wang et al., "Cross-Batch Memory for Embedding Learning", CVPR 2020, arXiv 1912.06798, section 3.3 and algorithm 1.
//! Deviation: the paper computes the loss of the batch and the loss between batch and memory separately and adds them; here the two
//! sets of references are joined, so that a miner selects from both. The paper puts the batch into the memory before it computes
//! the loss, so that the batch occurs in both.

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::contrastive::Contrastive;
use super::loss::{Batch, EmbeddedBatch, Learned, Loss, LossOutput, LossState, References};
use super::margin::Margin;
use super::triplet::Triplet;
use crate::error::{LearnError, Result};
use crate::miners::{MinerConfig, Selection};
use crate::pairwise::PairwiseMatrix;

/// Maximum of `size`: the memory of each learner is a part of the model.
const MAX_SIZE: usize = 1 << 20;

/// Labels and image numbers are stored as `f32`, which represents whole numbers exactly below this one.
const EXACT_IN_F32: u32 = 1 << 24;

/// Cross-batch memory: a pair loss between the batch and the embeddings of earlier batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Xbm {
    /// Pair loss that is computed between the batch and the memory.
    pub loss: PairLoss,
    /// M: number of embeddings in the memory of each learner, at most 1,048,576; 0 turns the memory off.
    pub size: usize,
    /// Number of optimiser steps of the model, over all rounds, before the memory is filled.
    pub warm_up: u64,
}

/// Loss over pairs or triplets that can use a cross-batch memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PairLoss {
    /// Contrastive loss: positives closer than one distance, negatives farther than another.
    Contrastive(Contrastive),
    /// Margin loss: positives closer and negatives farther than a boundary β, which may be learned, each by a margin.
    Margin(Margin),
    /// Triplet loss: each positive closer to its anchor than the negative, by a margin.
    Triplet(Triplet),
}

impl Default for PairLoss {
    fn default() -> Self {
        PairLoss::Contrastive(Contrastive::default())
    }
}

impl Default for Xbm {
    fn default() -> Self {
        Self { loss: PairLoss::default(), size: 1024, warm_up: 1000 }
    }
}

impl PairLoss {
    fn as_loss(&self) -> &dyn Loss {
        match self {
            PairLoss::Contrastive(loss) => loss,
            PairLoss::Margin(loss) => loss,
            PairLoss::Triplet(loss) => loss,
        }
    }
}

impl Loss for Xbm {
    fn learned(&self, classes: usize, dimension: usize) -> Option<Learned> {
        self.loss.as_loss().learned(classes, dimension)
    }

    fn default_miner(&self) -> MinerConfig {
        self.loss.as_loss().default_miner()
    }

    fn max_negative_distance(&self) -> Option<f64> {
        self.loss.as_loss().max_negative_distance()
    }

    fn references(&self, batch: &EmbeddedBatch<'_>) -> Result<References> {
        let memory = Memory::read(batch.state)?.map(|memory| memory.without(batch.images)).transpose()?.flatten();
        let Some(memory) = memory else { return self.loss.as_loss().references(batch) };
        Ok(References {
            distances: PairwiseMatrix::distances_and_to(batch.embeddings, &memory.embeddings)?,
            labels: [batch.labels, &memory.labels].concat(),
        })
    }

    fn next_state(&self, batch: &EmbeddedBatch<'_>) -> Result<Option<LossState>> {
        if self.size == 0 || batch.step < self.warm_up {
            return Ok(None);
        }
        let seen = Memory {
            embeddings: batch.embeddings.detach(),
            labels: batch.labels.to_vec(),
            images: batch.images.to_vec(),
        };
        let memory = match Memory::read(batch.state)? {
            Some(memory) => memory.followed_by(&seen)?,
            None => seen,
        };
        memory.last(self.size)?.write(batch.embeddings.device()).map(Some)
    }

    fn forward(&self, batch: &Batch<'_>, selection: &Selection) -> Result<LossOutput> {
        self.loss.as_loss().forward(batch, selection)
    }

    fn check(&self) -> Result<()> {
        if self.size > MAX_SIZE {
            let reason = format!("it must be at most {MAX_SIZE}");
            return Err(LearnError::Config { parameter: "size", value: self.size.to_string(), reason });
        }
        self.loss.as_loss().check().map_err(|error| LearnError::Within { table: "loss", error: error.into() })
    }
}

/// Embeddings of earlier batches, from the oldest to the newest.
struct Memory {
    /// `[m, dim]`.
    embeddings: Tensor,
    labels: Vec<u32>,
    images: Vec<u32>,
}

impl Memory {
    /// The memory in `state`; `None` if it is empty.
    fn read(state: &LossState) -> Result<Option<Self>> {
        let Some(embeddings) = state.get("embeddings") else { return Ok(None) };
        let (count, _) = embeddings.dims2()?;
        let numbers = |name: &str| -> Result<Vec<u32>> {
            let tensor = state.get(name).ok_or_else(|| LearnError::NoTensor { name: name.into() })?;
            let numbers: Vec<u32> = tensor.to_vec1::<f32>()?.into_iter().map(|number| number as u32).collect();
            if numbers.len() == count {
                return Ok(numbers);
            }
            let wanted = format!("one number for each of {count} embeddings in the memory");
            Err(LearnError::Shape { name: name.into(), wanted, found: tensor.dims().to_vec() })
        };
        let (labels, images) = (numbers("labels")?, numbers("images")?);
        Ok(Some(Self { embeddings: embeddings.clone(), labels, images }))
    }

    fn write(self, device: &Device) -> Result<LossState> {
        let numbers = |name: &str, numbers: Vec<u32>| -> Result<(String, Tensor)> {
            if let Some(number) = numbers.iter().find(|&&number| number >= EXACT_IN_F32) {
                let wanted = format!("numbers below {EXACT_IN_F32}, which the memory can store exactly, not {number}");
                return Err(LearnError::Shape { name: name.into(), wanted, found: vec![numbers.len()] });
            }
            let numbers: Vec<f32> = numbers.into_iter().map(|number| number as f32).collect();
            Ok((name.to_owned(), Tensor::new(numbers, device)?))
        };
        let (labels, images) = (numbers("labels", self.labels)?, numbers("images", self.images)?);
        Ok([("embeddings".to_owned(), self.embeddings), labels, images].into())
    }

    fn followed_by(self, newer: &Self) -> Result<Self> {
        Ok(Self {
            embeddings: Tensor::cat(&[&self.embeddings, &newer.embeddings], 0)?,
            labels: [self.labels, newer.labels.clone()].concat(),
            images: [self.images, newer.images.clone()].concat(),
        })
    }

    /// The newest `count` embeddings.
    fn last(self, count: usize) -> Result<Self> {
        let older = self.labels.len().saturating_sub(count);
        Ok(Self {
            embeddings: self.embeddings.narrow(0, older, self.labels.len() - older)?,
            labels: self.labels[older..].to_vec(),
            images: self.images[older..].to_vec(),
        })
    }

    /// The embeddings of other images than `images`; `None` if there are none.
    fn without(self, images: &[u32]) -> Result<Option<Self>> {
        let kept: Vec<u32> =
            (0..self.images.len() as u32).filter(|&row| !images.contains(&self.images[row as usize])).collect();
        if kept.is_empty() {
            return Ok(None);
        }
        let rows = Tensor::new(kept.as_slice(), self.embeddings.device())?;
        let pick = |numbers: &[u32]| kept.iter().map(|&row| numbers[row as usize]).collect();
        Ok(Some(Self {
            embeddings: self.embeddings.index_select(&rows, 0)?,
            labels: pick(&self.labels),
            images: pick(&self.images),
        }))
    }
}
