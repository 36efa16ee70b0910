//! The precision that a network computes with on a GPU.

use candle_core::DType;

/// Precision of a network's convolutions and matrix products. Parameters, their gradients, optimiser moments, losses and distances
/// are 32-bit floats in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Precision {
    /// 32-bit floats throughout, as on the CPU.
    #[default]
    F32,
    /// 32-bit activations; the factors of products are rounded to 10 bits of mantissa (TF32) and summed in 32 bits. The CPU has no
    /// such products and computes in 32 bits.
    Tf32,
    /// bfloat16 activations and factors, summed in 32 bits.
    Bf16,
}

impl Precision {
    /// The type of activations.
    pub fn activations(self) -> DType {
        match self {
            Self::F32 | Self::Tf32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}
