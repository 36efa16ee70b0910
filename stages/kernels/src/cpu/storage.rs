//! Between candle's tensors and slices of `f32`.

use candle_core::{CpuStorage, Layout, Result, Storage};

/// The values of a contiguous `f32` tensor in main memory, given the result of [`candle_core::Tensor::storage_and_layout`].
pub(super) fn values<'a>(storage: &'a Storage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("a CPU kernel was called with a tensor that is not contiguous f32 in main memory"),
    }
}

/// The storage of a tensor with these values.
pub(super) fn storage(values: Vec<f32>) -> Storage {
    Storage::Cpu(CpuStorage::F32(values))
}

/// Runs `$body` with each `$name` bound to the values of the tensor of that name.
macro_rules! with_values {
    ($($name:ident = $tensor:expr),+ ; $body:expr) => {{
        $(
            let $name = $tensor.storage_and_layout();
            let $name = $crate::cpu::storage::values(&$name.0, $name.1)?;
        )+
        $body
    }};
}
pub(super) use with_values;
