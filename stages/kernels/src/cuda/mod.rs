//! NVIDIA GPUs: convolutions by cuDNN, matrix products by cuBLASLt, and kernels of our own for everything that is bound by memory.
//!
//! Activations are NHWC in `f32` or `bf16`; parameters and their gradients are `f32`. Every function here takes and returns
//! candle's tensors; nothing outside this folder knows of CUDA. Sums have a fixed order and no atomic additions, and algorithms are
//! chosen by the libraries' heuristics among the deterministic ones, never by timing: two runs on the same card and libraries give
//! the same bits.
//!
//! Reading order: `libraries` (NVIDIA's libraries, loaded at run time); `per_device`, `memory` and `launch` (state, pointers and
//! kernels); `products`, `matrices` and `lt` (cuBLASLt) and `dnn` (cuDNN); `weights`, `channels`, `padding` and `patches` (passes
//! over weights and activations); then the operations: `convolution` with `passes`, `depthwise` and `finish`, `affine`, `pool`,
//! `tokens`, `sequence`, `attention` with `heads`, `pixels`, `adam`, `neighbours`, `kmeans`. The kernels are in `kernels`, compiled
//! to PTX by `build.rs`.

pub(crate) mod adam;
pub(crate) mod affine;
pub(crate) mod attention;
pub(crate) mod channels;
pub(crate) mod convolution;
mod depthwise;
mod dnn;
mod finish;
mod fused_attention;
mod heads;
pub(crate) mod kmeans;
mod launch;
pub(crate) mod libraries;
mod lt;
mod matrices;
mod memory;
pub(crate) mod neighbours;
mod padding;
mod passes;
mod patches;
mod per_device;
pub(crate) mod pixels;
pub(crate) mod pool;
mod products;
pub(crate) mod sequence;
pub(crate) mod tokens;
pub(crate) mod weights;
