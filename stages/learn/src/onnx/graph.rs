//! The nodes of a network, added layer by layer.
//!
//! Shapes: a feature map is `[batch, channels, height, width]`, as ONNX's convolutions want it. A [`Value`] has the shape without the
//! batch, whose size stays open.

use candle_core::Tensor;
use dnc_kernels::{Activation, Padding};

use super::messages::{
    AttributeProto, DimensionProto, GraphProto, Length, NodeProto, TensorProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto,
};
use crate::backbones::Pooling;
use crate::error::{LearnError, Result};
use crate::weights::NamedTensor;

/// Name of the open size of a batch.
const BATCH: &str = "batch";

/// A result of a node, or the input.
#[derive(Clone, Debug)]
pub struct Value {
    name: String,
    /// Length along each axis but the batch.
    pub(crate) shape: Vec<usize>,
}

/// A property of a node.
pub(crate) enum Attribute {
    Int(&'static str, i64),
    Ints(&'static str, Vec<i64>),
    Float(&'static str, f32),
}

/// A graph that is being built.
#[derive(Default)]
pub struct Graph {
    proto: GraphProto,
}

impl Graph {
    /// A graph with the input `name` of this element type, a constant of [`TensorProto`].
    pub(super) fn new(name: &str, element: i32, shape: Vec<usize>) -> (Self, Value) {
        let input = Value { name: name.to_owned(), shape };
        let proto = GraphProto { name: "dnc-run".into(), input: vec![info(&input, element)], ..GraphProto::default() };
        (Self { proto }, input)
    }

    /// The finished graph, whose output is `value` under this name.
    pub(super) fn finish(mut self, value: &Value, name: &str) -> GraphProto {
        let output = Value { name: name.to_owned(), ..value.clone() };
        let names = self.proto.node.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output));
        names.filter(|known| **known == value.name).for_each(|known| output.name.clone_into(known));
        self.proto.value_info.retain(|info| info.name != value.name);
        self.proto.output.push(info(&output, TensorProto::FLOAT));
        self.proto
    }

    /// Adds a node with one result, which has this shape. `inputs` are values and constants.
    pub(crate) fn node(
        &mut self,
        operation: &str,
        inputs: &[&str],
        attributes: impl IntoIterator<Item = Attribute>,
        shape: Vec<usize>,
    ) -> Value {
        let name = format!("{}_{}", operation.to_lowercase(), self.proto.node.len());
        let value = Value { name: name.clone(), shape };
        self.push(operation, name.clone(), inputs, vec![name], attributes);
        self.proto.value_info.push(info(&value, TensorProto::FLOAT));
        value
    }

    fn push(
        &mut self,
        operation: &str,
        name: String,
        inputs: &[&str],
        output: Vec<String>,
        attributes: impl IntoIterator<Item = Attribute>,
    ) {
        let input = inputs.iter().map(|&input| input.to_owned()).collect();
        let attribute = attributes.into_iter().map(Attribute::proto).collect();
        self.proto.node.push(NodeProto { input, output, name, op_type: operation.to_owned(), attribute });
    }

    /// Adds a constant of `f32` and returns its name.
    ///
    /// # Errors
    /// If the values cannot be copied from their device.
    pub(crate) fn constant(&mut self, name: &str, tensor: &Tensor) -> Result<String> {
        let NamedTensor { name, shape, bytes, .. } = NamedTensor::from_tensor(name, tensor)?;
        let dims = shape.iter().map(|&length| length as i64).collect();
        Ok(self.initialiser(TensorProto { name, dims, data_type: TensorProto::FLOAT, raw_data: bytes }))
    }

    /// Adds a constant of whole numbers, as ONNX wants shapes and axes, and returns its name.
    pub(crate) fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dims = vec![values.len() as i64];
        self.initialiser(TensorProto { name: name.to_owned(), dims, data_type: TensorProto::INT64, raw_data })
    }

    /// Adds a single `f32` and returns its name.
    pub(crate) fn scalar(&mut self, name: &str, value: f32) -> String {
        let raw_data = value.to_le_bytes().to_vec();
        self.initialiser(TensorProto {
            name: name.to_owned(),
            dims: Vec::new(),
            data_type: TensorProto::FLOAT,
            raw_data,
        })
    }

    /// Adds a constant, unless there is one of this name: layers share shapes and limits.
    fn initialiser(&mut self, tensor: TensorProto) -> String {
        let name = tensor.name.clone();
        if !self.proto.initializer.iter().any(|known| known.name == name) {
            self.proto.initializer.push(tensor);
        }
        name
    }

    /// A convolution with a weight `[outputs, inputs / groups, kernel, kernel]` and a bias, called `name`.
    ///
    /// # Errors
    /// If a tensor cannot be copied from its device, or the window does not fit the feature map.
    pub(crate) fn conv(&mut self, name: &str, x: &Value, layer: &Conv<'_>) -> Result<Value> {
        let (outputs, _, kernel, _) = layer.weight.dims4()?;
        let shape = self.slid(name, x, kernel, layer.stride, layer.padding, outputs)?;
        let weight = self.constant(&format!("{name}.weight"), layer.weight)?;
        let bias = self.constant(&format!("{name}.bias"), layer.bias)?;
        let attributes = window(kernel, layer.stride, layer.padding);
        let groups = Attribute::Int("group", layer.groups as i64);
        Ok(self.node("Conv", &[&x.name, &weight, &bias], attributes.into_iter().chain([groups]), shape))
    }

    /// Maximum under a sliding window; padding is −∞.
    ///
    /// # Errors
    /// If the window does not fit the feature map.
    pub(crate) fn max_pool(&mut self, x: &Value, kernel: usize, stride: usize, padding: Padding) -> Result<Value> {
        let shape = self.slid("max_pool", x, kernel, stride, padding, x.shape[0])?;
        Ok(self.node("MaxPool", &[&x.name], window(kernel, stride, padding), shape))
    }

    /// Mean under a sliding window; padding counts as zeros.
    ///
    /// # Errors
    /// If the window does not fit the feature map.
    pub(crate) fn avg_pool(&mut self, x: &Value, kernel: usize, stride: usize, padding: Padding) -> Result<Value> {
        let shape = self.slid("avg_pool", x, kernel, stride, padding, x.shape[0])?;
        let attributes = window(kernel, stride, padding).into_iter().chain([Attribute::Int("count_include_pad", 1)]);
        Ok(self.node("AveragePool", &[&x.name], attributes, shape))
    }

    /// The feature map reduced to one vector.
    ///
    /// # Errors
    /// If a transformer's pooling is asked for.
    pub(crate) fn pool(&mut self, map: &Value, pooling: Pooling) -> Result<Value> {
        let operation = match pooling {
            Pooling::Average => "GlobalAveragePool",
            Pooling::Max => "GlobalMaxPool",
            Pooling::ClassToken => return Err(LearnError::NoTensor { name: "cls_token".into() }),
        };
        let channels = map.shape[0];
        let pooled = self.node(operation, &[&map.name], [], vec![channels, 1, 1]);
        Ok(self.node("Flatten", &[&pooled.name], [Attribute::Int("axis", 1)], vec![channels]))
    }

    /// An activation function.
    pub(crate) fn activation(&mut self, x: &Value, activation: Activation) -> Value {
        match activation {
            Activation::None => x.clone(),
            Activation::Relu => self.node("Relu", &[&x.name], [], x.shape.clone()),
            Activation::Relu6 => {
                let [low, high] = [self.scalar("zero", 0.0), self.scalar("six", 6.0)];
                self.node("Clip", &[&x.name, &low, &high], [], x.shape.clone())
            }
        }
    }

    /// An operation on each element of `x` and of a value or constant of its shape, or one that is repeated to have it.
    pub(crate) fn elementwise(&mut self, operation: &str, x: &Value, other: &str) -> Value {
        self.node(operation, &[&x.name, other], [], x.shape.clone())
    }

    /// `x` in another shape. Axes are counted without the batch.
    pub(crate) fn reshape(&mut self, x: &Value, shape: Vec<usize>) -> Value {
        // Zero takes over the size of the batch.
        let lengths: Vec<i64> = std::iter::once(0).chain(shape.iter().map(|&length| length as i64)).collect();
        let text: Vec<String> = shape.iter().map(ToString::to_string).collect();
        let target = self.integers(&format!("shape_{}", text.join("_")), &lengths);
        self.node("Reshape", &[&x.name, &target], [], shape)
    }

    /// `x` with its axes in another order: result axis i is axis `order[i]` of x; the batch is axis 0 and stays there.
    pub(crate) fn transpose(&mut self, x: &Value, order: &[usize]) -> Value {
        let shape = order[1..].iter().map(|&axis| x.shape[axis - 1]).collect();
        let order = order.iter().map(|&axis| axis as i64).collect();
        self.node("Transpose", &[&x.name], [Attribute::Ints("perm", order)], shape)
    }

    /// Values put together along the first axis after the batch.
    pub(crate) fn concat(&mut self, parts: &[Value]) -> Value {
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        let mut shape = parts[0].shape.clone();
        shape[0] = parts.iter().map(|part| part.shape[0]).sum();
        self.node("Concat", &names, [Attribute::Int("axis", 1)], shape)
    }

    /// `x` cut into `parts` of equal length along its last axis.
    pub(crate) fn split(&mut self, x: &Value, parts: usize) -> Vec<Value> {
        let mut shape = x.shape.clone();
        let last = shape.len() - 1;
        shape[last] /= parts;
        let name = format!("split_{}", self.proto.node.len());
        let values: Vec<Value> =
            (0..parts).map(|part| Value { name: format!("{name}_{part}"), shape: shape.clone() }).collect();
        let attributes = [Attribute::Int("axis", -1), Attribute::Int("num_outputs", parts as i64)];
        let outputs = values.iter().map(|value| value.name.clone()).collect();
        self.push("Split", name, &[&x.name], outputs, attributes);
        self.proto.value_info.extend(values.iter().map(|value| info(value, TensorProto::FLOAT)));
        values
    }

    /// `x Wᵀ + b` over the last axis, for a weight `[outputs, inputs]` and a bias `[outputs]` called `name`.
    ///
    /// # Errors
    /// If a tensor cannot be copied from its device.
    pub(crate) fn linear(&mut self, name: &str, x: &Value, weight: &Tensor, bias: &Tensor) -> Result<Value> {
        let mut shape = x.shape.clone();
        let last = shape.len() - 1;
        shape[last] = weight.dim(0)?;
        let bias = self.constant(&format!("{name}.bias"), bias)?;
        if let [_] = x.shape[..] {
            let weight = self.constant(&format!("{name}.weight"), weight)?;
            return Ok(self.node("Gemm", &[&x.name, &weight, &bias], [Attribute::Int("transB", 1)], shape));
        }
        let weight = self.constant(&format!("{name}.weight"), &weight.t()?.contiguous()?)?;
        let product = self.node("MatMul", &[&x.name, &weight], [], shape);
        Ok(self.elementwise("Add", &product, &bias))
    }

    /// Each vector divided by its Euclidean norm, as [`dnc_kernels::l2_normalise`] does.
    pub(super) fn l2_normalise(&mut self, x: &Value) -> Value {
        let (axis, floor) = (self.integers("norm_axis", &[1]), self.scalar("norm_floor", 1e-12));
        let norm = self.node("ReduceL2", &[&x.name, &axis], [Attribute::Int("keepdims", 1)], vec![1]);
        let norm = self.node("Max", &[&norm.name, &floor], [], vec![1]);
        self.elementwise("Div", x, &norm.name)
    }

    /// Shape of the result of a sliding window.
    fn slid(
        &self,
        name: &str,
        x: &Value,
        kernel: usize,
        stride: usize,
        padding: Padding,
        channels: usize,
    ) -> Result<Vec<usize>> {
        let Padding { top, bottom, left, right } = padding;
        let positions = |length: usize| length.checked_sub(kernel).map(|free| free / stride + 1);
        let size = match x.shape[..] {
            [_, height, width] => positions(height + top + bottom).zip(positions(width + left + right)),
            _ => None,
        };
        let fits = || LearnError::Shape {
            name: name.to_owned(),
            wanted: format!("[channels, height, width] of at least {kernel} × {kernel}"),
            found: x.shape.clone(),
        };
        let (height, width) = size.ok_or_else(fits)?;
        Ok(vec![channels, height, width])
    }
}

/// A convolution.
pub(crate) struct Conv<'a> {
    pub(crate) weight: &'a Tensor,
    pub(crate) bias: &'a Tensor,
    pub(crate) stride: usize,
    pub(crate) padding: Padding,
    pub(crate) groups: usize,
}

impl Value {
    /// Its name, to be an input of a node.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Attribute {
    fn proto(self) -> AttributeProto {
        let named = |name: &str, kind| AttributeProto { name: name.to_owned(), kind, ..AttributeProto::default() };
        match self {
            Self::Int(name, i) => AttributeProto { i: Some(i), ..named(name, AttributeProto::INT) },
            Self::Ints(name, ints) => AttributeProto { ints, ..named(name, AttributeProto::INTS) },
            Self::Float(name, f) => AttributeProto { f: Some(f), ..named(name, AttributeProto::FLOAT) },
        }
    }
}

/// The attributes of a square window.
fn window(kernel: usize, stride: usize, padding: Padding) -> [Attribute; 3] {
    let Padding { top, bottom, left, right } = padding;
    [
        Attribute::Ints("kernel_shape", vec![kernel as i64; 2]),
        Attribute::Ints("strides", vec![stride as i64; 2]),
        Attribute::Ints("pads", [top, left, bottom, right].map(|size| size as i64).to_vec()),
    ]
}

/// Name, type and shape of a value.
fn info(value: &Value, elem_type: i32) -> ValueInfoProto {
    let batch = Length::Param(BATCH.to_owned());
    let known = value.shape.iter().map(|&length| Length::Value(length as i64));
    let dim = std::iter::once(batch).chain(known).map(|length| DimensionProto { value: Some(length) }).collect();
    let tensor_type = TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim }) };
    let r#type = TypeProto { tensor_type: Some(tensor_type) };
    ValueInfoProto { name: value.name.clone(), r#type: Some(r#type) }
}
