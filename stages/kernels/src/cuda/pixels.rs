//! Images in page-locked memory: copied to the GPU as bytes, and normalised there.

use candle_core::cuda_backend::{CudaDevice, WrapErr as _};
use candle_core::{DType, Error, Result, Tensor};
use cudarc::driver::result::memcpy_htod_async;
use cudarc::driver::sys::CUevent_flags;
use cudarc::driver::{CudaEvent, PinnedHostSlice};

use super::launch::{Argument, Grid, PIXELS, launch, packing, wide};
use super::memory::Output;
use crate::pixels::{PixelMemory, PixelNorm};

/// Page-locked memory, from which the GPU reads without the host.
pub(crate) struct Pinned {
    memory: PinnedHostSlice<u8>,
    /// Recorded behind each copy out of the memory. The event that cudarc keeps beside the memory is not: it is recorded only in a
    /// context that tracks events, which `open_gpu` turns off.
    copied: CudaEvent,
    device: CudaDevice,
}

impl Pinned {
    pub(crate) fn new(size: usize, device: &CudaDevice) -> Result<Self> {
        /// Not write-combined: images are changed in place, and reading such memory is slow.
        const FLAGS: u32 = 0;
        let stream = device.cuda_stream();
        let context = stream.context();
        // SAFETY: all bytes are written in the next line.
        let memory = unsafe { context.alloc_pinned_with_flags::<u8>(size, FLAGS) };
        let mut memory = memory
            .map_err(|error| Error::Msg(format!("cannot allocate {size} bytes of page-locked memory: {error}")))?;
        memory.as_mut_slice().w()?.fill(0);
        // Whoever waits sleeps, and leaves the processor to other threads.
        let copied = context.new_event(Some(CUevent_flags::CU_EVENT_BLOCKING_SYNC)).w()?;
        Ok(Self { memory, copied, device: device.clone() })
    }
}

impl PixelMemory for Pinned {
    fn size(&self) -> usize {
        self.memory.len()
    }

    fn bytes(&mut self) -> Result<&mut [u8]> {
        self.copied.synchronize().w()?;
        self.memory.as_mut_slice().w()
    }

    fn upload(&mut self, dims: [usize; 4], norm: &PixelNorm, dtype: DType) -> Result<Tensor> {
        let count = dims.iter().product();
        let stream = self.device.cuda_stream();
        let pixels = Output::new(count, DType::U8, &self.device)?;
        let output = Output::new(&dims, dtype, &self.device)?;
        let (from, to) = (pixels.pointer()?, output.pointer()?);
        let (pack, name) = packing(dtype, count, &[to])?;
        let bytes = &self.memory.as_slice().w()?[..count];
        // SAFETY: `pixels` has as many bytes. Those of the host stay as they are until they are copied: `bytes` and `drop` wait for
        // the event.
        unsafe { memcpy_htod_async(from, bytes, stream.cu_stream()).w()? };
        self.copied.record(&stream).w()?;
        let mut arguments = vec![Argument::Pointer(from), Argument::Pointer(to), Argument::Int(norm.reversed.into())];
        arguments.extend(norm.mean.into_iter().chain(norm.std).map(Argument::Float));
        arguments.push(wide(count / pack));
        let kernel = format!("normalise_pixels_{name}");
        // SAFETY: the arguments are those of the kernel, and both tensors have `count` elements, a multiple of `pack` and of three.
        unsafe { launch(&self.device, PIXELS, &kernel, Grid::over(count / pack), &arguments)? };
        Ok(output.into_tensor())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // After an error the GPU has stopped and reads nothing more.
        let _ = self.copied.synchronize();
    }
}
