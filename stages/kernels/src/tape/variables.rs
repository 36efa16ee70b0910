//! The backward pass from a loss to all variables.

use std::cell::RefCell;

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use crate::error::Result;

thread_local! {
    /// Gradients of variables found by the backward pass that [`backward`] is running on this thread.
    static GRADIENTS: RefCell<Option<Vec<(Tensor, Tensor)>>> = const { RefCell::new(None) };
}

/// The gradients of all variables that `loss` depends on: candle's `loss.backward()` without the zeros and the sum that candle
/// writes for every variable's gradient.
///
/// # Errors
/// If candle fails, or the graph has been through a backward pass before.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    let outer = GRADIENTS.replace(Some(Vec::new()));
    let gradients = loss.backward();
    let collected = GRADIENTS.replace(outer).unwrap_or_default();
    let mut gradients = gradients?;
    for (variable, gradient) in collected {
        let sum = match gradients.remove(&variable) {
            Some(other) => (other + gradient)?,
            None => gradient,
        };
        gradients.insert(&variable, sum);
    }
    Ok(gradients)
}

/// Stores the gradient of a variable for the running [`backward`]. Returns it if `x` is not a variable, or if candle's own backward
/// pass is running.
pub(super) fn keep_gradient(x: &Tensor, gradient: Tensor) -> Option<Tensor> {
    GRADIENTS.with_borrow_mut(|gradients| match gradients {
        Some(gradients) if x.is_variable() => {
            gradients.push((x.clone(), gradient));
            None
        }
        _ => Some(gradient),
    })
}
