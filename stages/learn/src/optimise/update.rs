//! One step of Adam or AdamW on one parameter, in place.
//!
//! Formula and source: `dnc_kernels::adam`.
//! Shapes: parameter and gradient of the same shape, with n elements; moments `[2, n]`: the running means of the gradients
//! and of their squares.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Tensor, Var};
use dnc_kernels::{AdamStep, adam_step};

use crate::error::Result;

/// Updates `parameter` and its `moments`.
pub(super) fn apply(parameter: &Var, gradient: &Tensor, moments: &mut Tensor, step: AdamStep) -> Result<()> {
    if parameter.device().is_cpu() {
        let gradient = gradient.contiguous()?;
        return Ok(parameter.inplace_op2(&gradient, &OnParameter { moments, step })?);
    }
    candle_step(parameter, gradient, moments, step)
}

/// The same step in candle operations, for the GPU.
fn candle_step(parameter: &Var, gradient: &Tensor, moments: &mut Tensor, step: AdamStep) -> Result<()> {
    let AdamStep { lr, beta1, beta2, eps, weight_decay, decoupled, step } = step;
    let value = parameter.as_detached_tensor().flatten_all()?;
    let gradient = gradient.flatten_all()?;
    let gradient = if decoupled { gradient } else { (gradient + (&value * weight_decay)?)? };
    let value = if decoupled { (value * (1.0 - lr * weight_decay))? } else { value };
    let (first, second) = (moments.get(0)?, moments.get(1)?);
    let first = (&first + ((&gradient - &first)? * (1.0 - beta1))?)?;
    let second = ((second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
    let correction = |beta: f64| 1.0 - beta.powf(step as f64);
    let root = ((second.sqrt()? / correction(beta2).sqrt())? + eps)?;
    let value = (value - ((&first / root)? * (lr / correction(beta1)))?)?;
    parameter.set(&value.reshape(parameter.shape())?)?;
    *moments = Tensor::stack(&[first, second], 0)?;
    Ok(())
}

/// Candle lends the values of one tensor at a time, so the in-place operation on the parameter holds the one on the moments.
struct OnParameter<'a> {
    moments: &'a Tensor,
    step: AdamStep,
}

struct OnMoments<'a> {
    parameter: RefCell<&'a mut [f32]>,
    gradient: &'a [f32],
    step: AdamStep,
}

impl InplaceOp2 for OnParameter<'_> {
    fn name(&self) -> &'static str {
        "adam on a parameter"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let gradient = &gradient.as_slice::<f32>()?[range(gradient_layout)?];
        let parameter = RefCell::new(values_mut(parameter, layout)?);
        if gradient.len() != parameter.borrow().len() {
            candle_core::bail!(
                "the gradient has {} elements, but the parameter has {}",
                gradient.len(),
                layout.shape().elem_count()
            );
        }
        self.moments.inplace_op1(&OnMoments { parameter, gradient, step: self.step })
    }
}

impl InplaceOp1 for OnMoments<'_> {
    fn name(&self) -> &'static str {
        "adam on moments"
    }

    fn cpu_fwd(&self, moments: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (first, second) = values_mut(moments, layout)?.split_at_mut(self.gradient.len());
        adam_step(&mut self.parameter.borrow_mut(), self.gradient, first, second, self.step);
        Ok(())
    }
}

fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> candle_core::Result<&'a mut [f32]> {
    match storage {
        CpuStorage::F32(values) => Ok(&mut values[range(layout)?]),
        _ => candle_core::bail!("Adam needs f32 tensors"),
    }
}

fn range(layout: &Layout) -> candle_core::Result<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => candle_core::bail!("Adam needs contiguous tensors"),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn the_fused_step_equals_the_candle_step() {
        let check = |decoupled| {
            let values: Vec<f32> = (0..60).map(|i| (i as f32 * 0.7).sin()).collect();
            let var = || Var::from_slice(&values, (4, 15), &Device::Cpu).unwrap();
            let (fused, slow) = (var(), var());
            let mut fused_moments = Tensor::zeros((2, 60), DType::F32, &Device::Cpu).unwrap();
            let mut slow_moments = fused_moments.copy().unwrap();
            for step in 1..=5 {
                let gradient: Vec<f32> = (0..60).map(|i| (i as f32 * step as f32).cos() * 0.1).collect();
                // A transposed gradient, as matrix products give for their right factor.
                let gradient = Tensor::from_vec(gradient, (15, 4), &Device::Cpu).unwrap().t().unwrap();
                let step =
                    AdamStep { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, decoupled, step };
                apply(&fused, &gradient, &mut fused_moments, step).unwrap();
                candle_step(&slow, &gradient, &mut slow_moments, step).unwrap();
            }
            for (a, b) in [(fused.as_tensor(), slow.as_tensor()), (&fused_moments, &slow_moments)] {
                let difference = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(difference < 1e-6, "decoupled {decoupled}: {difference}");
            }
        };
        check(false);
        check(true);
    }
}
