//! Frozen batch-norm: scale and shift per channel, residual sum and activation in one pass.
//!
//! Formula: `y = act(scale ∘ x + shift + residual)`.
//! Shapes: x and residual `[…, channels]`, scale and shift `[channels]`.

use std::sync::Arc;

use candle_core::Tensor;
use rayon::prelude::*;

use crate::composed;
use crate::error::{Result, misfit};
use crate::gate::{Gate, gate};
use crate::share::filled;
use crate::simd::{Level, Simd, Task};
use crate::tape::{self, Backward, Slot, slot_of};
use crate::tile::Epilogue;
use crate::values::{are_ours, with_values};

/// What is applied to a sum before it leaves a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Activation {
    /// The identity.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`, as in the EfficientNet-Lite family.
    Relu6,
}

/// `act(scale ∘ x + shift + residual)`, with gradients for all four tensors.
///
/// # Errors
/// If `scale` or `shift` is not `[channels]`, or `residual` has another shape than `x`.
pub fn affine(
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    check("affine", x.dims(), scale, shift, residual)?;
    if !are_ours([x, scale, shift].into_iter().chain(residual)) {
        return Ok(composed::affine(x, scale, shift, residual, activation)?);
    }
    let (x, scale, shift) = (&x.contiguous()?, &scale.contiguous()?, &shift.contiguous()?);
    let residual = residual.map(Tensor::contiguous).transpose()?;
    let residual = residual.as_ref();
    let level = Level::detected();
    let output = with_values!(x_values = x, a = scale, b = shift, r = residual.unwrap_or(x); {
        let r = residual.map(|_| r);
        forward(level, x_values, a, b, r, activation)
    });
    let inputs =
        [tape::enter(x)?, tape::enter(scale)?, tape::enter(shift)?, residual.map(tape::enter).transpose()?.flatten()];
    let y = tape::record(&inputs, output, x.shape(), |y| {
        Box::new(AffineBackward {
            level,
            x: x.detach(),
            y: (activation != Activation::None).then_some(y),
            scale: scale.detach(),
            activation,
            slots: inputs.each_ref().map(slot_of),
        })
    })?;
    Ok(y)
}

/// Checks scale, shift and residual against the shape of what they are applied to.
pub(crate) fn check(
    operation: &'static str,
    dims: &[usize],
    scale: &Tensor,
    shift: &Tensor,
    residual: Option<&Tensor>,
) -> Result<()> {
    let Some(&channels) = dims.last() else {
        return Err(misfit(operation, "a scalar has no channels"));
    };
    for (name, tensor) in [("scale", scale), ("shift", shift)] {
        if tensor.dims() != [channels] {
            return Err(misfit(operation, format!("`{name}` is {:?}, expected [{channels}]", tensor.dims())));
        }
    }
    match residual {
        Some(residual) if residual.dims() != dims => {
            Err(misfit(operation, format!("`residual` is {:?}, expected {dims:?}", residual.dims())))
        }
        _ => Ok(()),
    }
}

/// Rows that a task works through.
const BLOCK: usize = 64;

fn forward(
    level: Level,
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    residual: Option<&[f32]>,
    activation: Activation,
) -> Vec<f32> {
    let channels = scale.len();
    let block = BLOCK * channels;
    // SAFETY: the blocks cover all values.
    unsafe {
        filled(x.len(), |out| {
            x.par_chunks(block).enumerate().for_each(|(index, x)| {
                let start = index * block;
                level.run(AffineRows {
                    x,
                    scale,
                    epilogue: Epilogue {
                        shift: shift.as_ptr(),
                        residual: residual.map_or(std::ptr::null(), |r| r[start..].as_ptr()),
                        activation,
                        ..Epilogue::NONE
                    },
                    out: out.pointer().wrapping_add(start),
                });
            });
        })
    }
}

struct AffineRows<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    epilogue: Epilogue,
    out: *mut f32,
}

impl Task for AffineRows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let channels = self.scale.len();
        for (row, x) in self.x.chunks_exact(channels).enumerate() {
            let mut c = 0;
            while c < channels {
                let count = channels - c;
                // SAFETY: all pointers are valid for whole rows.
                unsafe {
                    let scale = S::load_up_to(self.scale.as_ptr().add(c), count);
                    let value = S::mul(S::load_up_to(x.as_ptr().add(c), count), scale);
                    self.epilogue.store::<S>(value, self.out, row * channels, c, count);
                }
                c += S::LANES;
            }
        }
    }
}

struct AffineBackward {
    level: Level,
    x: Tensor,
    y: Option<Tensor>,
    scale: Tensor,
    activation: Activation,
    slots: [Option<Arc<Slot>>; 4],
}

impl Backward for AffineBackward {
    fn backward(self: Box<Self>, mut gradient: Vec<f32>) -> candle_core::Result<()> {
        let [x_slot, scale_slot, shift_slot, residual_slot] = &self.slots;
        with_values!(x = self.x, y = self.y.as_ref().unwrap_or(&self.x), scale = self.scale; {
            let gate_of = Gate {
                y: self.y.is_some().then_some(y),
                activation: self.activation,
                channels: scale.len(),
                sum: shift_slot.is_some(),
                weighted: scale_slot.is_some().then_some(x),
            };
            let sums = gate(self.level, gate_of, &mut gradient);
            tape::add_if_wanted(shift_slot, sums.plain);
            tape::add_if_wanted(scale_slot, sums.weighted);
            if x_slot.is_some() {
                let zeros = vec![0.0; scale.len()];
                let of_x = forward(self.level, &gradient, scale, &zeros, None, Activation::None);
                tape::add_if_wanted(x_slot, Some(of_x));
            }
        });
        tape::add_if_wanted(residual_slot, Some(gradient));
        Ok(())
    }
}

/// Values that a task adds up.
const ADD_CHUNK: usize = 1 << 15;

/// `sum += add`.
pub(crate) fn add_into(sum: &mut [f32], add: &[f32]) {
    sum.par_chunks_mut(ADD_CHUNK)
        .zip(add.par_chunks(ADD_CHUNK))
        .for_each(|(sum, add)| sum.iter_mut().zip(add).for_each(|(sum, add)| *sum += add));
}
