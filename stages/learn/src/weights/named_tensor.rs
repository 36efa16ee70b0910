//! A tensor with its name, as plain bytes: the form in which tensors enter and leave files and tables.

use candle_core::{DType, Device, Tensor};

use crate::error::Result;

/// A tensor with its name, as little-endian bytes in row-major order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTensor {
    /// The name in the model.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Length along each axis; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements.
    pub bytes: Vec<u8>,
}

impl NamedTensor {
    /// The `f32` values of `tensor` under `name`.
    ///
    /// # Errors
    /// If the values cannot be copied from their device.
    pub fn from_tensor(name: &str, tensor: &Tensor) -> Result<Self> {
        let values = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(Self { name: name.to_owned(), dtype: DType::F32, shape: tensor.dims().to_vec(), bytes })
    }

    /// The elements as an `f32` tensor on `device`.
    ///
    /// # Errors
    /// If the bytes do not fill the shape, or cannot be copied to the device.
    pub fn to_tensor(&self, device: &Device) -> Result<Tensor> {
        Ok(Tensor::from_raw_buffer(&self.bytes, self.dtype, &self.shape, device)?.to_dtype(DType::F32)?)
    }
}
