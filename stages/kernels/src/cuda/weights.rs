//! Weights of convolutions: torchvision's layout and `f32` outside; the kernels' layout and type, with the scale multiplied in, inside.
//! Gradients go the other way in `finish`.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::{DType, Result, Tensor, TensorId};

use super::launch::{Argument, Grid, NormPointers, WEIGHTS, int, launch, suffix};
use super::memory::{Output, device, output_or_null, pointer, pointer_or_null};
use crate::operands::FrozenNorm;

/// Layout of a folded weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Layout {
    /// `[out, tap, depth]`, as cuDNN's NHWC kernels take it, with zeros from the weight's depth up to this one.
    Taps(usize),
    /// `[out, tap · depth]` with zeros up to this length of a row.
    Rows(usize),
    /// `[tap, channel]` in `f32`, for depthwise convolutions.
    Depthwise,
}

/// Scale and shift per output channel, without history.
pub(super) enum Scaling {
    /// As they are.
    Given { scale: Option<Tensor>, shift: Option<Tensor> },
    /// Those of a frozen batch normalisation.
    Norm(Statistics),
}

impl Layout {
    /// Padded depth and row length of a folded weight, given the weight's depth and its number of taps.
    pub(super) fn padded_and_row(self, depth: usize, taps: usize) -> (usize, usize) {
        match self {
            Self::Taps(padded) => (padded, padded * taps),
            Self::Rows(row) => (depth, row),
            Self::Depthwise => (depth, depth * taps),
        }
    }
}

/// What a frozen batch normalisation is made from, `[out]` each.
pub(super) struct Statistics {
    gamma: Tensor,
    beta: Tensor,
    mean: Tensor,
    variance: Tensor,
    conv_bias: Option<Tensor>,
    epsilon: f32,
}

impl Statistics {
    pub(super) fn of(norm: &FrozenNorm) -> Result<Self> {
        let plain = |tensor: &Tensor| tensor.detach().contiguous();
        Ok(Self {
            gamma: plain(norm.weight)?,
            beta: plain(norm.bias)?,
            mean: plain(norm.mean)?,
            variance: plain(norm.variance)?,
            conv_bias: norm.conv_bias.map(plain).transpose()?,
            epsilon: norm.epsilon as f32,
        })
    }
}

impl Scaling {
    pub(super) fn scale(&self) -> Option<&Tensor> {
        match self {
            Self::Given { scale, .. } => scale.as_ref(),
            Self::Norm(_) => None,
        }
    }

    fn shift(&self) -> Option<&Tensor> {
        match self {
            Self::Given { shift, .. } => shift.as_ref(),
            Self::Norm(_) => None,
        }
    }

    /// All tensors that the scale and the shift are made from.
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let tensors = match self {
            Self::Given { scale, shift } => [scale.as_ref(), shift.as_ref(), None, None, None],
            Self::Norm(Statistics { gamma, beta, mean, variance, conv_bias, .. }) => {
                [Some(gamma), Some(beta), Some(mean), Some(variance), conv_bias.as_ref()]
            }
        };
        tensors.into_iter().flatten()
    }

    /// Whether the output is multiplied by a factor.
    pub(super) fn has_scale(&self) -> bool {
        matches!(self, Self::Norm(_)) || self.scale().is_some()
    }

    /// The normalisation as kernels take it.
    pub(super) fn norm_pointers(&self) -> Result<NormPointers> {
        let Self::Norm(Statistics { gamma, beta, mean, variance, conv_bias, epsilon }) = self else {
            return Ok(NormPointers::default());
        };
        let pointers =
            [pointer(gamma)?, pointer(beta)?, pointer(mean)?, pointer(variance)?, pointer_or_null(conv_bias.as_ref())?];
        Ok(NormPointers { pointers, epsilon: *epsilon })
    }
}

/// A weight in the kernels' layout, and the shift that belongs to it.
#[derive(Clone)]
pub(super) struct Folded {
    pub(super) weight: Tensor,
    /// `[out]` in `f32`.
    pub(super) shift: Option<Tensor>,
    /// The shift in the type of the activations.
    pub(super) rounded_shift: Option<Tensor>,
}

/// What a folded weight depends on.
type Key = (Vec<TensorId>, Layout, DType);

thread_local! {
    /// Folded weights that are kept; see [`crate::KeptWeights`].
    static KEPT: RefCell<Option<HashMap<Key, Folded>>> = const { RefCell::new(None) };
}

/// Begins to keep folded weights; whether none were kept before.
pub(crate) fn keep() -> bool {
    KEPT.with_borrow_mut(|kept| kept.is_none() && kept.insert(HashMap::new()).is_empty())
}

/// Frees the folded weights that are kept.
pub(crate) fn release() {
    KEPT.set(None);
}

/// `scale ∘ weight` in this layout and, unless it is depthwise, this type. The weight is `[out, depth, height, width]`.
pub(super) fn fold(weight: &Tensor, scaling: &Scaling, layout: Layout, dtype: DType) -> Result<Folded> {
    let sources = || [weight].into_iter().chain(scaling.tensors());
    if KEPT.with_borrow(Option::is_none) || sources().any(Tensor::track_op) {
        return fold_once(weight, scaling, layout, dtype);
    }
    let key: Key = (sources().map(Tensor::id).collect(), layout, dtype);
    let kept = KEPT.with_borrow(|kept| kept.as_ref().and_then(|kept| kept.get(&key).cloned()));
    if let Some(folded) = kept {
        return Ok(folded);
    }
    let folded = fold_once(weight, scaling, layout, dtype)?;
    KEPT.with_borrow_mut(|kept| kept.as_mut().map(|kept| kept.insert(key, folded.clone())));
    Ok(folded)
}

fn fold_once(weight: &Tensor, scaling: &Scaling, layout: Layout, dtype: DType) -> Result<Folded> {
    let (out, depth, taps) = sizes(weight)?;
    if let (Scaling::Given { scale: None, shift }, DType::F32) = (scaling, dtype)
        && layout == Layout::Taps(depth)
        && (taps == 1 || depth == 1)
    {
        let shift = shift.clone();
        return Ok(Folded { weight: weight.detach(), rounded_shift: shift.clone(), shift });
    }
    let device = device(weight)?;
    let vector = |wanted: bool, dtype| wanted.then(|| Output::new(out, dtype, &device)).transpose();
    let is_norm = matches!(scaling, Scaling::Norm(_));
    let shifts = vector(is_norm, DType::F32)?;
    let wants_rounded = (is_norm || scaling.shift().is_some()) && layout != Layout::Depthwise && dtype != DType::F32;
    let rounded = vector(wants_rounded, dtype)?;
    let given = [pointer_or_null(scaling.scale())?, pointer_or_null(scaling.shift())?];
    let [weight_pointer, scale, shift, to_shifts, to_rounded] =
        [pointer(weight)?, given[0], given[1], output_or_null(shifts.as_ref())?, output_or_null(rounded.as_ref())?]
            .map(Argument::Pointer);
    let norm = Argument::Norm(scaling.norm_pointers()?);
    let folded = match layout {
        Layout::Taps(_) | Layout::Rows(_) => {
            let (padded, row) = layout.padded_and_row(depth, taps);
            let folded = Output::new((out, row), dtype, &device)?;
            let (to, count) = (Argument::Pointer(folded.pointer()?), folded.elements());
            let arguments = [weight_pointer, norm, scale, shift, to, to_shifts, to_rounded];
            let sizes = [int(depth)?, int(padded)?, int(taps)?, int(row)?, int(count)?];
            let name = format!("fold_{}", suffix(dtype)?);
            // SAFETY: the arguments are those of the kernel; the weight has `out · depth · taps` elements, the result `count`, and
            // vectors one element per output.
            unsafe { launch(&device, WEIGHTS, &name, Grid::over(count), &[&arguments[..], &sizes].concat())? };
            folded
        }
        Layout::Depthwise => {
            let folded = Output::new((taps, out), DType::F32, &device)?;
            let to = Argument::Pointer(folded.pointer()?);
            let arguments = [weight_pointer, norm, scale, shift, to, to_shifts, int(out)?, int(taps)?];
            // SAFETY: as above, with a depth of one.
            unsafe { launch(&device, WEIGHTS, "fold_depthwise", Grid::over(out * taps), &arguments)? };
            folded
        }
    };
    let shift = shifts.map(Output::into_tensor).or_else(|| scaling.shift().cloned());
    let rounded_shift = rounded.map(Output::into_tensor).or_else(|| shift.clone());
    Ok(Folded { weight: folded.into_tensor(), shift, rounded_shift })
}

/// Outputs, depth and taps of a weight `[out, depth, height, width]`, or `[out, depth]` of a linear layer.
pub(super) fn sizes(weight: &Tensor) -> Result<(usize, usize, usize)> {
    let dims = weight.dims();
    Ok((dims[0], dims[1], dims[2..].iter().product()))
}
