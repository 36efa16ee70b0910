//! Autograd bookkeeping: connects kernels to candle's backward pass without its cost per activation.
//!
//! For every gradient that an operation returns, candle's backward pass writes a tensor of zeros and a sum, each as large as the
//! activation, and it keeps every activation until the loss is dropped. Therefore an activation made by a kernel has two
//! tensors: the one that callers see, and a one-element *token* that represents it in candle's graph. Kernels connect tokens;
//! candle visits them in the right order and adds up nothing else. The gradient itself is accumulated in place in the
//! activation's [`GradientSlot`], and what an operation saved is freed as soon as its gradient has been computed.
//!
//! ```text
//!   x ── ToTape ──► token(x) ──┐
//!   w ── ToTape ──► token(w) ──┴─ Operation ──► token(y) ── FromTape ──► y        (candle's graph)
//! ```
//! `ToTape` returns the slot's gradient to candle where a tensor that candle made (a variable, the result of another operation)
//! enters; `FromTape` adds the gradient that candle's operations have for `y` to its slot. A kernel that receives `y` again
//! finds its token in a table and skips both.
//!
//! As in PyTorch, a second backward pass over the same graph is an error.
//!
//! This tape does not depend on the device: an implementation chooses the form of its gradients through [`Gradient`] (`Vec<f32>` in
//! `cpu`) and hands over its results as [`candle_core::Storage`]. On a GPU even tokens would cost more than small layers; there,
//! `walk` keeps a list of operations of its own.
//!
//! Reading order: `gradient`, `variables`, `record`; then `walk` and `backward`.

mod backward;
mod gradient;
mod record;
#[cfg(test)]
mod tests;
mod variables;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod walk;

pub use backward::backward;
pub(crate) use gradient::{Gradient, GradientSlot};
pub(crate) use record::{Backward, record, slot_of, watch};
