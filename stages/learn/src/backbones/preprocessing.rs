//! What a backbone's weights expect of an image.
//!
//! Formula: `x[…, c] = (pixel[…, c] − mean[c]) / std[c]`, on pixels of 0 … 255.
//! Shapes: pixels `[height, width, 3]` of `u8` in RGB order, x of the same shape and `f32`.

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

/// Values that are made side by side: whole pixels and whole vectors, whether these hold 4, 8 or 16 values.
const BLOCK: usize = 48;

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

    /// Writes RGB pixels, any number of them row by row, as the network takes them.
    ///
    /// # Panics
    /// There are not as many values as bytes.
    pub fn normalise(&self, pixels: &[u8], values: &mut [f32]) {
        assert_eq!(pixels.len(), values.len(), "each byte becomes one value");
        match self.channels {
            ChannelOrder::Rgb => self.normalise_from([0, 1, 2], pixels, values),
            ChannelOrder::Bgr => self.normalise_from([2, 1, 0], pixels, values),
        }
    }

    /// The value in place c of a pixel is made from its byte in place `source[c]`.
    #[inline(always)]
    fn normalise_from(&self, source: [usize; 3], pixels: &[u8], values: &mut [f32]) {
        let mean: [f32; BLOCK] = std::array::from_fn(|place| self.mean[place % 3]);
        let std: [f32; BLOCK] = std::array::from_fn(|place| self.std[place % 3]);
        let (blocks, rest) = pixels.as_chunks::<BLOCK>();
        let (wide, narrow) = values.as_chunks_mut::<BLOCK>();
        for (values, pixels) in wide.iter_mut().zip(blocks) {
            for (place, value) in values.iter_mut().enumerate() {
                let pixel = pixels[place / 3 * 3 + source[place % 3]];
                *value = (f32::from(pixel) - mean[place]) / std[place];
            }
        }
        for (values, pixel) in narrow.chunks_exact_mut(3).zip(rest.chunks_exact(3)) {
            for (place, value) in values.iter_mut().enumerate() {
                *value = (f32::from(pixel[source[place]]) - mean[place]) / std[place];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_what_the_network_was_trained_on() {
        let check = |preprocessing: Preprocessing, expected: [f32; 3]| {
            // Twenty pixels: a whole block and a part of one.
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
