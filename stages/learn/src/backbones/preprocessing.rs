//! Preprocessing of images that a backbone's weights expect.
//!
//! Formula: `x[…, c] = (pixel[…, c] − mean[c]) / std[c]`, for pixels between 0 and 255.
//! Shapes: pixels `[height, width, 3]` of `u8` in RGB order, x of the same shape and `f32`.

use dnc_kernels::PixelNorm;

/// Order of the colour channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Red, green, blue: nearly all networks.
    Rgb,
    /// Blue, green, red: networks trained with Caffe.
    Bgr,
}

/// Size and normalisation of the images that a backbone was trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessing {
    /// Length in pixels to which the shorter side is resized.
    pub resize: usize,
    /// Side length in pixels of the centre crop.
    pub crop: usize,
    /// Order of the colour channels.
    pub channels: ChannelOrder,
    /// Mean that is subtracted from each channel, in the network's channel order.
    pub mean: [f32; 3],
    /// Standard deviation by which each channel is divided, in the network's channel order.
    pub std: [f32; 3],
}

impl Preprocessing {
    /// torchvision's models: crop 224 of 256, mean and standard deviation of ImageNet.
    pub const IMAGENET: Self = Self {
        resize: 256,
        crop: 224,
        channels: ChannelOrder::Rgb,
        mean: [0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0],
        std: [0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0],
    };

    /// TensorFlow's mobile networks: values between about −1 and 1.
    pub const TENSORFLOW_LITE: Self =
        Self { resize: 256, crop: 224, channels: ChannelOrder::Rgb, mean: [127.0; 3], std: [128.0; 3] };

    /// Caffe's networks: BGR, means subtracted, not scaled.
    pub const CAFFE: Self =
        Self { resize: 256, crop: 224, channels: ChannelOrder::Bgr, mean: [104.0, 117.0, 128.0], std: [1.0; 3] };

    /// Normalises RGB pixels, any number of them, into `values`.
    ///
    /// # Panics
    /// If there are not as many values as bytes.
    pub fn normalise(&self, pixels: &[u8], values: &mut [f32]) {
        self.norm().normalise(pixels, values);
    }

    /// The normalisation of RGB pixels, for kernels.
    pub fn norm(&self) -> PixelNorm {
        PixelNorm { reversed: self.channels == ChannelOrder::Bgr, mean: self.mean, std: self.std }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_normalised_for_each_family() {
        let check = |preprocessing: Preprocessing, expected: [f32; 3]| {
            // Twenty pixels: one full block and part of another.
            let mut x = [0.0; 60];
            preprocessing.normalise(&[10, 128, 255].repeat(20), &mut x);
            for (x, expected) in x.iter().zip(expected.repeat(20)) {
                assert!((x - expected).abs() < 1e-6, "{x} for {expected}");
            }
        };
        check(Preprocessing::TENSORFLOW_LITE, [-117.0 / 128.0, 1.0 / 128.0, 1.0]);
        check(Preprocessing::CAFFE, [151.0, 11.0, -118.0]);
        let imagenet = [(10.0 / 255.0 - 0.485) / 0.229, (128.0 / 255.0 - 0.456) / 0.224, (1.0 - 0.406) / 0.225];
        check(Preprocessing::IMAGENET, imagenet);
    }
}
