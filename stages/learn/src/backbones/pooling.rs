//! How a feature map becomes one vector.

use candle_core::Tensor;
use dnc_kernels::{global_avg_pool, global_max_pool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{LearnError, Result};

/// How the feature map of an image is reduced to one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over all positions.
    Average,
    /// Maximum over all positions.
    Max,
    /// The class token of a transformer.
    ClassToken,
}

/// Pools the feature map of a convolutional network: `[batch, height, width, F]` to `[batch, F]`.
pub(super) fn pool(map: &Tensor, pooling: Pooling) -> Result<Tensor> {
    match pooling {
        Pooling::Average => Ok(global_avg_pool(map)?),
        Pooling::Max => Ok(global_max_pool(map)?),
        Pooling::ClassToken => Err(LearnError::NoTensor { name: "cls_token".into() }),
    }
}
