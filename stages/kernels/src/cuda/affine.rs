//! The frozen batch normalisation on its own, and sums: `y = act(scale ∘ x + shift + residual)`, without what is `None`.

use candle_core::{Result, Tensor};

use super::channels::{Epilogue, MaskRows, Masked};
use super::memory::{Output, device, pointer};
use crate::activation::Activation;
use crate::tape::Backward;
use crate::tape::walk::{Slot, add, record, watch};

/// `act(scale ∘ x + shift + residual)` for contiguous tensors of matching shapes.
pub(crate) fn affine(
    x: &Tensor,
    scale: Option<&Tensor>,
    shift: Option<&Tensor>,
    residual: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let output = Output::new(x.shape(), x.dtype(), &device(x)?)?;
    let epilogue = Epilogue { scale, shift, residual, activation };
    let channels = x.dims().last().copied().unwrap_or(1);
    // SAFETY: x has the shape of the output.
    unsafe { epilogue.apply(x, pointer(x)?, &output, channels)? };
    let inputs = [watch(x), scale.and_then(watch), shift.and_then(watch), residual.and_then(watch)];
    record(&inputs, output.into_storage(), x.shape(), x.device(), |y| {
        Box::new(AffineBackward {
            x: x.detach(),
            y: (activation != Activation::None).then_some(y),
            scale: scale.map(Tensor::detach),
            activation,
            slots: inputs.clone(),
        })
    })
}

struct AffineBackward {
    x: Tensor,
    y: Option<Tensor>,
    scale: Option<Tensor>,
    activation: Activation,
    /// Of x, scale, shift and residual.
    slots: [Slot; 4],
}

impl Backward<Tensor> for AffineBackward {
    fn backward(self: Box<Self>, dy: Tensor) -> Result<()> {
        let Self { x, y, scale, activation, slots: [x_slot, scale_slot, shift_slot, residual_slot] } = *self;
        let dy = dy.contiguous()?;
        let changes = y.is_some() || shift_slot.is_some() || scale_slot.is_some();
        let wanted = MaskRows {
            y: y.as_ref(),
            activation,
            factors: scale_slot.is_some().then_some(&x),
            gradient: y.is_some(),
            sum: shift_slot.is_some(),
            ..MaskRows::default()
        };
        let Masked { gradient, sum, product } =
            if changes { wanted.run(&dy)? } else { Masked { gradient: None, sum: None, product: None } };
        for (slot, partial) in [(shift_slot, sum), (scale_slot, product)] {
            if let (Some(slot), Some(partial)) = (slot, partial) {
                let channels = dy.dims().last().copied().unwrap_or(1);
                slot.add(partial.total(&[channels])?)?;
            }
        }
        let gradient = gradient.unwrap_or(dy);
        if let Some(slot) = x_slot {
            let scaled = match &scale {
                None => Some(gradient.clone()),
                Some(scale) => {
                    let scaled = MaskRows { scale: Some(scale), gradient: true, ..MaskRows::default() };
                    scaled.run(&gradient)?.gradient
                }
            };
            add(Some(slot), scaled)?;
        }
        add(residual_slot, Some(gradient))
    }
}
