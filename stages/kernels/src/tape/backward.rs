//! The backward pass from a loss to all variables.

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use super::variables::collecting;
use crate::error::Result;

/// The gradients of all variables that `loss` depends on: candle's `loss.backward()` through recorded operations, and without the zeros
/// and the sum that candle writes for every variable's gradient.
///
/// # Errors
/// If candle fails, or the graph has been through a backward pass before.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    #[cfg(feature = "cuda")]
    let (gradients, collected) = collecting(|| super::walk::walk(loss));
    #[cfg(not(feature = "cuda"))]
    let (gradients, collected) = collecting(|| loss.backward());
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
