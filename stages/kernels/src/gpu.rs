//! Opening a GPU, and the name of what its bits depend on.
//!
//! All work on a GPU goes to **one stream**: kernels run in the order of their launches, whichever thread launches them. Candle's
//! default is CUDA's per-thread stream, which is another stream on every thread and waits for no other, so that a tensor
//! made on one thread may be read on another before it is written.

use candle_core::Device;

use crate::error::{Error, Result};

/// Opens the GPU with this ordinal. Open each GPU once per process and share the handle: tensors of two handles live on two
/// streams and must not meet.
///
/// # Errors
/// There is no such GPU, no driver, or the program was built without the feature `cuda`.
pub fn open_gpu(ordinal: usize) -> Result<Device> {
    implementation::open(ordinal).map_err(|source| Error::Gpu { ordinal, source: Box::new(source) })
}

/// Number of GPUs; 0 without a driver or in a build without the feature `cuda`.
pub fn gpu_count() -> usize {
    implementation::count()
}

/// Whether this error, or one that caused it, is that a GPU has too little memory.
pub fn is_out_of_memory(error: &(dyn std::error::Error + 'static)) -> bool {
    /// The codes of the driver, cuBLAS and cuDNN. They are looked for in the text since candle boxes these errors without a type.
    const CODES: [&str; 4] = [
        "CUDA_ERROR_OUT_OF_MEMORY",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ];
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).any(|text| CODES.iter().any(|code| text.contains(code)))
}

/// Most bytes that tensors had on GPUs at the same time since the last call; 0 in a build without the feature `cuda`. What the libraries
/// allocate for themselves is not counted.
pub fn take_gpu_peak() -> usize {
    implementation::take_peak()
}

/// What the bits of floats on an open GPU depend on: the card and the versions of cuDNN and cuBLAS, such as
/// `cuda/NVIDIA H200/cudnn-9.19.0/cublas-13.1.0`. The precision of a stage is one of its parameters.
///
/// # Errors
/// The driver does not answer.
pub fn gpu_arithmetic(device: &Device) -> Result<String> {
    Ok(implementation::arithmetic(device)?)
}

#[cfg(feature = "cuda")]
mod implementation {
    use std::ptr;

    use candle_core::cuda_backend::WrapErr as _;
    use candle_core::{Device, Error, Result};
    use cudarc::cublas::sys::cublasGetVersion_v2;
    use cudarc::driver::CudaContext;
    use cudarc::driver::result::{device, mem_pool};
    use cudarc::driver::sys::CUmemPool_attribute;

    use crate::cuda::libraries;
    use crate::dispatch::cuda_kernels_are_on;

    pub(super) fn open(ordinal: usize) -> Result<Device> {
        libraries::load().map_err(Error::wrap)?;
        let device = Device::new_cuda_with_stream(ordinal)?;
        let stream = device.as_cuda_device()?.cuda_stream();
        let context = stream.context();
        // SAFETY: events order work between streams, and every allocation and launch is on this one stream.
        unsafe { context.disable_event_tracking() };
        // By default the pool returns free memory to the system at each synchronisation, and maps it again at the next step.
        let mut keep = u64::MAX;
        // SAFETY: the device is the one that was just opened, its default pool lives as long as the process, and the
        // attribute is a `u64` that is read before the call returns.
        unsafe {
            let pool = device::get_default_mem_pool(context.cu_device()).w()?;
            let value = ptr::from_mut(&mut keep).cast();
            mem_pool::set_attribute(pool, CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, value).w()?;
        }
        Ok(device)
    }

    pub(super) fn count() -> usize {
        if libraries::load_driver().is_err() {
            return 0;
        }
        CudaContext::device_count().map_or(0, |count| usize::try_from(count).unwrap_or(0))
    }

    pub(super) fn take_peak() -> usize {
        libraries::take_peak()
    }

    pub(super) fn arithmetic(device: &Device) -> Result<String> {
        let device = device.as_cuda_device()?;
        let name = device.cuda_stream().context().name().w()?;
        let mut version = 0;
        // SAFETY: the handle belongs to the open device, and the version is written before the call returns.
        let status = unsafe { cublasGetVersion_v2(*device.cublas_handle().handle(), &mut version) };
        status.result().w()?;
        let cudnn = cudarc::cudnn::result::get_version();
        let kernels = if cuda_kernels_are_on() { "" } else { "/candle" };
        Ok(format!("cuda/{name}/cudnn-{}/cublas-{}{kernels}", dotted(cudnn), dotted(version as usize)))
    }

    /// `9.19.0` for 91900, as both libraries number their versions.
    fn dotted(version: usize) -> String {
        format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
    }
}

#[cfg(not(feature = "cuda"))]
mod implementation {
    use candle_core::{Device, Result};

    pub(super) fn open(_: usize) -> Result<Device> {
        Err(without_cuda())
    }

    pub(super) fn count() -> usize {
        0
    }

    pub(super) fn take_peak() -> usize {
        0
    }

    pub(super) fn arithmetic(_: &Device) -> Result<String> {
        Err(without_cuda())
    }

    fn without_cuda() -> candle_core::Error {
        candle_core::Error::Msg(
            "this program was built without CUDA; build it with `cargo build --release --features cuda`".to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhausted_memory_is_recognised_through_causes() {
        let driver = |text: &str| Error::Candle { source: candle_core::Error::Cuda(text.to_owned().into()) };
        let text = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
        assert!(is_out_of_memory(&driver(text)));
        assert!(!is_out_of_memory(&driver("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"…\")")));
    }
}
