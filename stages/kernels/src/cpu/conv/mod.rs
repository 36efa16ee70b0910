//! Convolution kernels over NHWC activations with torchvision's OIHW weights.
//!
//! Reading order: [`operation`] (the differentiable operation), [`passes`] (forward pass and gradients over slices), [`shape`]
//! (sizes, and which kernel runs), [`weights`] (weight layouts); then the kernels [`direct`], [`weight_gradient`] and
//! [`depthwise`]. 3×3 convolutions of stride 1 mostly run in [`super::winograd`].

pub(super) mod depthwise;
mod direct;
mod operation;
mod passes;
mod shape;
mod weight_gradient;
mod weights;

pub(crate) use operation::{convolution, linear};
