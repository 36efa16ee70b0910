//! One step of Adam over many tensors in one launch.

use candle_core::{DType, Result, Tensor};

use super::launch::{ADAM, Argument, Grid, int, launch};
use super::memory::{device, pointer};
use crate::adam::{AdamWork, Factors};

/// Elements of a tensor that one block updates.
const PART: usize = 1 << 13;

/// Updates all parameters and their moments in place. They are contiguous `f32` on the same GPU.
pub(crate) fn adam_steps(work: &[AdamWork]) -> Result<()> {
    let Some(first) = work.first() else { return Ok(()) };
    let device = device(first.parameter)?;
    // Contiguous copies of gradients must live until the kernel is enqueued.
    let gradients: Vec<Tensor> =
        work.iter().map(|work| work.gradient.to_dtype(DType::F32)?.contiguous()).collect::<Result<_>>()?;
    let (mut steps, mut blocks) = (Vec::new(), Vec::new());
    for (index, (work, gradient)) in work.iter().zip(&gradients).enumerate() {
        let count = work.parameter.elem_count();
        let moments = pointer(work.moments)?;
        let second = moments + (count * DType::F32.size_in_bytes()) as u64;
        for word in [pointer(work.parameter)?, pointer(gradient)?, moments, second, count as u64] {
            steps.extend([word as u32, (word >> 32) as u32]);
        }
        steps.extend(Factors::new(work.step).in_order().map(f32::to_bits));
        blocks.extend((0..count.div_ceil(PART)).flat_map(|part| [index as u32, part as u32]));
    }
    let count = blocks.len() / 2;
    let (words, length) = (steps.len(), blocks.len());
    let steps = Tensor::from_vec(steps, words, first.parameter.device())?;
    let blocks = Tensor::from_vec(blocks, length, first.parameter.device())?;
    let arguments = [Argument::Pointer(pointer(&steps)?), Argument::Pointer(pointer(&blocks)?), int(PART)?];
    // SAFETY: the arguments are those of the kernel, and each block has its tensor and its part in the tables. Parameters and moments
    // are not read by anyone else while they are updated: later work on the stream follows.
    unsafe { launch(&device, ADAM, "adam", Grid::rows(count, 256), &arguments) }
}
