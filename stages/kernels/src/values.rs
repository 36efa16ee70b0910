//! Reading a candle tensor's values as a slice.

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor};

/// Whether all tensors are `f32` in main memory, so that the kernels can read them; others go through [`crate::composed`].
pub(crate) fn are_ours<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> bool {
    tensors.into_iter().all(|tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32)
}

/// The values of a contiguous `f32` tensor in main memory, out of [`Tensor::storage_and_layout`].
pub(crate) fn values<'a>(storage: &'a Storage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("a kernel got a tensor that is not contiguous f32 on the CPU"),
    }
}

/// Runs `$body` with each `$name` bound to the values of the tensor of that name.
macro_rules! with_values {
    ($($name:ident = $tensor:expr),+ ; $body:expr) => {{
        $(
            let $name = $tensor.storage_and_layout();
            let $name = $crate::values::values(&$name.0, $name.1)?;
        )+
        $body
    }};
}
pub(crate) use with_values;
