//! Multi-head attention in one kernel for inference, where neither scores nor shares are kept for a gradient.
//!
//! Formula: in each head, `y = softmax(factor · q kᵀ) v`.
//! Shapes: qkv `[batch, tokens, 3 · width]`, y `[batch, tokens, width]`, with `width = heads · channels`.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, FUSED_ATTENTION, Grid, PACK_BYTES, int, launch};
use super::memory::{Output, device, pointer};

/// Queries of a block and of a warp, as `fused_attention.cu` declares them.
const MOST_QUERIES: usize = 128;
const WARP_QUERIES: usize = 16;

/// The largest number of elements whose indices the kernel can compute.
const MOST_ELEMENTS: usize = i32::MAX as usize;

/// Attention of `heads` heads over `bf16`, or `None` if the kernel does not take these sizes. The result has no gradient.
///
/// Products and sums are in `f32`; shares are rounded to `bf16` before they are multiplied with values. `factor` is positive.
pub(super) fn forward(qkv: &Tensor, heads: usize, factor: f64) -> Result<Option<Output>> {
    let (batch, tokens, parts_width) = qkv.dims3()?;
    let width = parts_width / 3;
    let channels = width.checked_div(heads).unwrap_or(0);
    let fits = qkv.dtype() == DType::BF16
        && matches!(channels, 32 | 64)
        && parts_width == 3 * heads * channels
        && (1..=MOST_ELEMENTS).contains(&qkv.elem_count());
    if !fits {
        return Ok(None);
    }
    let (device, from) = (device(qkv)?, pointer(qkv)?);
    if !from.is_multiple_of(PACK_BYTES as u64) {
        return Ok(None);
    }
    let output = Output::new((batch, tokens, width), DType::BF16, &device)?;
    let parts = tokens.div_ceil(MOST_QUERIES);
    let warps = tokens.div_ceil(parts).div_ceil(WARP_QUERIES);
    let grid = Grid { blocks: [parts * heads * batch, 1, 1], threads: [32, warps as u32] };
    let [from, to] = [from, output.pointer()?].map(Argument::Pointer);
    let arguments = [from, to, int(tokens)?, int(heads)?, int(parts)?, Argument::Float(factor as f32)];
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe { launch(&device, FUSED_ATTENTION, &format!("fused_attention_{channels}"), grid, &arguments)? };
    Ok(Some(output))
}
