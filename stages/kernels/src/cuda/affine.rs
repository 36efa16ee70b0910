//! The frozen batch normalisation on its own: `y = act(scale ∘ x + shift + residual)`.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::channels::{Epilogue, MaskRows, Masked};
use super::memory::{Output, device, pointer};
use crate::activation::Activation;
use crate::tape::{self, Backward, GradientSlot, slot_of};

/// `act(scale ∘ x + shift + residual)` for contiguous tensors of matching shapes.
pub(crate) fn affine(
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let output = Output::new(x.shape(), x.dtype(), &device(x)?)?;
    let epilogue = Epilogue { scale: Some(scale), shift: Some(shift), residual, activation };
    // SAFETY: x has the shape of the output.
    unsafe { epilogue.apply(x, pointer(x)?, &output, scale.elem_count())? };
    let inputs =
        [tape::watch(x)?, tape::watch(scale)?, tape::watch(shift)?, residual.map(tape::watch).transpose()?.flatten()];
    tape::record(&inputs, output.into_storage(), x.shape(), |y| {
        Box::new(AffineBackward {
            x: x.detach(),
            y: (activation != Activation::None).then_some(y),
            scale: scale.detach(),
            activation,
            slots: inputs.each_ref().map(slot_of),
        })
    })
}

struct AffineBackward {
    x: Tensor,
    y: Option<Tensor>,
    scale: Tensor,
    activation: Activation,
    /// Of x, scale, shift and residual.
    slots: [Option<Arc<GradientSlot<Tensor>>>; 4],
}

impl Backward<Tensor> for AffineBackward {
    fn backward(self: Box<Self>, dy: Tensor) -> Result<()> {
        let Self { x, y, scale, activation, slots: [x_slot, scale_slot, shift_slot, residual_slot] } = *self;
        let dy = dy.contiguous()?;
        let wanted = MaskRows {
            y: y.as_ref(),
            activation,
            factors: scale_slot.is_some().then_some(&x),
            scale: None,
            gradient: residual_slot.is_some(),
            sum: shift_slot.is_some(),
        };
        let Masked { gradient, sum, product } = wanted.run(&dy)?;
        for (slot, gradient) in [(residual_slot, gradient), (shift_slot, sum), (scale_slot, product)] {
            if let (Some(slot), Some(gradient)) = (slot, gradient) {
                slot.add(gradient)?;
            }
        }
        if let Some(slot) = x_slot {
            let scaled = MaskRows { factors: None, scale: Some(&scale), gradient: true, sum: false, ..wanted };
            if let Some(gradient) = scaled.run(&dy)?.gradient {
                slot.add(gradient)?;
            }
        }
        Ok(())
    }
}
