//! The operators of ONNX that are written, as slow loops from their definitions.

use std::collections::{BTreeMap, BTreeSet};

use crate::onnx::messages::{GraphProto, NodeProto, TensorProto};

/// A tensor. Whole numbers are small enough to be exact.
#[derive(Clone, Debug)]
pub(super) struct Array {
    pub(super) dims: Vec<usize>,
    pub(super) data: Vec<f32>,
}

/// All values of a graph by name. Each is defined once and before it is used, and every constant is used.
pub(super) fn evaluate(graph: &GraphProto, images: Array) -> BTreeMap<String, Array> {
    let mut values = BTreeMap::from([("images".to_owned(), images)]);
    let mut used = BTreeSet::new();
    for tensor in &graph.initializer {
        assert!(!tensor.name.is_empty());
        assert!(values.insert(tensor.name.clone(), constant(tensor)).is_none(), "`{}` exists twice", tensor.name);
    }
    for node in &graph.node {
        let inputs: Vec<&Array> = node
            .input
            .iter()
            .map(|name| values.get(name).unwrap_or_else(|| panic!("`{}` uses `{name}` too early", node.name)))
            .collect();
        used.extend(node.input.iter().cloned());
        let results = compute(node, &inputs);
        assert_eq!(results.len(), node.output.len());
        for (name, result) in node.output.iter().zip(results) {
            assert_eq!(result.data.len(), result.dims.iter().product::<usize>(), "{name}");
            assert!(values.insert(name.clone(), result).is_none(), "`{name}` is defined twice");
        }
    }
    for tensor in &graph.initializer {
        assert!(used.contains(&tensor.name), "`{}` is not used", tensor.name);
    }
    values
}

fn constant(tensor: &TensorProto) -> Array {
    let dims: Vec<usize> = tensor.dims.iter().map(|&length| length as usize).collect();
    let data: Vec<f32> = match tensor.data_type {
        TensorProto::FLOAT => tensor.raw_data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        TensorProto::INT64 => {
            tensor.raw_data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f32).collect()
        }
        other => panic!("`{}` has the type {other}", tensor.name),
    };
    assert_eq!(data.len(), dims.iter().product::<usize>(), "{}", tensor.name);
    Array { dims, data }
}

fn int(node: &NodeProto, name: &str) -> i64 {
    let found = node.attribute.iter().find(|attribute| attribute.name == name);
    found.and_then(|attribute| attribute.i).unwrap_or_else(|| panic!("`{}` has no `{name}`", node.name))
}

fn ints(node: &NodeProto, name: &str) -> Vec<usize> {
    let found = node.attribute.iter().find(|attribute| attribute.name == name);
    let found = found.unwrap_or_else(|| panic!("`{}` has no `{name}`", node.name));
    found.ints.iter().map(|&value| value as usize).collect()
}

fn compute(node: &NodeProto, inputs: &[&Array]) -> Vec<Array> {
    let x = inputs[0];
    let each = |f: &dyn Fn(f32) -> f32| Array { dims: x.dims.clone(), data: x.data.iter().map(|&v| f(v)).collect() };
    let result = match node.op_type.as_str() {
        "Cast" => each(&|v| v),
        "Relu" => each(&|v| v.max(0.0)),
        "Gelu" => each(&|v| v * 0.5 * (1.0 + erf(f64::from(v) / std::f64::consts::SQRT_2)) as f32),
        "Clip" => each(&|v| v.clamp(inputs[1].data[0], inputs[2].data[0])),
        "Add" => broadcast(x, inputs[1], |a, b| a + b),
        "Sub" => broadcast(x, inputs[1], |a, b| a - b),
        "Mul" => broadcast(x, inputs[1], |a, b| a * b),
        "Div" => broadcast(x, inputs[1], |a, b| a / b),
        "Max" => broadcast(x, inputs[1], f32::max),
        "Conv" => conv(node, x, inputs[1], inputs[2]),
        "MaxPool" => window(node, x, &|values, _| values.iter().copied().fold(f32::NEG_INFINITY, f32::max)),
        "AveragePool" => {
            assert_eq!(int(node, "count_include_pad"), 1);
            window(node, x, &|values, size| values.iter().sum::<f32>() / size as f32)
        }
        "GlobalAveragePool" => globally(x, &|values| values.iter().sum::<f32>() / values.len() as f32),
        "GlobalMaxPool" => globally(x, &|values| values.iter().copied().fold(f32::NEG_INFINITY, f32::max)),
        "Flatten" => Array { dims: vec![x.dims[0], x.dims[1..].iter().product()], data: x.data.clone() },
        "Reshape" => {
            let lengths = inputs[1].data.iter().enumerate();
            let dims = lengths.map(|(axis, &length)| if length == 0.0 { x.dims[axis] } else { length as usize });
            Array { dims: dims.collect(), data: x.data.clone() }
        }
        "Transpose" => {
            let order = ints(node, "perm");
            let dims = order.iter().map(|&axis| x.dims[axis]).collect();
            gathered(dims, x, |at, from| order.iter().zip(at).for_each(|(&axis, &position)| from[axis] = position))
        }
        "Gather" => {
            assert_eq!(int(node, "axis"), 1);
            gathered(x.dims.clone(), x, |at, from| {
                from.copy_from_slice(at);
                from[1] = inputs[1].data[at[1]] as usize;
            })
        }
        "Slice" => {
            let [start, end, axis] = [1, 2, 3].map(|input: usize| inputs[input].data[0] as usize);
            let mut dims = x.dims.clone();
            dims[axis] = end - start;
            gathered(dims, x, |at, from| {
                from.copy_from_slice(at);
                from[axis] += start;
            })
        }
        "Pad" => {
            assert_eq!(inputs[1].data, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
            let row = x.dims[2];
            let rows = x.data.chunks(x.dims[1] * row).flat_map(|image| [vec![0.0; row], image.to_vec()].concat());
            Array { dims: vec![x.dims[0], x.dims[1] + 1, row], data: rows.collect() }
        }
        "Concat" => concat(inputs),
        "Split" => return split(node, x),
        "Gemm" => {
            assert_eq!(int(node, "transB"), 1);
            let weight = inputs[1];
            let transposed = gathered(vec![weight.dims[1], weight.dims[0]], weight, |at, from| {
                from.copy_from_slice(&[at[1], at[0]]);
            });
            broadcast(&matmul(x, &transposed), inputs[2], |a, b| a + b)
        }
        "MatMul" => matmul(x, inputs[1]),
        "LayerNormalization" => {
            let epsilon = node.attribute.iter().find_map(|attribute| attribute.f).unwrap();
            rows(x, &|row| {
                let mean = row.iter().sum::<f32>() / row.len() as f32;
                let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / row.len() as f32;
                let deviation = (variance + epsilon).sqrt();
                let affine = inputs[1].data.iter().zip(&inputs[2].data);
                row.iter().zip(affine).map(|(v, (w, b))| (v - mean) / deviation * w + b).collect()
            })
        }
        "Softmax" => rows(x, &|row| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let raised: Vec<f32> = row.iter().map(|v| (v - largest).exp()).collect();
            let sum: f32 = raised.iter().sum();
            raised.iter().map(|v| v / sum).collect()
        }),
        "ReduceMean" => reduced(node, x, inputs[1], &|values| values.iter().sum::<f32>() / values.len() as f32),
        "ReduceMax" => reduced(node, x, inputs[1], &|values| values.iter().copied().fold(f32::NEG_INFINITY, f32::max)),
        "ReduceL2" => reduced(node, x, inputs[1], &|values| values.iter().map(|v| v * v).sum::<f32>().sqrt()),
        other => panic!("`{other}` is not an operator that is written"),
    };
    vec![result]
}

/// The positions of all elements of an array of this shape, in order.
fn positions(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let dims = dims.to_vec();
    (0..dims.iter().product::<usize>()).map(move |mut index| {
        let mut at = vec![0; dims.len()];
        for axis in (0..dims.len()).rev() {
            at[axis] = index % dims[axis];
            index /= dims[axis];
        }
        at
    })
}

fn index(dims: &[usize], at: &[usize]) -> usize {
    dims.iter().zip(at).fold(0, |index, (length, position)| index * length + position)
}

/// An array each of whose elements comes from the position in `x` that `source` writes.
fn gathered(dims: Vec<usize>, x: &Array, source: impl Fn(&[usize], &mut [usize])) -> Array {
    let mut from = vec![0; x.dims.len()];
    let data = positions(&dims).map(|at| {
        source(&at, &mut from);
        x.data[index(&x.dims, &from)]
    });
    let data = data.collect();
    Array { dims, data }
}

fn broadcast(x: &Array, y: &Array, f: impl Fn(f32, f32) -> f32) -> Array {
    let missing = x.dims.len() - y.dims.len();
    let data = positions(&x.dims).zip(&x.data).map(|(at, &value)| {
        let own: Vec<usize> =
            y.dims.iter().zip(&at[missing..]).map(|(&length, &p)| if length == 1 { 0 } else { p }).collect();
        f(value, y.data[index(&y.dims, &own)])
    });
    Array { dims: x.dims.clone(), data: data.collect() }
}

fn conv(node: &NodeProto, x: &Array, weight: &Array, bias: &Array) -> Array {
    let (groups, outputs, inputs) = (int(node, "group") as usize, weight.dims[0], weight.dims[1]);
    let mut planes = Vec::new();
    let mut dims = Vec::new();
    for output in 0..outputs {
        let group = output / (outputs / groups);
        let first = group * inputs;
        let kernel = &weight.data[output * inputs * weight.dims[2] * weight.dims[3]..];
        let result = slid(node, x, &|image, places| {
            let mut sum = bias.data[output];
            for input in 0..inputs {
                let plane = &x.data[index(&x.dims[..2], &[image, first + input]) * x.dims[2] * x.dims[3]..];
                for &(tap, place) in places {
                    sum += kernel[input * weight.dims[2] * weight.dims[3] + tap] * plane[place];
                }
            }
            sum
        });
        dims = result.dims;
        planes.push(result.data);
    }
    let size = dims[1] * dims[2];
    let data = (0..dims[0]).flat_map(|image| planes.iter().flat_map(move |plane| &plane[image * size..][..size]));
    Array { dims: vec![dims[0], outputs, dims[1], dims[2]], data: data.copied().collect() }
}

fn window(node: &NodeProto, x: &Array, reduce: &dyn Fn(&[f32], usize) -> f32) -> Array {
    let size = ints(node, "kernel_shape").iter().product();
    let channels: Vec<Array> = (0..x.dims[1])
        .map(|channel| {
            slid(node, x, &|image, places| {
                let plane = &x.data[index(&x.dims[..2], &[image, channel]) * x.dims[2] * x.dims[3]..];
                let values: Vec<f32> = places.iter().map(|&(_, place)| plane[place]).collect();
                reduce(&values, size)
            })
        })
        .collect();
    let (rows, columns) = (channels[0].dims[1], channels[0].dims[2]);
    let size = rows * columns;
    let data =
        (0..x.dims[0]).flat_map(|image| channels.iter().flat_map(move |plane| &plane.data[image * size..][..size]));
    Array { dims: vec![x.dims[0], x.dims[1], rows, columns], data: data.copied().collect() }
}

/// For each image and each position of the window: the taps of the window that lie inside the image, with their places in its plane.
fn slid(node: &NodeProto, x: &Array, value: &dyn Fn(usize, &[(usize, usize)]) -> f32) -> Array {
    let (kernel, strides, pads) = (ints(node, "kernel_shape"), ints(node, "strides"), ints(node, "pads"));
    let [height, width] = [x.dims[2], x.dims[3]];
    let rows = (height + pads[0] + pads[2] - kernel[0]) / strides[0] + 1;
    let columns = (width + pads[1] + pads[3] - kernel[1]) / strides[1] + 1;
    let mut places = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let mut taps = Vec::new();
            for tap in 0..kernel[0] * kernel[1] {
                let y = (row * strides[0] + tap / kernel[1]).checked_sub(pads[0]).filter(|&y| y < height);
                let x = (column * strides[1] + tap % kernel[1]).checked_sub(pads[1]).filter(|&x| x < width);
                taps.extend(y.zip(x).map(|(y, x)| (tap, y * width + x)));
            }
            places.push(taps);
        }
    }
    let data = (0..x.dims[0]).flat_map(|image| places.iter().map(move |taps| value(image, taps)));
    Array { dims: vec![x.dims[0], rows, columns], data: data.collect() }
}

fn globally(x: &Array, reduce: &dyn Fn(&[f32]) -> f32) -> Array {
    let size: usize = x.dims[2..].iter().product();
    Array { dims: vec![x.dims[0], x.dims[1], 1, 1], data: x.data.chunks(size).map(reduce).collect() }
}

fn rows(x: &Array, each: &dyn Fn(&[f32]) -> Vec<f32>) -> Array {
    let width = x.dims[x.dims.len() - 1];
    Array { dims: x.dims.clone(), data: x.data.chunks(width).flat_map(each).collect() }
}

/// Reduces axis 1.
fn reduced(node: &NodeProto, x: &Array, axes: &Array, reduce: &dyn Fn(&[f32]) -> f32) -> Array {
    assert_eq!(axes.data, [1.0]);
    let inner: usize = x.dims[2..].iter().product();
    let image = |image: usize| {
        (0..inner).map(move |column| {
            let values: Vec<f32> =
                (0..x.dims[1]).map(|row| x.data[(image * x.dims[1] + row) * inner + column]).collect();
            reduce(&values)
        })
    };
    let kept = if int(node, "keepdims") == 1 { vec![1] } else { Vec::new() };
    Array { dims: [&x.dims[..1], &kept, &x.dims[2..]].concat(), data: (0..x.dims[0]).flat_map(image).collect() }
}

fn concat(inputs: &[&Array]) -> Array {
    let mut dims = inputs[0].dims.clone();
    dims[1] = inputs.iter().map(|input| input.dims[1]).sum();
    let part = |input: &Array, image: usize| {
        let size = input.dims[1..].iter().product::<usize>();
        input.data[image * size..][..size].to_vec()
    };
    let data = (0..dims[0]).flat_map(|image| inputs.iter().flat_map(move |input| part(input, image))).collect();
    Array { dims, data }
}

fn split(node: &NodeProto, x: &Array) -> Vec<Array> {
    let (parts, last) = (int(node, "num_outputs") as usize, x.dims.len() - 1);
    assert_eq!(int(node, "axis"), -1);
    let mut dims = x.dims.clone();
    dims[last] /= parts;
    let part = |part: usize| {
        let width = dims[last];
        let data = x.data.chunks(x.dims[last]).flat_map(|row| row[part * width..][..width].to_vec()).collect();
        Array { dims: dims.clone(), data }
    };
    (0..parts).map(part).collect()
}

fn matmul(x: &Array, y: &Array) -> Array {
    let (inner, columns) = (y.dims[y.dims.len() - 2], y.dims[y.dims.len() - 1]);
    let row_count = x.dims[x.dims.len() - 2];
    let mut data = Vec::new();
    for (row, values) in x.data.chunks(inner).enumerate() {
        let matrix = if y.dims.len() == 2 { 0 } else { row / row_count };
        let mut sums = vec![0.0; columns];
        for (weights, value) in y.data[matrix * inner * columns..].chunks(columns).zip(values) {
            sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += value * weight);
        }
        data.extend(sums);
    }
    let mut dims = x.dims.clone();
    *dims.last_mut().unwrap() = columns;
    Array { dims, data }
}

/// Abramowitz and Stegun, formula 7.1.26, whose error is below 1.5e-7.
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let polynomial = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let sum = polynomial.iter().fold(0.0, |sum, factor| sum * t + factor) * t;
    x.signum() * (1.0 - sum * (-x * x).exp())
}
