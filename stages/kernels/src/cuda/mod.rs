//! NVIDIA GPUs: convolutions by cuDNN, matrix products by cuBLAS, and kernels of our own for everything that is bound by memory.
//!
//! Activations are NHWC in `f32` or `bf16`; parameters and their gradients are `f32`. Every function here takes and returns
//! candle's tensors; nothing outside this folder knows of CUDA. Sums have a fixed order and no atomic additions, and algorithms are
//! chosen by cuDNN's heuristic among the deterministic ones, never by timing: two runs on the same card and libraries give the
//! same bits.
//!
//! Reading order: `libraries` (NVIDIA's libraries, loaded at run time); `memory` and `launch` (pointers and kernels); `products`
//! (cuBLAS) and `dnn` (cuDNN); `weights` and `channels` (passes over weights and activations); then the operations: `convolution`,
//! `affine`, `pool`, `tokens`, `attention`, `adam`. The kernels are in `kernels`, compiled to PTX by `build.rs`.

pub(crate) mod adam;
pub(crate) mod affine;
pub(crate) mod attention;
mod channels;
pub(crate) mod convolution;
mod dnn;
mod launch;
pub(crate) mod libraries;
mod memory;
pub(crate) mod pool;
mod products;
pub(crate) mod tokens;
mod weights;
