//! Every public operation accepts strided inputs: transposed and narrowed views give the values and gradients of their contiguous
//! copies, by the kernels (`f32`) and by the operations composed of candle's own (`f64`).
//!
//! `DNC_TEST_DEVICE` names the device; see `common`.

mod common;

use candle_core::{DType, Device, Tensor, Var};
use common::{device, flat, tolerance};
use dnc_kernels::{
    Activation, Conv2d, Padding, Precision, Result, affine, avg_pool2d, backward, conv2d, conv2d_affine,
    global_avg_pool, global_max_pool, l2_normalise, linear, linear_sum, max_pool2d, nchw_to_nhwc, pairwise_distances,
};

/// An operation over some inputs.
type Operation = fn(&[Tensor]) -> Result<Tensor>;

/// Values without a pattern that wrong strides could preserve.
fn noise(dims: &[usize], seed: usize, device: &Device, dtype: DType) -> Result<Tensor> {
    let length = dims.iter().product::<usize>();
    let values: Vec<f32> = (0..length).map(|i| (((i + 31 * seed) * 7919 % 1009) as f32 / 504.5) - 1.0).collect();
    Ok(Tensor::from_vec(values, dims, device)?.to_dtype(dtype)?)
}

/// A variable and a view of it of shape `dims` with its axes in reverse order.
fn transposed(dims: &[usize], seed: usize, device: &Device, dtype: DType) -> Result<(Var, Tensor)> {
    let reversed: Vec<usize> = dims.iter().rev().copied().collect();
    let variable = Var::from_tensor(&noise(&reversed, seed, device, dtype)?)?;
    let axes: Vec<usize> = (0..dims.len()).rev().collect();
    let view = variable.permute(axes)?;
    Ok((variable, view))
}

/// A variable and a view of it of shape `dims` without some values at both ends of the last axis.
fn narrowed(dims: &[usize], seed: usize, device: &Device, dtype: DType) -> Result<(Var, Tensor)> {
    let axis = dims.len() - 1;
    let mut wider = dims.to_vec();
    wider[axis] += 3;
    let variable = Var::from_tensor(&noise(&wider, seed, device, dtype)?)?;
    let view = variable.narrow(axis, 1, dims[axis])?;
    Ok((variable, view))
}

/// The result of an operation and the gradients of its variables.
fn run(operation: Operation, variables: &[Var], inputs: &[Tensor]) -> Result<Vec<Vec<f32>>> {
    let y = operation(inputs)?;
    let weights = noise(y.dims(), 99, y.device(), y.dtype())?;
    let gradients = backward(&(&y * weights)?.sum_all()?)?;
    let of = |variable: &Var| flat(gradients.get(variable.as_tensor()).expect("every variable has a gradient"));
    Ok(std::iter::once(flat(&y)).chain(variables.iter().map(of)).collect())
}

/// Compares an operation on strided views with the same operation on their contiguous copies.
fn check(name: &str, shapes: &[&[usize]], operation: Operation) -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    // On a GPU, `f64` runs what it runs on the CPU.
    let types: &[DType] = if device.is_cpu() { &[DType::F32, DType::F64] } else { &[DType::F32] };
    for &dtype in types {
        for (form, view) in [("transposed", transposed as fn(&_, _, &_, _) -> _), ("narrowed", narrowed)] {
            let mut variables = Vec::new();
            let mut views: Vec<Tensor> = Vec::new();
            for (seed, dims) in shapes.iter().enumerate() {
                let (variable, view) = view(dims, seed, &device, dtype)?;
                assert_eq!(view.dims(), *dims);
                variables.push(variable);
                views.push(view);
            }
            assert!(views.iter().any(|view| !view.is_contiguous()), "{name}: no {form} input is strided");
            let copies: Vec<Tensor> = views.iter().map(Tensor::force_contiguous).collect::<candle_core::Result<_>>()?;
            let found = run(operation, &variables, &views)?;
            let expected = run(operation, &variables, &copies)?;
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let largest = expected.iter().fold(1e-3f32, |largest, value| largest.max(value.abs()));
                let accepted = tolerance(&device) * largest;
                let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= accepted);
                assert!(close && found.len() == expected.len(), "{name}, {form}, {dtype:?}: value {index} differs");
            }
        }
    }
    Ok(())
}

const OPTIONS: Conv2d = Conv2d { stride: 1, padding: Padding::same(1), groups: 1, precision: Precision::F32 };

const IMAGES: &[usize] = &[2, 6, 5, 8];

#[test]
fn convolutions() -> Result<()> {
    let (weight, channels): (&[usize], &[usize]) = (&[7, 8, 3, 3], &[7]);
    check("conv2d", &[IMAGES, weight, channels], |inputs| conv2d(&inputs[0], &inputs[1], Some(&inputs[2]), &OPTIONS))?;
    check("conv2d_affine", &[IMAGES, weight, channels, channels, &[2, 6, 5, 7]], |inputs| {
        let [x, weight, scale, shift, residual] = inputs else { panic!("five inputs") };
        conv2d_affine(x, weight, scale, shift, Some(residual), Activation::Relu, &OPTIONS)
    })?;
    check("conv2d, depthwise", &[IMAGES, &[8, 1, 3, 3]], |inputs| {
        conv2d(&inputs[0], &inputs[1], None, &Conv2d { groups: 8, ..OPTIONS })
    })
}

#[test]
fn affine_maps() -> Result<()> {
    check("affine", &[IMAGES, &[8], &[8], IMAGES], |inputs| {
        affine(&inputs[0], &inputs[1], &inputs[2], Some(&inputs[3]), Activation::Relu6)
    })
}

#[test]
fn pools() -> Result<()> {
    check("max_pool2d", &[IMAGES], |inputs| max_pool2d(&inputs[0], 3, 2, 1))?;
    check("avg_pool2d", &[IMAGES], |inputs| avg_pool2d(&inputs[0], 3, 2, 1))?;
    check("global_max_pool", &[IMAGES], |inputs| global_max_pool(&inputs[0]))?;
    check("global_avg_pool", &[IMAGES], |inputs| global_avg_pool(&inputs[0]))
}

#[test]
fn products_and_distances() -> Result<()> {
    check("linear", &[&[6, 9], &[5, 9], &[5]], |inputs| linear(&inputs[0], &inputs[1], Some(&inputs[2])))?;
    check("linear without bias", &[&[6, 9], &[5, 9]], |inputs| linear(&inputs[0], &inputs[1], None))?;
    check("pairwise_distances", &[&[6, 9], &[5, 9]], |inputs| pairwise_distances(&inputs[0], &inputs[1]))?;
    check("l2_normalise", &[&[6, 9]], |inputs| l2_normalise(&inputs[0]))
}

#[test]
fn layouts() -> Result<()> {
    check("nchw_to_nhwc", &[&[2, 8, 6, 5]], |inputs| nchw_to_nhwc(&inputs[0]))
}

/// Contiguous tensors that begin anywhere in their memory: no library may expect more of their addresses than is true.
#[test]
fn operands_may_begin_at_any_address() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    let (rows, width, out) = (16usize, 8, 24);
    let of = |dims: (usize, usize), first: usize, seed| -> Result<Tensor> {
        let values = noise(&[first + dims.0 * dims.1], seed, &device, DType::F32)?;
        Ok(values.narrow(0, first, dims.0 * dims.1)?.reshape(dims)?)
    };
    for moved in 0..3 {
        let first = |operand| if operand == moved { 1 } else { 0 };
        let [x, weight, residual] =
            [of((rows, width), first(0), 1)?, of((out, width), first(1), 2)?, of((rows, out), first(2), 3)?];
        let y = linear_sum(Precision::F32, &x, &weight, None, &residual)?;
        let expected =
            (residual.to_dtype(DType::F64)? + x.to_dtype(DType::F64)?.matmul(&weight.to_dtype(DType::F64)?.t()?)?)?;
        let worst = flat(&y).iter().zip(flat(&expected)).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(worst <= 1e-5, "operand {moved} begins late: {worst}");
    }
    Ok(())
}

/// Columns of a table as scale and shift.
#[test]
fn scale_and_shift_may_be_columns_of_a_table() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    let table = Tensor::new(&[[2f32, 3.0], [5.0, 7.0]], &device)?;
    let column = |index| table.narrow(1, index, 1)?.squeeze(1);
    let x = Tensor::new(&[[1f32, 10.0]], &device)?;
    let y = affine(&x, &column(0)?, &column(1)?, None, Activation::None)?;
    assert_eq!(flat(&y), [5.0, 57.0]);
    Ok(())
}
