//! Gradients of the CPU kernels: plain vectors, laid out like the tensor.

use std::sync::Arc;

use candle_core::{Device, Result, Shape, Tensor};

use super::sums::add_into;
use crate::tape::{Gradient, GradientSlot};

/// The slot of an input; `None` if the input is not tracked.
pub(super) type Slot = Option<Arc<GradientSlot<Vec<f32>>>>;

impl Gradient for Vec<f32> {
    fn accumulate(mut self, other: Self) -> Result<Self> {
        add_into(&mut self, &other);
        Ok(self)
    }

    fn from_tensor(gradient: &Tensor) -> Result<Self> {
        gradient.flatten_all()?.to_vec1()
    }

    fn into_tensor(self, shape: &Shape, device: &Device) -> Result<Tensor> {
        Tensor::from_vec(self, shape, device)
    }
}

/// Adds a gradient, if there is one, to the slot of an input that is tracked.
pub(super) fn add_to_slot(slot: &Slot, gradient: Option<Vec<f32>>) -> Result<()> {
    match (slot, gradient) {
        (Some(slot), Some(gradient)) => slot.add(gradient),
        _ => Ok(()),
    }
}
