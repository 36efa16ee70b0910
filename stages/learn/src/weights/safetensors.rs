//! safetensors files: a JSON header with names, types and byte offsets, followed by the bytes.
//!
//! Source: the `safetensors` crate, which checks that the offsets lie in the file and do not overlap.

use std::collections::HashMap;

use candle_core::DType;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};

use super::named_tensor::NamedTensor;
use super::parse_result::ParseResult;

/// Key of the metadata that names the layer which holds the embedding under the name of a network's published code.
const EMBEDDING_LAYER: &str = "dnc.embedding";
/// Name of the embedding layer in a model.
const EMBEDDING: &str = "embedding";

/// The tensors in the file `bytes`, ordered by name. The embedding that [`write`] renamed has its own name again.
pub(super) fn read(bytes: &[u8]) -> ParseResult<Vec<NamedTensor>> {
    let damaged = |error: SafeTensorError| format!("it is truncated or damaged: {error}");
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let layer = header.metadata().as_ref().and_then(|metadata| metadata.get(EMBEDDING_LAYER));
    let mut tensors = Vec::with_capacity(file.len());
    for (name, view) in file.iter() {
        let dtype =
            from_dtype(view.dtype()).ok_or_else(|| format!("`{name}` has the unsupported type {:?}", view.dtype()))?;
        let name = layer.and_then(|layer| renamed(name, layer, EMBEDDING)).unwrap_or_else(|| name.to_owned());
        let (shape, bytes) = (view.shape().to_vec(), view.data().to_vec());
        tensors.push(NamedTensor { name, dtype, shape, bytes });
    }
    tensors.sort_by(|a: &NamedTensor, b| a.name.cmp(&b.name));
    Ok(tensors)
}

/// The bytes of a file that holds `tensors`. With a `layer`, the embedding gets that name, and the file says so.
pub(super) fn write(tensors: &[NamedTensor], layer: Option<&str>) -> ParseResult<Vec<u8>> {
    let mut views = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let dtype = to_dtype(tensor.dtype)
            .ok_or_else(|| format!("`{}` has the unsupported type {:?}", tensor.name, tensor.dtype))?;
        let view = TensorView::new(dtype, tensor.shape.clone(), &tensor.bytes).map_err(|error| error.to_string())?;
        let name = layer.and_then(|layer| renamed(&tensor.name, EMBEDDING, layer));
        views.push((name.unwrap_or_else(|| tensor.name.clone()), view));
    }
    // PyTorch's loaders look for `format`.
    let metadata = layer.map(|layer| {
        HashMap::from([("format".to_owned(), "pt".to_owned()), (EMBEDDING_LAYER.to_owned(), layer.to_owned())])
    });
    safetensors::serialize(views, metadata).map_err(|error| error.to_string())
}

/// `name` with the layer `to` instead of `from`, if it is a tensor of that layer.
fn renamed(name: &str, from: &str, to: &str) -> Option<String> {
    let rest = name.strip_prefix(from)?.strip_prefix('.')?;
    Some(format!("{to}.{rest}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_type_is_no_damage() {
        let header = br#"{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}"#;
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header, &[0]].concat();
        insta::assert_snapshot!(read(&bytes).unwrap_err(), @"`a` has the unsupported type F8_E4M3");
        assert!(read(&bytes[..bytes.len() - 1]).unwrap_err().starts_with("it is truncated or damaged: "));
    }
}
