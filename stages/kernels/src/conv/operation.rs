//! The convolution as an operation with gradients: which kernel computes what, and what is kept for the way back.
//!
//! With `z = conv(x, w)`, `y = act(s ∘ z + t + r)` and `dz = dy ∘ act'(y)`:
//! - forward and the gradient of x use the weight with `s` folded in, so `z` itself is never needed;
//! - `g = Σ x ⊗ dz` gives both `dw[o] = s[o] · g[o]` and `ds[o] = ⟨w[o], g[o]⟩`, so `z` is not kept either;
//! - `dt = Σ dz`, `dr = dz`.
//!
//! What stays alive for the way back is x and, for an activation, y: half of what a convolution and a batch-norm apart keep.

use std::sync::Arc;

use candle_core::Tensor;

use super::passes::{Weight, forward, input_gradient, weight_gradients};
use super::shape::Shape;
use crate::affine::Activation;
use crate::gate::{Gate, gate};
use crate::simd::Level;
use crate::tape::{self, Backward, Slot, slot_of};
use crate::tile::Epilogue;
use crate::values::with_values;

/// What a convolution takes; all `f32` on the CPU, shapes checked.
pub(crate) struct Arguments<'a> {
    pub x: &'a Tensor,
    pub weight: &'a Tensor,
    pub scale: Option<&'a Tensor>,
    pub shift: Option<&'a Tensor>,
    pub residual: Option<&'a Tensor>,
}

/// Runs the convolution and records what its gradients need; `dims` is the shape under which the output is seen.
pub(crate) fn run(
    arguments: Arguments,
    activation: Activation,
    shape: Shape,
    dims: &[usize],
) -> candle_core::Result<Tensor> {
    let level = Level::detected();
    let contiguous = |tensor: Option<&Tensor>| tensor.map(Tensor::contiguous).transpose();
    let (x, weight) = (&arguments.x.contiguous()?, &arguments.weight.contiguous()?);
    let scale = &contiguous(arguments.scale)?;
    let shift = &contiguous(arguments.shift)?;
    let residual = &contiguous(arguments.residual)?;
    let output = with_values!(
        s = scale.as_ref().unwrap_or(weight),
        t = shift.as_ref().unwrap_or(weight),
        r = residual.as_ref().unwrap_or(weight),
        x = x, values = weight;
        {
            let or_null = |given: bool, values: &[f32]| if given { values.as_ptr() } else { std::ptr::null() };
            let epilogue = Epilogue {
                shift: or_null(shift.is_some(), t),
                residual: or_null(residual.is_some(), r),
                activation,
                ..Epilogue::NONE
            };
            // SAFETY: the shapes of shift and residual were checked at the door.
            unsafe { forward(level, shape, x, Weight { values, scale: scale.is_some().then_some(s) }, epilogue) }
        }
    );
    let enter = |tensor: &Option<Tensor>| tensor.as_ref().map_or(Ok(None), tape::enter);
    let inputs = [tape::enter(x)?, tape::enter(weight)?, enter(scale)?, enter(shift)?, enter(residual)?];
    tape::record(&inputs, output, dims, |y| {
        Box::new(ConvBackward {
            level,
            shape,
            x: x.detach(),
            y: (activation != Activation::None).then_some(y),
            weight: weight.detach(),
            scale: scale.as_ref().map(Tensor::detach),
            activation,
            slots: inputs.each_ref().map(slot_of),
        })
    })
}

struct ConvBackward {
    level: Level,
    shape: Shape,
    x: Tensor,
    y: Option<Tensor>,
    weight: Tensor,
    scale: Option<Tensor>,
    activation: Activation,
    /// Of x, weight, scale, shift and residual.
    slots: [Option<Arc<Slot>>; 5],
}

impl Backward for ConvBackward {
    fn backward(self: Box<Self>, mut gradient: Vec<f32>) -> candle_core::Result<()> {
        let Self { level, shape, activation, .. } = *self;
        let [x_slot, weight_slot, scale_slot, shift_slot, residual_slot] = &self.slots;
        with_values!(
            x = self.x,
            y = self.y.as_ref().unwrap_or(&self.x),
            values = self.weight,
            scale = self.scale.as_ref().unwrap_or(&self.weight);
            {
                let gate_of = Gate {
                    y: self.y.is_some().then_some(y),
                    activation,
                    channels: shape.out[3],
                    sum: shift_slot.is_some(),
                    weighted: None,
                };
                let sums = gate(level, gate_of, &mut gradient);
                tape::add_if_wanted(shift_slot, sums.plain);
                let weight = Weight { values, scale: self.scale.is_some().then_some(scale) };
                if weight_slot.is_some() || scale_slot.is_some() {
                    let (of_weight, of_scale) = weight_gradients(level, shape, x, &gradient, weight);
                    tape::add_if_wanted(weight_slot, Some(of_weight));
                    tape::add_if_wanted(scale_slot, Some(of_scale));
                }
                if let Some(slot) = x_slot {
                    slot.update(|sum| input_gradient(level, shape, &gradient, weight, sum));
                }
            }
        );
        tape::add_if_wanted(residual_slot, Some(gradient));
        Ok(())
    }
}
