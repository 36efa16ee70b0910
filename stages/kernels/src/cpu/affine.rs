//! Kernel of the frozen batch normalisation: `y = act(scale ∘ x + shift + residual)`.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::activation_gradient::{ActivationGradient, activation_gradient};
use super::disjoint::written_by;
use super::epilogue::Epilogue;
use super::gradient::{Slot, add_to_slot};
use super::storage::{storage, with_values};
use crate::activation::Activation;
use crate::simd::{Level, Simd, Task};
use crate::tape::{self, Backward, slot_of};

/// `act(scale ∘ x + shift + residual)` for contiguous tensors of matching shapes.
pub(crate) fn affine(
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let level = Level::detected();
    let output = with_values!(x_values = x, a = scale, b = shift, r = residual.unwrap_or(x); {
        let r = residual.map(|_| r);
        forward(level, x_values, a, b, r, activation)
    });
    let inputs =
        [tape::watch(x)?, tape::watch(scale)?, tape::watch(shift)?, residual.map(tape::watch).transpose()?.flatten()];
    tape::record(&inputs, storage(output), x.shape(), |y| {
        Box::new(AffineBackward {
            level,
            x: x.detach(),
            y: (activation != Activation::None).then_some(y),
            scale: scale.detach(),
            activation,
            slots: inputs.each_ref().map(slot_of),
        })
    })
}

/// Rows per task.
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
        written_by(x.len(), |out| {
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
    /// Of x, scale, shift and residual.
    slots: [Slot; 4],
}

impl Backward<Vec<f32>> for AffineBackward {
    fn backward(self: Box<Self>, mut gradient: Vec<f32>) -> Result<()> {
        let [x_slot, scale_slot, shift_slot, residual_slot] = &self.slots;
        with_values!(x = self.x, y = self.y.as_ref().unwrap_or(&self.x), scale = self.scale; {
            let arguments = ActivationGradient {
                y: self.y.is_some().then_some(y),
                activation: self.activation,
                channels: scale.len(),
                sum: shift_slot.is_some(),
                factors: scale_slot.is_some().then_some(x),
            };
            let sums = activation_gradient(self.level, arguments, &mut gradient);
            add_to_slot(shift_slot, sums.gradient)?;
            add_to_slot(scale_slot, sums.product)?;
            if x_slot.is_some() {
                let zeros = vec![0.0; scale.len()];
                let x_gradient = forward(self.level, &gradient, scale, &zeros, None, Activation::None);
                add_to_slot(x_slot, Some(x_gradient))?;
            }
        });
        add_to_slot(residual_slot, Some(gradient))
    }
}
