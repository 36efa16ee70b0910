//! The three passes of a convolution with a folded weight, by the route that its sizes ask for.

use candle_core::{DType, Result, Tensor};

use super::channels::Epilogue;
use super::dnn::{Direction, Tail, convolve, convolve_with};
use super::finish::OfFolded;
use super::memory::{Output, device, pointer, pointer_or_null};
use super::padding::Fitted;
use super::products::{Finish, Matrices, Product};
use super::weights::{Folded, Layout};
use super::{depthwise, patches};
use crate::activation::Activation;
use crate::geometry::{Conv2d, ConvGeometry, Padding};

/// What computes a convolution, by its sizes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// One matrix product over all pixels.
    Product,
    /// One matrix product over windows that do not overlap.
    Patches,
    /// One matrix product over all windows of images with few channels. The gradient of such images, which are rarely anything but the
    /// input of a network, is computed by cuDNN.
    Columns,
    /// The depthwise kernels of this crate.
    Depthwise,
    /// cuDNN.
    Dnn,
}

impl Route {
    fn of(geometry: &ConvGeometry) -> Self {
        let Conv2d { stride, padding, groups, .. } = geometry.options;
        if geometry.kernel == (1, 1) && stride == 1 && padding == Padding::default() && groups == 1 {
            Self::Product
        } else if patches::are_apart(geometry) {
            Self::Patches
        } else if patches::are_thin(geometry) {
            Self::Columns
        } else if groups == geometry.channels && geometry.out[3] == groups {
            Self::Depthwise
        } else {
            Self::Dnn
        }
    }
}

/// The passes of a convolution.
#[derive(Clone, Copy)]
pub(super) struct Pass {
    geometry: ConvGeometry,
    route: Route,
    /// Type of the activations.
    dtype: DType,
}

impl Pass {
    pub(super) fn new(geometry: ConvGeometry, dtype: DType) -> Self {
        Self { geometry, route: Route::of(&geometry), dtype }
    }

    /// The layout of the folded weight.
    pub(super) fn layout(&self) -> Layout {
        match self.route {
            Route::Depthwise => Layout::Depthwise,
            Route::Dnn => Layout::Taps(self.fitted().sizes.weight[3]),
            Route::Columns => Layout::Rows(patches::row(&self.geometry)),
            Route::Product | Route::Patches => Layout::Taps(self.geometry.channels),
        }
    }

    /// The shape of the output.
    pub(super) fn out(&self) -> [usize; 4] {
        self.geometry.out
    }

    /// `act(conv(x, weight) + shift + residual)`.
    pub(super) fn forward(
        self,
        x: &Tensor,
        folded: &Folded,
        residual: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Output> {
        let ConvGeometry { out, .. } = self.geometry;
        let Folded { weight, shift, rounded_shift } = folded;
        let epilogue = Epilogue { scale: None, shift: shift.as_ref(), residual, activation };
        match self.route {
            Route::Depthwise => depthwise::forward(&self.geometry, x, weight, epilogue),
            Route::Product | Route::Patches | Route::Columns => {
                let (x, device, width) = (self.rows(x)?, device(x)?, self.width());
                let output = Output::new(&out, self.dtype, &device)?;
                let product = self.product([self.pixels(), out[3], width], self.dtype);
                let finish = Finish {
                    addend: pointer_or_null(residual)?,
                    shift: pointer_or_null(rounded_shift.as_ref())?,
                    relu: activation == Activation::Relu,
                };
                let [rows, weight] = [Matrices::one(pointer(&x)?, width), Matrices::one(pointer(weight)?, width)];
                let result = Matrices::one(output.pointer()?, out[3]);
                // SAFETY: x is `[pixels, width]`, the weight `[out, width]`, and output and residual are `[pixels, out]`.
                unsafe { product.enqueue_with(&device, rows, weight.transposed(), result, finish)? };
                let rest = Epilogue { activation, ..Epilogue::default() };
                self.finish(&x, output, if finish.relu { Epilogue::default() } else { rest })
            }
            Route::Dnn => {
                let fitted = self.fitted();
                let x = fitted.input(x)?;
                let tail = Tail { residual: residual.is_some(), shift: shift.is_some(), activation };
                if tail != Tail::default()
                    && let Some(output) =
                        convolve_with(&fitted.sizes, tail, [&x, weight], residual, rounded_shift.as_ref())?
                {
                    return Ok(output);
                }
                let output = convolve(Direction::Forward, &fitted.sizes, &x, weight)?;
                self.finish(&x, output, epilogue)
            }
        }
    }

    /// Applies in place what a library has left.
    fn finish(self, like: &Tensor, output: Output, epilogue: Epilogue) -> Result<Output> {
        if !epilogue.is_identity() {
            // SAFETY: it works in place.
            unsafe { epilogue.apply(like, output.pointer()?, &output, self.geometry.out[3])? };
        }
        Ok(output)
    }

    /// The pass for the gradient of x, which may take the folded weight in another layout.
    pub(super) fn for_input(self) -> Self {
        if self.route == Route::Columns { Self { route: Route::Dnn, ..self } } else { self }
    }

    /// The gradient of x, added to another if there is one: `[batch, height, width, channels]`. Of [`Self::for_input`].
    pub(super) fn input_gradient(self, folded: &Tensor, gradient: &Tensor, other: Option<Tensor>) -> Result<Tensor> {
        let ConvGeometry { batch, height, width, channels, .. } = self.geometry;
        let computed = match self.route {
            Route::Dnn | Route::Columns => {
                let fitted = self.fitted();
                fitted.cropped(convolve(Direction::Input, &fitted.sizes, folded, gradient)?)?
            }
            Route::Depthwise => depthwise::input_gradient(&self.geometry, folded, gradient)?,
            Route::Patches => {
                let (rows, other) =
                    (self.rows_gradient(folded, gradient, None)?, other.map(|other| other.contiguous()));
                return patches::scatter(&self.geometry, &rows, other.transpose()?.as_ref());
            }
            Route::Product => {
                let rows = self.rows_gradient(folded, gradient, other.as_ref())?;
                return rows.reshape((batch, height, width, channels));
            }
        };
        match other {
            Some(other) => super::channels::sum(&computed, &other),
            None => Ok(computed),
        }
    }

    /// The gradient of the rows of a product, `[pixels, width]`, added to another if there is one.
    fn rows_gradient(self, folded: &Tensor, gradient: &Tensor, other: Option<&Tensor>) -> Result<Tensor> {
        let (device, width, out) = (device(gradient)?, self.width(), self.geometry.out[3]);
        let output = Output::new((self.pixels(), width), self.dtype, &device)?;
        let product = self.product([self.pixels(), width, out], self.dtype);
        let other = other.map(Tensor::contiguous).transpose()?;
        let finish = Finish::adding(pointer_or_null(other.as_ref())?);
        let result = Matrices::one(output.pointer()?, width);
        let [gradient, folded] = [Matrices::one(pointer(gradient)?, out), Matrices::one(pointer(folded)?, width)];
        // SAFETY: the gradient is `[pixels, out]`, the weight `[out, width]`, and output and sum are `[pixels, width]`.
        unsafe { product.enqueue_with(&device, gradient, folded, result, finish)? };
        Ok(output.into_tensor())
    }

    /// The gradient of the folded weight, in its layout.
    pub(super) fn weight_gradient(self, x: &Tensor, gradient: &Tensor) -> Result<OfFolded> {
        let out = self.geometry.out[3];
        match self.route {
            Route::Depthwise => Ok(OfFolded::Depthwise(depthwise::weight_gradient(&self.geometry, x, gradient)?)),
            Route::Dnn => {
                let fitted = self.fitted();
                let x = fitted.input(x)?;
                Ok(OfFolded::Taps(convolve(Direction::Weight, &fitted.sizes, &x, gradient)?.into_tensor()))
            }
            Route::Product | Route::Patches | Route::Columns => {
                let (x, device, width) = (self.rows(x)?, device(x)?, self.width());
                let output = Output::new((out, width), DType::F32, &device)?;
                let product = self.product([out, width, self.pixels()], DType::F32);
                let result = Matrices::one(output.pointer()?, width);
                let [gradient, rows] = [Matrices::one(pointer(gradient)?, out), Matrices::one(pointer(&x)?, width)];
                // SAFETY: the gradient is `[pixels, out]`, x `[pixels, width]`, and the output `[out, width]`.
                unsafe { product.enqueue(&device, gradient.transposed(), rows, result)? };
                Ok(OfFolded::Taps(output.into_tensor()))
            }
        }
    }

    fn fitted(self) -> Fitted {
        Fitted::new(&self.geometry, self.dtype)
    }

    /// Pixels of the output.
    fn pixels(self) -> usize {
        self.geometry.out[..3].iter().product()
    }

    /// Values of a row of a product.
    fn width(self) -> usize {
        match self.route {
            Route::Columns => patches::row(&self.geometry),
            _ => self.geometry.kernel.0 * self.geometry.kernel.1 * self.geometry.channels,
        }
    }

    /// The input of a product, `[pixels, width]`.
    fn rows(self, x: &Tensor) -> Result<Tensor> {
        match self.route {
            Route::Patches => patches::gather(&self.geometry, x),
            Route::Columns => patches::columns(&self.geometry, x),
            _ => Ok(x.clone()),
        }
    }

    fn product(self, [m, n, k]: [usize; 3], result: DType) -> Product {
        Product { m, n, k, batch: 1, factors: self.dtype, result, precision: self.geometry.options.precision }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_follow_from_the_sizes() {
        let same = |kernel: usize, stride, groups| Conv2d {
            stride,
            padding: Padding::same(kernel / 2),
            groups,
            ..Conv2d::default()
        };
        for (channels, out, kernel, stride, groups, expected) in [
            (8, 16, 1, 1, 1, Route::Product),
            (8, 16, 1, 2, 1, Route::Patches),
            (8, 16, 3, 1, 1, Route::Dnn),
            (3, 16, 3, 2, 1, Route::Columns),
            (8, 8, 3, 1, 8, Route::Depthwise),
            (8, 8, 5, 2, 8, Route::Depthwise),
            (8, 16, 3, 1, 8, Route::Dnn),
            (8, 8, 3, 1, 2, Route::Dnn),
        ] {
            let options = same(kernel, stride, groups);
            let weight = (out, channels / groups, kernel, kernel);
            let geometry = ConvGeometry::new("conv2d", (2, 9, 9, channels), weight, &options).expect("the sizes match");
            assert_eq!(Route::of(&geometry), expected);
        }
    }
}
