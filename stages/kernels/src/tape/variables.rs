//! Gradients of variables, collected without the zeros and the sum that candle writes for each.

use std::cell::RefCell;

use candle_core::Tensor;

thread_local! {
    /// Gradients of variables found by the backward pass that runs on this thread.
    static GRADIENTS: RefCell<Option<Vec<(Tensor, Tensor)>>> = const { RefCell::new(None) };
}

/// Runs a backward pass and returns its result with the variables and gradients that it kept.
pub(super) fn collecting<T>(run: impl FnOnce() -> T) -> (T, Vec<(Tensor, Tensor)>) {
    let outer = GRADIENTS.replace(Some(Vec::new()));
    let result = run();
    (result, GRADIENTS.replace(outer).unwrap_or_default())
}

/// Stores the gradient of a variable for the running [`collecting`]. Returns it if `x` is not a variable, or if candle's own backward
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
