//! safetensors files: a JSON header with names, types and byte offsets, followed by the bytes.
//!
//! Source: the `safetensors` crate, which checks that the offsets lie in the file and do not overlap.

use candle_core::DType;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::named_tensor::NamedTensor;
use super::parse_result::ParseResult;

/// The tensors in the file `bytes`, ordered by name.
pub(super) fn read(bytes: &[u8]) -> ParseResult<Vec<NamedTensor>> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut tensors = Vec::with_capacity(file.len());
    for (name, view) in file.iter() {
        let dtype =
            from_dtype(view.dtype()).ok_or_else(|| format!("`{name}` has the unsupported type {:?}", view.dtype()))?;
        let (name, shape, bytes) = (name.to_owned(), view.shape().to_vec(), view.data().to_vec());
        tensors.push(NamedTensor { name, dtype, shape, bytes });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

/// The bytes of a file that holds `tensors`.
pub(super) fn write(tensors: &[NamedTensor]) -> ParseResult<Vec<u8>> {
    let mut views = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let dtype = to_dtype(tensor.dtype)
            .ok_or_else(|| format!("`{}` has the unsupported type {:?}", tensor.name, tensor.dtype))?;
        let view = TensorView::new(dtype, tensor.shape.clone(), &tensor.bytes).map_err(|error| error.to_string())?;
        views.push((tensor.name.as_str(), view));
    }
    safetensors::serialize(views, None).map_err(|error| error.to_string())
}

fn from_dtype(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::U32 => DType::U32,
        Dtype::U8 | Dtype::BOOL => DType::U8,
        _ => return None,
    })
}

fn to_dtype(dtype: DType) -> Option<Dtype> {
    Some(match dtype {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::U32 => Dtype::U32,
        DType::U8 => Dtype::U8,
        _ => return None,
    })
}
