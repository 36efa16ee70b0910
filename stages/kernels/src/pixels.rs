//! Pixels as activations.
//!
//! Formula: `x[…, c] = (pixel[…, s(c)] − mean[c]) / std[c]` in `f32`, where s(c) is c, or 2 − c if the channels are reversed.
//! Shapes: pixels `[batch, height, width, 3]` of `u8`, x of the same shape.

use candle_core::{DType, Device, Result, Tensor};

/// How pixels are normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelNorm {
    /// Whether the channels of the result are those of the pixels in reverse order, as BGR is RGB reversed.
    pub reversed: bool,
    /// Mean that is subtracted from each channel, in the order of the result.
    pub mean: [f32; 3],
    /// Standard deviation by which each channel is divided, in the order of the result.
    pub std: [f32; 3],
}

/// Number of values computed per block: a multiple of 3 channels and of the SIMD widths 4, 8 and 16.
const BLOCK: usize = 48;

impl PixelNorm {
    /// Normalises pixels, any number of them, into `values`.
    ///
    /// # Panics
    /// If there are not as many values as bytes.
    pub fn normalise(&self, pixels: &[u8], values: &mut [f32]) {
        assert_eq!(pixels.len(), values.len(), "there is one value per byte");
        if self.reversed {
            self.normalise_from([2, 1, 0], pixels, values);
        } else {
            self.normalise_from([0, 1, 2], pixels, values);
        }
    }

    /// Channel c of the result is computed from channel `source[c]` of the pixel.
    #[inline(always)]
    fn normalise_from(&self, source: [usize; 3], pixels: &[u8], values: &mut [f32]) {
        let mean: [f32; BLOCK] = std::array::from_fn(|index| self.mean[index % 3]);
        let std: [f32; BLOCK] = std::array::from_fn(|index| self.std[index % 3]);
        let (blocks, rest) = pixels.as_chunks::<BLOCK>();
        let (wide, narrow) = values.as_chunks_mut::<BLOCK>();
        for (values, pixels) in wide.iter_mut().zip(blocks) {
            for (index, value) in values.iter_mut().enumerate() {
                let pixel = pixels[index / 3 * 3 + source[index % 3]];
                *value = (f32::from(pixel) - mean[index]) / std[index];
            }
        }
        for (values, pixel) in narrow.chunks_exact_mut(3).zip(rest.chunks_exact(3)) {
            for (channel, value) in values.iter_mut().enumerate() {
                *value = (f32::from(pixel[source[channel]]) - mean[channel]) / std[channel];
            }
        }
    }
}

/// Memory of the host that pixels are written to and uploaded from.
pub(crate) trait PixelMemory: Send {
    /// Its size in bytes.
    fn size(&self) -> usize;

    /// All of its bytes, after the last upload has read them.
    fn bytes(&mut self) -> Result<&mut [u8]>;

    /// The activations of its first bytes, of which there are as many as elements in the result.
    fn upload(&mut self, dims: [usize; 4], norm: &PixelNorm, dtype: DType) -> Result<Tensor>;
}

/// Ordinary memory: pixels are normalised on the CPU, and the values uploaded.
pub(crate) struct Ordinary {
    bytes: Vec<u8>,
    device: Device,
}

impl Ordinary {
    pub(crate) fn new(size: usize, device: &Device) -> Self {
        Self { bytes: vec![0; size], device: device.clone() }
    }
}

impl PixelMemory for Ordinary {
    fn size(&self) -> usize {
        self.bytes.len()
    }

    fn bytes(&mut self) -> Result<&mut [u8]> {
        Ok(&mut self.bytes)
    }

    fn upload(&mut self, dims: [usize; 4], norm: &PixelNorm, dtype: DType) -> Result<Tensor> {
        let mut values = vec![0.0; dims.iter().product()];
        norm.normalise(&self.bytes[..values.len()], &mut values);
        Tensor::from_vec(values, &dims, &self.device)?.to_dtype(dtype)
    }
}
