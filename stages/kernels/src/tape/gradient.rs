//! Gradients and the slots that they are accumulated in.

use std::sync::Mutex;

#[cfg(feature = "cuda")]
use candle_core::DType;
use candle_core::{Device, Result, Shape, Tensor};

use crate::lock::lock;

/// A gradient in the form that an implementation's kernels work on.
pub(crate) trait Gradient: Sized + Send + 'static {
    /// The sum of two gradients of one tensor, preferably in place.
    ///
    /// # Errors
    /// If candle fails.
    fn accumulate(self, other: Self) -> Result<Self>;

    /// From candle's gradient of a tensor.
    ///
    /// # Errors
    /// If candle fails.
    fn from_tensor(gradient: &Tensor) -> Result<Self>;

    /// To candle's gradient of a tensor of this shape and device.
    ///
    /// # Errors
    /// If candle fails.
    fn into_tensor(self, shape: &Shape, device: &Device) -> Result<Tensor>;
}

/// Gradients as tensors on any device, for implementations whose kernels work on tensors.
impl Gradient for Tensor {
    fn accumulate(self, other: Self) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if self.device().is_cuda() && self.dtype() == other.dtype() && matches!(self.dtype(), DType::F32 | DType::BF16)
        {
            return crate::cuda::channels::sum(&self, &other);
        }
        self + other
    }

    fn from_tensor(gradient: &Tensor) -> Result<Self> {
        gradient.contiguous()
    }

    fn into_tensor(self, shape: &Shape, _device: &Device) -> Result<Tensor> {
        self.reshape(shape)
    }
}

/// Where the gradient of one activation or parameter is accumulated.
#[derive(Debug)]
pub(crate) struct GradientSlot<G>(Mutex<Option<G>>);

impl<G> Default for GradientSlot<G> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<G: Gradient> GradientSlot<G> {
    /// Takes the gradient out; `None` if no operation contributed to it.
    pub(crate) fn take(&self) -> Option<G> {
        lock(&self.0).take()
    }

    /// Adds a gradient.
    ///
    /// # Errors
    /// If candle fails.
    pub(crate) fn add(&self, gradient: G) -> Result<()> {
        self.update(|sum| match sum {
            None => Ok(gradient),
            Some(sum) => sum.accumulate(gradient),
        })
    }

    /// Replaces the gradient by the result of `next`, so that a kernel can add to it while it computes.
    ///
    /// # Errors
    /// If `next` fails; the slot is then empty.
    pub(crate) fn update(&self, next: impl FnOnce(Option<G>) -> Result<G>) -> Result<()> {
        let mut slot = lock(&self.0);
        let gradient = next(slot.take())?;
        *slot = Some(gradient);
        Ok(())
    }
}
