//! The convolution as a differentiable operation, and what it saves for the backward pass.
//!
//! With `z = conv(x, w)`, `y = act(s ∘ z + t + r)` and `dz = dy ∘ act'(y)`:
//! - forward and the gradient of x use the weight with `s` folded in, so `z` itself is never needed;
//! - `g = Σ x ⊗ dz` gives both `dw[o] = s[o] · g[o]` and `ds[o] = ⟨w[o], g[o]⟩`, so `z` is not saved either;
//! - `dt = Σ dz`, `dr = dz`.
//!
//! The operation saves x and, with an activation, y: half of what a convolution followed by a batch normalisation saves.

use candle_core::{Result, Tensor};

use super::passes::{ScaledWeight, forward, input_gradient, weight_gradients};
use crate::activation::Activation;
use crate::cpu::activation_gradient::{ActivationGradient, activation_gradient};
use crate::cpu::epilogue::Epilogue;
use crate::cpu::gradient::{Slot, add_to_slot};
use crate::cpu::storage::{storage, with_values};
use crate::geometry::{Conv2d, ConvGeometry};
use crate::operands::ConvOperands;
use crate::simd::Level;
use crate::tape::{self, Backward, slot_of};

/// `act(scale ∘ conv(x, weight) + shift + residual)`: `[batch, rows, columns, out]`.
pub(crate) fn convolution(operands: &ConvOperands, activation: Activation, geometry: &ConvGeometry) -> Result<Tensor> {
    run(operands, activation, *geometry, &geometry.out)
}

/// `x · weightᵀ + bias` for contiguous `[m, k]`, `[out, k]` and `[out]` with at least one element each: a convolution of images of
/// one pixel.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (batch, channels) = x.dims2()?;
    let out = weight.dim(0)?;
    let options = Conv2d::default();
    let geometry =
        ConvGeometry { batch, height: 1, width: 1, channels, out: [batch, 1, 1, out], kernel: (1, 1), options };
    let operands = ConvOperands::new(x, weight, None, bias, None)?;
    run(&operands, Activation::None, geometry, &[batch, out])
}

/// Runs the convolution and records its backward pass; `dims` is the shape of the returned tensor.
fn run(operands: &ConvOperands, activation: Activation, geometry: ConvGeometry, dims: &[usize]) -> Result<Tensor> {
    let level = Level::detected();
    let ConvOperands { x, weight, scale, shift, residual } = operands;
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
            let weight = ScaledWeight { values, scale: scale.is_some().then_some(s) };
            // SAFETY: the public operation has checked the shapes of shift and residual.
            unsafe { forward(level, geometry, x, weight, epilogue) }
        }
    );
    let watch = |tensor: &Option<Tensor>| tensor.as_ref().map_or(Ok(None), tape::watch);
    let inputs = [tape::watch(x)?, tape::watch(weight)?, watch(scale)?, watch(shift)?, watch(residual)?];
    tape::record(&inputs, storage(output), dims, |y| {
        Box::new(ConvBackward {
            level,
            geometry,
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
    geometry: ConvGeometry,
    x: Tensor,
    y: Option<Tensor>,
    weight: Tensor,
    scale: Option<Tensor>,
    activation: Activation,
    /// Of x, weight, scale, shift and residual.
    slots: [Slot; 5],
}

impl Backward<Vec<f32>> for ConvBackward {
    fn backward(self: Box<Self>, mut gradient: Vec<f32>) -> Result<()> {
        let Self { level, geometry, activation, .. } = *self;
        let [x_slot, weight_slot, scale_slot, shift_slot, residual_slot] = &self.slots;
        with_values!(
            x = self.x,
            y = self.y.as_ref().unwrap_or(&self.x),
            values = self.weight,
            scale = self.scale.as_ref().unwrap_or(&self.weight);
            {
                let arguments = ActivationGradient {
                    y: self.y.is_some().then_some(y),
                    activation,
                    channels: geometry.out[3],
                    sum: shift_slot.is_some(),
                    factors: None,
                };
                let sums = activation_gradient(level, arguments, &mut gradient);
                add_to_slot(shift_slot, sums.gradient)?;
                let weight = ScaledWeight { values, scale: self.scale.is_some().then_some(scale) };
                if weight_slot.is_some() || scale_slot.is_some() {
                    let (of_weight, of_scale) = weight_gradients(level, geometry, x, &gradient, weight);
                    add_to_slot(weight_slot, Some(of_weight))?;
                    add_to_slot(scale_slot, Some(of_scale))?;
                }
                if let Some(slot) = x_slot {
                    slot.update(|sum| Ok(input_gradient(level, geometry, &gradient, weight, sum)))?;
                }
            }
        );
        add_to_slot(residual_slot, Some(gradient))
    }
}
