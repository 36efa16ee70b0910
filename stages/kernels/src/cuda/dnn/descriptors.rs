//! cuDNN's objects, destroyed when they are dropped.

use candle_core::cuda_backend::{CudaDevice, WrapErr as _};
use candle_core::{Error, Result};
use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys;

/// cuDNN's state on one device; all its work goes to the device's stream.
pub(super) struct Handle(pub(super) sys::cudnnHandle_t);

// SAFETY: a handle may be used by another thread than the one that made it, though not by two at once, which its lock prevents.
unsafe impl Send for Handle {}

impl Handle {
    pub(super) fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().w()?;
        let handle = Self(result::create_handle().map_err(failed("open the GPU"))?);
        // SAFETY: handle and stream are valid; the stream outlives the handle, since devices are open until the process ends.
        unsafe { result::set_stream(handle.0, stream.cu_stream().cast()).map_err(failed("use the GPU's stream"))? };
        Ok(handle)
    }
}

macro_rules! descriptor {
    ($(#[$doc:meta])* $name:ident, $handle:ty, $create:path, $destroy:path) => {
        $(#[$doc])*
        pub(super) struct $name(pub(super) $handle);

        // SAFETY: a descriptor is plain data behind a pointer, and is not changed once it has been made.
        unsafe impl Send for $name {}
        // SAFETY: as above.
        unsafe impl Sync for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the descriptor was created by cuDNN and is destroyed once. There is nothing to do if that fails.
                let _ = unsafe { $destroy(self.0) };
            }
        }
    };
}

descriptor!(
    /// Sizes and layout of activations.
    TensorDescriptor,
    sys::cudnnTensorDescriptor_t,
    result::create_tensor_descriptor,
    result::destroy_tensor_descriptor
);
descriptor!(
    /// Sizes and layout of a weight.
    FilterDescriptor,
    sys::cudnnFilterDescriptor_t,
    result::create_filter_descriptor,
    result::destroy_filter_descriptor
);
descriptor!(
    /// Stride, padding, groups and precision.
    ConvDescriptor,
    sys::cudnnConvolutionDescriptor_t,
    result::create_convolution_descriptor,
    result::destroy_convolution_descriptor
);

impl TensorDescriptor {
    /// Activations of these sizes: batch, height, width and channels, whatever their order in memory.
    pub(super) fn new(
        format: sys::cudnnTensorFormat_t,
        dtype: sys::cudnnDataType_t,
        [batch, height, width, channels]: [i32; 4],
    ) -> Result<Self> {
        let made = Self(result::create_tensor_descriptor().map_err(failed("describe activations"))?);
        // SAFETY: the descriptor exists.
        let set = unsafe { result::set_tensor4d_descriptor(made.0, format, dtype, [batch, channels, height, width]) };
        set.map_err(failed("describe activations"))?;
        Ok(made)
    }
}

impl FilterDescriptor {
    /// A weight of these sizes: out, height, width and depth, whatever their order in memory.
    pub(super) fn new(
        format: sys::cudnnTensorFormat_t,
        dtype: sys::cudnnDataType_t,
        [out, height, width, depth]: [i32; 4],
    ) -> Result<Self> {
        let made = Self(result::create_filter_descriptor().map_err(failed("describe a weight"))?);
        // SAFETY: the descriptor exists.
        let set = unsafe { result::set_filter4d_descriptor(made.0, dtype, format, [out, depth, height, width]) };
        set.map_err(failed("describe a weight"))?;
        Ok(made)
    }
}

impl ConvDescriptor {
    pub(super) fn new(stride: i32, padding: [i32; 2], groups: i32, math: sys::cudnnMathType_t) -> Result<Self> {
        let action = "describe a convolution";
        let made = Self(result::create_convolution_descriptor().map_err(failed(action))?);
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let sums = sys::cudnnDataType_t::CUDNN_DATA_FLOAT;
        // SAFETY: the descriptor exists.
        unsafe {
            result::set_convolution2d_descriptor(made.0, padding[0], padding[1], stride, stride, 1, 1, mode, sums)
                .map_err(failed(action))?;
            result::set_convolution_group_count(made.0, groups).map_err(failed(action))?;
            result::set_convolution_math_type(made.0, math).map_err(failed(action))?;
        }
        Ok(made)
    }
}

/// An error of cuDNN with what was being done.
pub(super) fn failed(action: &'static str) -> impl FnOnce(CudnnError) -> Error {
    move |error| Error::Cuda(format!("cuDNN cannot {action}: {error}").into())
}
