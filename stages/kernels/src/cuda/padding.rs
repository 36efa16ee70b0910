//! Zeros around images and behind channels: cuDNN takes the same padding on opposite sides, and its `bf16` kernels want channels in
//! multiples of eight.

use candle_core::{DType, Result, Tensor};

use super::dnn::Sizes;
use super::launch::{Argument, Grid, Margins, PADDING, int, launch, small, suffix};
use super::memory::{Output, device, pointer};
use crate::geometry::{Conv2d, ConvGeometry, Padding};

/// Channels that cuDNN's `bf16` kernels take at once.
const CHANNELS: usize = 8;

/// A convolution as cuDNN takes it: what does not fit is padded with zeros first, which changes no sum, and cut off afterwards.
#[derive(Clone, Copy)]
pub(super) struct Fitted {
    pub(super) sizes: Sizes,
    /// Rows above and columns left that are added to x.
    first: [usize; 2],
    /// `[batch, height, width, channels]` of x.
    x: [usize; 4],
}

impl Fitted {
    pub(super) fn new(geometry: &ConvGeometry, dtype: DType) -> Self {
        let ConvGeometry { batch, height, width, channels, out, kernel, options } = *geometry;
        let Conv2d { stride, padding, groups, precision } = options;
        let Padding { top, bottom, left, right } = padding;
        let is_symmetric = top == bottom && left == right;
        let added = if is_symmetric { [0; 4] } else { [top, bottom, left, right] };
        let padded = match dtype {
            DType::BF16 if groups == 1 => channels.next_multiple_of(CHANNELS),
            _ => channels,
        };
        let sizes = Sizes {
            x: [batch, height + added[0] + added[1], width + added[2] + added[3], padded],
            weight: [out[3], kernel.0, kernel.1, padded / groups],
            y: out,
            stride,
            padding: if is_symmetric { [top, left] } else { [0, 0] },
            dtype,
            precision,
        };
        Self { sizes, first: [added[0], added[2]], x: [batch, height, width, channels] }
    }

    /// The input with its zeros.
    pub(super) fn input(self, x: &Tensor) -> Result<Tensor> {
        if self.sizes.x == self.x {
            return Ok(x.clone());
        }
        let output = Output::new(&self.sizes.x, x.dtype(), &device(x)?)?;
        self.copy("pad", x, &output, self.sizes.x[3])?;
        Ok(output.into_tensor())
    }

    /// The gradient of the input, from that of the input with its zeros.
    pub(super) fn cropped(self, gradient: Output) -> Result<Tensor> {
        let gradient = gradient.into_tensor();
        if self.sizes.x == self.x {
            return Ok(gradient);
        }
        let output = Output::new(&self.x, gradient.dtype(), &device(&gradient)?)?;
        self.copy("crop", &gradient, &output, self.x[3])?;
        Ok(output.into_tensor())
    }

    fn copy(self, kernel: &str, from: &Tensor, to: &Output, to_channels: usize) -> Result<()> {
        let ([_, height, width, channels], [_, padded_height, padded_width, padded_channels]) = (self.x, self.sizes.x);
        let margins = Margins {
            height: small(height)?,
            width: small(width)?,
            channels: small(channels)?,
            padded_height: small(padded_height)?,
            padded_width: small(padded_width)?,
            padded_channels: small(padded_channels)?,
            top: small(self.first[0])?,
            left: small(self.first[1])?,
        };
        let device = device(from)?;
        // The kernels number pixels.
        let pixels = to.elements() / to_channels;
        let [from, to] = [pointer(from)?, to.pointer()?].map(Argument::Pointer);
        let arguments = [from, to, Argument::Margins(margins), int(pixels)?];
        let name = format!("{kernel}_{}", suffix(self.sizes.dtype)?);
        // SAFETY: the arguments are those of the kernel; one tensor has the sizes with padding, the other those without.
        unsafe { launch(&device, PADDING, &name, Grid::over(pixels), &arguments) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cudnn_does_not_take_is_padded() {
        let options =
            Conv2d { stride: 2, padding: Padding { top: 0, bottom: 1, left: 0, right: 1 }, ..Conv2d::default() };
        let geometry = ConvGeometry::new("conv2d", (2, 9, 9, 3), (8, 3, 3, 3), &options).expect("the sizes match");
        let fitted = Fitted::new(&geometry, DType::BF16);
        assert_eq!((fitted.first, fitted.x), ([0, 0], [2, 9, 9, 3]));
        assert_eq!(fitted.sizes.x, [2, 10, 10, 8]);
        assert_eq!(fitted.sizes.weight, [8, 3, 3, 8]);
        assert_eq!(fitted.sizes.padding, [0, 0]);
        assert_eq!(Fitted::new(&geometry, DType::F32).sizes.x, [2, 10, 10, 3]);
    }
}
