//! CPU kernels for `f32` tensors, with gradients.
//!
//! Reading order: [`microkernel`] (the register tiles that all products are made of), [`packing`] and [`epilogue`], [`window`]
//! (which pixels a sliding window reads), [`conv`] and [`winograd`], then [`pool`], [`affine`] and [`activation_gradient`].
//! [`disjoint`], [`scratch`], [`storage`], [`sums`] and [`gradient`] are what they share.

mod activation_gradient;
pub(crate) mod affine;
pub(crate) mod conv;
mod disjoint;
mod epilogue;
mod gradient;
mod microkernel;
mod packing;
pub(crate) mod pool;
mod scratch;
mod storage;
mod sums;
mod window;
mod winograd;
