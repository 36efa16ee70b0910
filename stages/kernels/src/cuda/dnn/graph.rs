//! What a plan computes: a convolution in one direction and what follows it, as cuDNN's graph of operations.

use candle_core::{DType, Result, bail};
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendDescriptorType_t as Kind, cudnnConvolutionMode_t,
    cudnnDataType_t as DataType, cudnnPointwiseMode_t as Mode,
};

use super::backend::{Answer, Descriptor, Handle, failed};
use crate::activation::Activation;
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

/// Everything that a convolution depends on.
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

/// What follows a forward convolution: `act(conv + residual + shift)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::cuda) struct Tail {
    pub(in crate::cuda) residual: bool,
    pub(in crate::cuda) shift: bool,
    pub(in crate::cuda) activation: Activation,
}

/// The order of the dimensions in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    ChannelsLast,
    ChannelsFirst,
}

/// The tensors of a graph, by which a plan is given their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    X = 1,
    Weight,
    Y,
    Residual,
    Shift,
}

/// The largest number of bytes that every address is a multiple of.
pub(super) const ALIGNMENT: u64 = 16;

/// A graph and the descriptors that it refers to.
pub(super) struct Graph {
    pub(super) graph: Descriptor,
    _parts: Vec<Descriptor>,
}

impl Graph {
    /// For the GPU of a handle, or for one that is only described.
    pub(super) fn new(
        handle: Option<&Handle>,
        direction: Direction,
        sizes: &Sizes,
        tail: Tail,
        order: Order,
    ) -> Result<Self> {
        let dtype = match sizes.dtype {
            DType::F32 => DataType::CUDNN_DATA_FLOAT,
            DType::BF16 => DataType::CUDNN_DATA_BFLOAT16,
            other => bail!("cuDNN has no convolutions of {other:?} here"),
        };
        let made = Builder { dtype, order, parts: Vec::new(), next: 100 }.graph(handle, direction, sizes, tail);
        made.map_err(failed("describe a convolution"))
    }
}

/// A graph while it is made.
struct Builder {
    dtype: DataType,
    order: Order,
    /// Descriptors that others refer to.
    parts: Vec<Descriptor>,
    /// Number of the next intermediate tensor.
    next: i64,
}

/// The position of a descriptor among the parts.
type Part = usize;

impl Builder {
    fn graph(mut self, handle: Option<&Handle>, direction: Direction, sizes: &Sizes, tail: Tail) -> Answer<Graph> {
        let x = self.tensor(Operand::X, sizes.x)?;
        let weight = self.tensor(Operand::Weight, sizes.weight)?;
        let convolution = self.convolution(sizes)?;
        let mut operations = Vec::new();
        if direction == Direction::Forward {
            let [_, _, _, out] = sizes.y;
            let steps: Vec<(Mode, Option<(Operand, [usize; 4])>)> = [
                tail.residual.then_some((Mode::CUDNN_POINTWISE_ADD, Some((Operand::Residual, sizes.y)))),
                tail.shift.then_some((Mode::CUDNN_POINTWISE_ADD, Some((Operand::Shift, [1, 1, 1, out])))),
                (tail.activation != Activation::None).then_some((Mode::CUDNN_POINTWISE_RELU_FWD, None)),
            ]
            .into_iter()
            .flatten()
            .collect();
            let mut last = self.result(steps.is_empty(), sizes.y)?;
            operations.push(self.forward(convolution, x, weight, last)?);
            for (index, (mode, other)) in steps.iter().enumerate() {
                let other = other.map(|(operand, dims)| self.tensor(operand, dims)).transpose()?;
                let result = self.result(index + 1 == steps.len(), sizes.y)?;
                operations.push(self.pointwise(*mode, tail.activation, last, other, result)?);
                last = result;
            }
        } else {
            let y = self.tensor(Operand::Y, sizes.y)?;
            operations.push(self.backward(direction, convolution, x, weight, y)?);
        }
        let operations: Vec<&Descriptor> = operations.iter().map(|part| &self.parts[*part]).collect();
        let graph = Descriptor::new(Kind::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?
            .refer(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &operations)?;
        // Without a handle, engines are chosen for another architecture than the card's.
        let graph = match handle {
            Some(handle) => graph.set(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, &[handle.0])?,
            None => graph,
        };
        let graph = graph.finalised()?;
        Ok(Graph { graph, _parts: self.parts })
    }

    fn keep(&mut self, part: Descriptor) -> Part {
        self.parts.push(part);
        self.parts.len() - 1
    }

    /// A tensor in memory, `[batch, height, width, channels]`.
    fn tensor(&mut self, operand: Operand, dims: [usize; 4]) -> Answer<Part> {
        let described = self.described(dims, self.dtype, operand as i64)?.finalised()?;
        Ok(self.keep(described))
    }

    /// The output if this is the last step, and else an intermediate result in `f32` that is never written to memory.
    fn result(&mut self, is_last: bool, dims: [usize; 4]) -> Answer<Part> {
        if is_last {
            return self.tensor(Operand::Y, dims);
        }
        let described = self
            .described(dims, DataType::CUDNN_DATA_FLOAT, self.next)?
            .set(Name::CUDNN_ATTR_TENSOR_IS_VIRTUAL, &[true])?
            .finalised()?;
        self.next += 1;
        Ok(self.keep(described))
    }

    fn described(&self, [batch, height, width, channels]: [usize; 4], dtype: DataType, id: i64) -> Answer<Descriptor> {
        let strides = match self.order {
            Order::ChannelsLast => [height * width * channels, 1, width * channels, channels],
            Order::ChannelsFirst => [channels * height * width, height * width, width, 1],
        };
        Descriptor::new(Kind::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?
            .set(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, &[dtype])?
            .set(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, &[batch, channels, height, width].map(|size| size as i64))?
            .set(Name::CUDNN_ATTR_TENSOR_STRIDES, &strides.map(|stride| stride as i64))?
            .set(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, &[id])?
            .set(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &[ALIGNMENT as i64])
    }

    fn convolution(&mut self, sizes: &Sizes) -> Answer<Part> {
        let (stride, padding) = ([sizes.stride as i64; 2], sizes.padding.map(|padding| padding as i64));
        let made = Descriptor::new(Kind::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?
            .set(Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE, &[DataType::CUDNN_DATA_FLOAT])?
            .set(Name::CUDNN_ATTR_CONVOLUTION_CONV_MODE, &[cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION])?
            .set(Name::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, &[2i64])?
            .set(Name::CUDNN_ATTR_CONVOLUTION_DILATIONS, &[1i64, 1])?
            .set(Name::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, &stride)?
            .set(Name::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, &padding)?
            .set(Name::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, &padding)?
            .finalised()?;
        Ok(self.keep(made))
    }

    fn forward(&mut self, convolution: Part, x: Part, weight: Part, y: Part) -> Answer<Part> {
        let part = |part: Part| [&self.parts[part]];
        let made = Descriptor::new(Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)?
            .refer(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, &part(convolution))?
            .refer(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, &part(x))?
            .refer(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, &part(weight))?
            .refer(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, &part(y))?
            .set(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, &[1f32])?
            .set(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, &[0f32])?
            .finalised()?;
        Ok(self.keep(made))
    }

    /// The gradient of the input or of the weight.
    fn backward(&mut self, direction: Direction, convolution: Part, x: Part, weight: Part, y: Part) -> Answer<Part> {
        let part = |part: Part| [&self.parts[part]];
        let made = if direction == Direction::Input {
            Descriptor::new(Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR)?
                .refer(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, &part(convolution))?
                .refer(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, &part(x))?
                .refer(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, &part(weight))?
                .refer(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, &part(y))?
                .set(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, &[1f32])?
                .set(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, &[0f32])?
        } else {
            Descriptor::new(Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR)?
                .refer(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, &part(convolution))?
                .refer(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, &part(x))?
                .refer(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, &part(weight))?
                .refer(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, &part(y))?
                .set(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, &[1f32])?
                .set(Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, &[0f32])?
        };
        let made = made.finalised()?;
        Ok(self.keep(made))
    }

    /// The sum of two tensors, or the activation of one.
    fn pointwise(&mut self, mode: Mode, activation: Activation, x: Part, other: Option<Part>, y: Part) -> Answer<Part> {
        let rule = Descriptor::new(Kind::CUDNN_BACKEND_POINTWISE_DESCRIPTOR)?
            .set(Name::CUDNN_ATTR_POINTWISE_MODE, &[mode])?
            .set(Name::CUDNN_ATTR_POINTWISE_MATH_PREC, &[DataType::CUDNN_DATA_FLOAT])?;
        let is_clipped = mode == Mode::CUDNN_POINTWISE_RELU_FWD && activation == Activation::Relu6;
        let rule = if is_clipped { rule.set(Name::CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, &[6f32])? } else { rule };
        let rule = rule.finalised()?;
        let rule = self.keep(rule);
        let part = |part: Part| [&self.parts[part]];
        let made = Descriptor::new(Kind::CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)?
            .refer(Name::CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, &part(rule))?
            .refer(Name::CUDNN_ATTR_OPERATION_POINTWISE_XDESC, &part(x))?;
        let made = match other {
            Some(other) => made.refer(Name::CUDNN_ATTR_OPERATION_POINTWISE_BDESC, &part(other))?,
            None => made,
        };
        let made = made.refer(Name::CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &part(y))?.finalised()?;
        Ok(self.keep(made))
    }
}
