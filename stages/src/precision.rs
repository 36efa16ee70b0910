//! Parameter `precision`: what a GPU computes a network with.

use candle_core::Device;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::StageError;

/// Precision of the network's convolutions and matrix products. A CPU has "f32" only. Parameters, losses and distances are 32-bit
/// floats in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// 32-bit floats whose products are rounded to 10 bits of mantissa (NVIDIA's TensorFloat-32). GPU only.
    Tf32,
    /// bfloat16 activations: 16 bits with the range of 32-bit floats. GPU only.
    Bf16,
}

impl Precision {
    /// Whether it is the default, which is not part of a key.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The precision for the kernels on `device`.
    ///
    /// # Errors
    /// The device is a CPU and the precision is not `f32`.
    pub(crate) fn on(self, device: &Device) -> Result<dnc_kernels::Precision, StageError> {
        let (name, precision) = match self {
            Self::F32 => return Ok(dnc_kernels::Precision::F32),
            Self::Tf32 => ("tf32", dnc_kernels::Precision::Tf32),
            Self::Bf16 => ("bf16", dnc_kernels::Precision::Bf16),
        };
        if device.is_cpu() { Err(StageError::PrecisionNeedsGpu { precision: name }) } else { Ok(precision) }
    }
}
