//! Weights from and for elsewhere: named tensors as plain bytes, and the files that hold them.
//!
//! Read in this order: [`NamedTensor`] and [`import`] here, [`Fit`] in `fit`, then the formats: `safetensors` (read and
//! written), and PyTorch's pickles, `torch_zip` (since 1.6) and `torch_legacy` (before), both over `pickle`, which knows
//! how to rebuild tensors and nothing else, so that no file can run code.

pub(crate) mod fit;

use candle_core::{DType, Device, Tensor};

use crate::error::Result;
pub use fit::{Fit, Misshapen};

/// A tensor with its name, as little-endian bytes in row-major order: what a file or a table row holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTensor {
    /// Its name in the model.
    pub name: String,
    /// The type of its numbers.
    pub dtype: DType,
    /// Length along each axis; empty for a single number.
    pub shape: Vec<usize>,
    /// The numbers.
    pub bytes: Vec<u8>,
}

impl NamedTensor {
    /// The `f32` values of `tensor` under `name`.
    pub fn from_tensor(name: &str, tensor: &Tensor) -> Result<Self> {
        let values = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(Self { name: name.to_owned(), dtype: DType::F32, shape: tensor.dims().to_vec(), bytes })
    }

    /// The numbers as an `f32` tensor on `device`.
    pub fn to_tensor(&self, device: &Device) -> Result<Tensor> {
        Ok(Tensor::from_raw_buffer(&self.bytes, self.dtype, &self.shape, device)?.to_dtype(DType::F32)?)
    }
}
