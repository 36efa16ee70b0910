//! The algorithm of a convolution with given sizes.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use candle_core::{DType, Error, Result, bail};
use cudarc::cudnn::result;
use cudarc::cudnn::sys;
use cudarc::cudnn::sys::{
    cudnnConvolutionBwdDataAlgo_t as DataAlgorithm, cudnnConvolutionBwdFilterAlgo_t as WeightAlgorithm,
    cudnnConvolutionFwdAlgo_t as ForwardAlgorithm, cudnnTensorFormat_t as Format,
};

use super::descriptors::{ConvDescriptor, FilterDescriptor, Handle, TensorDescriptor, failed};
use crate::precision::Precision;

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::cuda) enum Direction {
    /// The output.
    Forward,
    /// The gradient of the input.
    Input,
    /// The gradient of the weight.
    Weight,
}

/// Everything that a plan depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::cuda) struct Sizes {
    /// `[batch, height, width, channels]`.
    pub(in crate::cuda) x: [usize; 4],
    /// `[out, height, width, depth]`.
    pub(in crate::cuda) weight: [usize; 4],
    /// `[batch, rows, columns, out]`.
    pub(in crate::cuda) y: [usize; 4],
    pub(in crate::cuda) stride: usize,
    /// Above and below, left and right.
    pub(in crate::cuda) padding: [usize; 2],
    pub(in crate::cuda) groups: usize,
    pub(in crate::cuda) dtype: DType,
    pub(in crate::cuda) precision: Precision,
}

impl Sizes {
    /// The shape of what a direction computes.
    pub(in crate::cuda) fn result(&self, direction: Direction) -> [usize; 4] {
        match direction {
            Direction::Forward => self.y,
            Direction::Input => self.x,
            Direction::Weight => self.weight,
        }
    }
}

/// An algorithm of a direction.
#[derive(Clone, Copy, Debug)]
enum Algorithm {
    Forward(ForwardAlgorithm),
    Input(DataAlgorithm),
    Weight(WeightAlgorithm),
}

/// A convolution that is ready to run.
pub(super) struct Plan {
    x: TensorDescriptor,
    weight: FilterDescriptor,
    y: TensorDescriptor,
    convolution: ConvDescriptor,
    algorithm: Algorithm,
    workspace: usize,
    format: Format,
}

/// Most bytes that an algorithm may take beside its tensors.
const MOST_WORKSPACE: usize = 1 << 30;

/// Answers that are asked of the heuristic, more than there are algorithms.
const ANSWERS: usize = 16;

impl Plan {
    /// The plan for channels last or, if there is none, for channels first.
    ///
    /// # Errors
    /// No deterministic algorithm supports the sizes.
    pub(super) fn new(handle: &Handle, direction: Direction, sizes: Sizes) -> Result<Self> {
        for format in [Format::CUDNN_TENSOR_NHWC, Format::CUDNN_TENSOR_NCHW] {
            if let Some(plan) = Self::in_order(handle, direction, sizes, format)? {
                return Ok(plan);
            }
        }
        bail!("cuDNN has no deterministic algorithm for the convolution {direction:?} of {sizes:?}")
    }

    /// The plan for this order of the dimensions in memory, if there is one.
    fn in_order(handle: &Handle, direction: Direction, sizes: Sizes, format: Format) -> Result<Option<Self>> {
        let (dtype, math) = match (sizes.dtype, sizes.precision) {
            // cuDNN's default would round factors to TF32.
            (DType::F32, Precision::F32) => {
                (sys::cudnnDataType_t::CUDNN_DATA_FLOAT, sys::cudnnMathType_t::CUDNN_FMA_MATH)
            }
            (DType::F32, _) => (sys::cudnnDataType_t::CUDNN_DATA_FLOAT, sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH),
            (DType::BF16, _) => (sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16, sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH),
            (other, _) => bail!("cuDNN has no convolutions of {other:?} here"),
        };
        let convolution = ConvDescriptor::new(
            integer(sizes.stride)?,
            [integer(sizes.padding[0])?, integer(sizes.padding[1])?],
            integer(sizes.groups)?,
            math,
        )?;
        let mut plan = Self {
            x: TensorDescriptor::new(format, dtype, integers(sizes.x)?)?,
            weight: FilterDescriptor::new(format, dtype, integers(sizes.weight)?)?,
            y: TensorDescriptor::new(format, dtype, integers(sizes.y)?)?,
            convolution,
            algorithm: Algorithm::Forward(ForwardAlgorithm::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM),
            workspace: 0,
            format,
        };
        for (algorithm, suggested) in plan.candidates(handle, direction)? {
            if sizes.precision == Precision::F32 && uses_tensor_cores(suggested) {
                continue;
            }
            plan.algorithm = algorithm;
            if let Some(workspace) = plan.workspace_of(handle)
                && workspace <= MOST_WORKSPACE
            {
                plan.workspace = workspace;
                return Ok(Some(plan));
            }
        }
        Ok(None)
    }

    pub(super) fn is_channels_last(&self) -> bool {
        self.format == Format::CUDNN_TENSOR_NHWC
    }

    /// The deterministic algorithms for a direction that support the sizes, the fastest by cuDNN's heuristic first.
    fn candidates(&self, handle: &Handle, direction: Direction) -> Result<Vec<(Algorithm, sys::cudnnMathType_t)>> {
        let (x, weight, y, convolution) = (self.x.0, self.weight.0, self.y.0, self.convolution.0);
        let asked = ANSWERS as c_int;
        macro_rules! ask {
            ($function:path, $first:expr, $second:expr, $third:expr, $kind:path, $answer:ty) => {{
                let mut answers = [const { MaybeUninit::<$answer>::uninit() }; ANSWERS];
                let mut count: c_int = 0;
                // SAFETY: the descriptors exist, and there is room for as many answers as are asked for.
                unsafe {
                    $function(
                        handle.0,
                        $first,
                        $second,
                        convolution,
                        $third,
                        asked,
                        &mut count,
                        answers.as_mut_ptr().cast::<$answer>(),
                    )
                    .map_err(failed("choose an algorithm"))?;
                }
                let given = usize::try_from(count).unwrap_or(0).min(ANSWERS);
                // SAFETY: cuDNN has written this number of answers.
                let answers = answers[..given].iter().map(|answer| unsafe { answer.assume_init_ref() });
                let usable = answers.filter(|answer| {
                    answer.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                        && answer.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
                });
                usable.map(|answer| ($kind(answer.algo), answer.mathType)).collect()
            }};
        }
        Ok(match direction {
            Direction::Forward => {
                ask!(
                    result::get_convolution_forward_algorithm,
                    x,
                    weight,
                    y,
                    Algorithm::Forward,
                    sys::cudnnConvolutionFwdAlgoPerf_t
                )
            }
            Direction::Input => {
                ask!(
                    result::get_convolution_backward_data_algorithm,
                    weight,
                    y,
                    x,
                    Algorithm::Input,
                    sys::cudnnConvolutionBwdDataAlgoPerf_t
                )
            }
            Direction::Weight => {
                ask!(
                    result::get_convolution_backward_filter_algorithm,
                    x,
                    y,
                    weight,
                    Algorithm::Weight,
                    sys::cudnnConvolutionBwdFilterAlgoPerf_t
                )
            }
        })
    }

    /// The bytes that the chosen algorithm needs; `None` if it does not support the sizes after all.
    fn workspace_of(&self, handle: &Handle) -> Option<usize> {
        let (x, weight, y, convolution) = (self.x.0, self.weight.0, self.y.0, self.convolution.0);
        // SAFETY: handle and descriptors exist.
        let size = unsafe {
            match self.algorithm {
                Algorithm::Forward(algorithm) => {
                    result::get_convolution_forward_workspace_size(handle.0, x, weight, convolution, y, algorithm)
                }
                Algorithm::Input(algorithm) => {
                    result::get_convolution_backward_data_workspace_size(handle.0, weight, y, convolution, x, algorithm)
                }
                Algorithm::Weight(algorithm) => result::get_convolution_backward_filter_workspace_size(
                    handle.0,
                    x,
                    y,
                    convolution,
                    weight,
                    algorithm,
                ),
            }
        };
        size.ok()
    }

    pub(super) fn workspace(&self) -> usize {
        self.workspace
    }

    /// Enqueues the convolution. The addresses are of the two inputs, the result and the workspace.
    ///
    /// # Safety
    /// The memory behind the addresses has the sizes and the type of this plan.
    ///
    /// # Errors
    /// cuDNN fails.
    pub(super) unsafe fn run(&self, handle: &Handle, [a, b, out, workspace]: [u64; 4]) -> Result<()> {
        let (one, zero) = (1f32, 0f32);
        let (alpha, beta) = (ptr::from_ref(&one).cast::<c_void>(), ptr::from_ref(&zero).cast::<c_void>());
        let (a, b) = (a as *const c_void, b as *const c_void);
        let (out, workspace, size) = (out as *mut c_void, workspace as *mut c_void, self.workspace);
        let (x, weight, y, convolution) = (self.x.0, self.weight.0, self.y.0, self.convolution.0);
        // SAFETY: handle and descriptors exist, the scalars are `f32` on the host, and the caller vouches for the addresses.
        let status = unsafe {
            match self.algorithm {
                Algorithm::Forward(algorithm) => result::convolution_forward(
                    handle.0,
                    alpha,
                    x,
                    a,
                    weight,
                    b,
                    convolution,
                    algorithm,
                    workspace,
                    size,
                    beta,
                    y,
                    out,
                ),
                Algorithm::Input(algorithm) => result::convolution_backward_data(
                    handle.0,
                    alpha,
                    weight,
                    a,
                    y,
                    b,
                    convolution,
                    algorithm,
                    workspace,
                    size,
                    beta,
                    x,
                    out,
                ),
                Algorithm::Weight(algorithm) => result::convolution_backward_filter(
                    handle.0,
                    alpha,
                    x,
                    a,
                    y,
                    b,
                    convolution,
                    algorithm,
                    workspace,
                    size,
                    beta,
                    weight,
                    out,
                ),
            }
        };
        status.map_err(failed("run a convolution"))
    }
}

/// Whether an answer of the heuristic is for tensor cores, which round `f32` factors.
fn uses_tensor_cores(math: sys::cudnnMathType_t) -> bool {
    matches!(
        math,
        sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH | sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION
    )
}

fn integer(size: usize) -> Result<i32> {
    i32::try_from(size).map_err(|_| Error::Msg(format!("a size of {size} is too large for cuDNN")))
}

fn integers(sizes: [usize; 4]) -> Result<[i32; 4]> {
    let [a, b, c, d] = sizes;
    Ok([integer(a)?, integer(b)?, integer(c)?, integer(d)?])
}
