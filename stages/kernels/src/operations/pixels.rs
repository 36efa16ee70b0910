//! Batches of images on their way to a device.

use candle_core::{DType, Device, Tensor};

use crate::dispatch;
use crate::error::{Result, shape_error};
use crate::pixels::{PixelMemory, PixelNorm};

/// Memory of the host from which batches of images are uploaded as bytes, and normalised on the device.
///
/// For a GPU the memory is page-locked: [`upload`](Self::upload) only enqueues the copy and the normalisation, and returns at once.
/// [`pixels`](Self::pixels) waits until the GPU has read the previous batch. Alternate between two buffers to write one batch while
/// the GPU reads the other.
pub struct PixelBuffer {
    memory: Option<Box<dyn PixelMemory>>,
    /// Number of bytes of the batch, of which the memory may have more.
    count: usize,
    device: Device,
}

impl PixelBuffer {
    /// A buffer for uploads to `device`, without memory: that is allocated for the first batch, and again for a larger one.
    pub fn new(device: &Device) -> Self {
        Self { memory: None, count: 0, device: device.clone() }
    }

    /// Memory for the pixels of the next batch, `count` bytes with any contents.
    ///
    /// # Errors
    /// If there is too little memory that can be page-locked, or the GPU has failed.
    pub fn pixels(&mut self, count: usize) -> Result<&mut [u8]> {
        let memory = match self.memory.take() {
            Some(memory) if memory.size() >= count => memory,
            _ => dispatch::pixel_memory(count.max(1), &self.device)?,
        };
        self.count = count;
        Ok(&mut self.memory.insert(memory).bytes()?[..count])
    }

    /// The pixels on the device, normalised: `dims` are `[batch, height, width, 3]`, and the result has this shape and is rounded
    /// from `f32` to `dtype`. In `f32` it has the same bits on every device.
    ///
    /// # Errors
    /// If the shape is not that of the pixels, or the device is out of memory.
    pub fn upload(&mut self, dims: [usize; 4], norm: &PixelNorm, dtype: DType) -> Result<Tensor> {
        let fits = dims[3] == 3 && dims.iter().product::<usize>() == self.count;
        match &mut self.memory {
            Some(memory) if fits && self.count > 0 => Ok(memory.upload(dims, norm, dtype)?),
            _ => {
                let problem = format!("{} bytes are not images of the shape {dims:?}, with three channels", self.count);
                Err(shape_error("upload", problem))
            }
        }
    }
}
