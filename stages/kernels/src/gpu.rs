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

/// What the bits of floats on an open GPU depend on: the card and the version of cuBLAS, `cuda/NVIDIA H200/cublas-13.1.0`.
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
    use candle_core::cuda_backend::cudarc::cublas::sys::cublasGetVersion_v2;
    use candle_core::cuda_backend::cudarc::driver::CudaContext;
    use candle_core::cuda_backend::cudarc::driver::result::{device, mem_pool};
    use candle_core::cuda_backend::cudarc::driver::sys::CUmemPool_attribute;
    use candle_core::{Device, Result};

    pub(super) fn open(ordinal: usize) -> Result<Device> {
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
        CudaContext::device_count().map_or(0, |count| usize::try_from(count).unwrap_or(0))
    }

    pub(super) fn arithmetic(device: &Device) -> Result<String> {
        let device = device.as_cuda_device()?;
        let name = device.cuda_stream().context().name().w()?;
        let mut version = 0;
        // SAFETY: the handle belongs to the open device, and the version is written before the call returns.
        let status = unsafe { cublasGetVersion_v2(*device.cublas_handle().handle(), &mut version) };
        status.result().w()?;
        let (major, minor, patch) = (version / 10_000, version / 100 % 100, version % 100);
        Ok(format!("cuda/{name}/cublas-{major}.{minor}.{patch}"))
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

    pub(super) fn arithmetic(_: &Device) -> Result<String> {
        Err(without_cuda())
    }

    fn without_cuda() -> candle_core::Error {
        candle_core::Error::Msg(
            "this program was built without CUDA; build it with `cargo build --release --features cuda`".to_owned(),
        )
    }
}
