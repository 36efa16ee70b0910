//! What a backbone's weights expect of an image.
//!
//! Formula: `x[…, c] = (pixel[…, c] − mean[c]) / std[c]`, on pixels of 0 … 255.
//! Shapes: pixels `[batch, height, width, 3]` of `u8` in RGB order, x of the same shape and `f32`.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::error::{LearnError, Result};

/// The order in which a network takes the colours of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Red, green, blue: nearly everyone.
    Rgb,
    /// Blue, green, red: networks that were trained with Caffe.
    Bgr,
}

/// Size and scale of the images that a backbone was trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessing {
    /// Length in pixels that the shorter side is scaled to.
    pub resize: usize,
    /// Side in pixels of the square that is cut from the middle.
    pub crop: usize,
    /// Order of the colours.
    pub channels: ChannelOrder,
    /// Subtracted from each colour, in the network's order.
    pub mean: [f32; 3],
    /// Each colour is divided by this, in the network's order.
    pub std: [f32; 3],
}

/// Pixels that one task converts: fixed, as everywhere.
const CHUNK: usize = 1 << 14;

impl Preprocessing {
    /// What torchvision's models take: 224 of 256, mean and deviation of ImageNet.
    pub const IMAGENET: Self = Self {
        resize: 256,
        crop: 224,
        channels: ChannelOrder::Rgb,
        mean: [0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0],
        std: [0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0],
    };

    /// What TensorFlow's mobile networks take: about −1 … 1.
    pub const TENSORFLOW_LITE: Self =
        Self { resize: 256, crop: 224, channels: ChannelOrder::Rgb, mean: [127.0; 3], std: [128.0; 3] };

    /// What Caffe's networks take: blue first, means subtracted and not scaled.
    pub const CAFFE: Self =
        Self { resize: 256, crop: 224, channels: ChannelOrder::Bgr, mean: [104.0, 117.0, 128.0], std: [1.0; 3] };

    /// RGB pixels as the network takes them.
    ///
    /// # Errors
    /// If `pixels` are not `shape`, `[batch, height, width]`, times three.
    pub fn normalise(&self, pixels: &[u8], shape: [usize; 3], device: &Device) -> Result<Tensor> {
        let [batch, height, width] = shape;
        if pixels.len() != batch * height * width * 3 {
            return Err(LearnError::Shape {
                name: "pixels".into(),
                wanted: format!("{batch} × {height} × {width} × 3 bytes"),
                found: vec![pixels.len()],
            });
        }
        let source = match self.channels {
            ChannelOrder::Rgb => [0, 1, 2],
            ChannelOrder::Bgr => [2, 1, 0],
        };
        let table: [[f32; 256]; 3] =
            std::array::from_fn(|c| std::array::from_fn(|pixel| (pixel as f32 - self.mean[c]) / self.std[c]));
        let mut values = vec![0.0; pixels.len()];
        values.par_chunks_mut(3 * CHUNK).zip(pixels.par_chunks(3 * CHUNK)).for_each(|(values, pixels)| {
            for (value, pixel) in values.chunks_exact_mut(3).zip(pixels.chunks_exact(3)) {
                for c in 0..3 {
                    value[c] = table[c][usize::from(pixel[source[c]])];
                }
            }
        });
        Ok(Tensor::from_vec(values, (batch, height, width, 3), device)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_what_the_network_was_trained_on() {
        let check = |preprocessing: Preprocessing, expected: [f32; 3]| {
            let x = preprocessing.normalise(&[10, 128, 255], [1, 1, 1], &Device::Cpu).unwrap();
            let x: Vec<f32> = x.flatten_all().unwrap().to_vec1().unwrap();
            for (x, expected) in x.iter().zip(expected) {
                assert!((x - expected).abs() < 1e-6, "{x} for {expected}");
            }
        };
        check(Preprocessing::TENSORFLOW_LITE, [-117.0 / 128.0, 1.0 / 128.0, 1.0]);
        check(Preprocessing::CAFFE, [151.0, 11.0, -118.0]);
        let imagenet = [(10.0 / 255.0 - 0.485) / 0.229, (128.0 / 255.0 - 0.456) / 0.224, (1.0 - 0.406) / 0.225];
        check(Preprocessing::IMAGENET, imagenet);
    }

    #[test]
    fn too_few_pixels_are_refused() {
        let error = Preprocessing::CAFFE.normalise(&[0; 11], [2, 1, 2], &Device::Cpu).unwrap_err();
        insta::assert_snapshot!(error, @"`pixels` has shape [11], but 2 × 1 × 2 × 3 bytes is wanted");
    }
}
