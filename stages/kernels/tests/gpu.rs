//! What only a GPU has: equal bits in repeated runs, precisions, the layers of transformers, many Adam steps at once, and what happens
//! when memory is exhausted. On the CPU, the tests run what it has of these.
//!
//! `DNC_TEST_DEVICE` names the device; see `common`.

mod common;

use candle_core::{DType, Device, Tensor, Var};
use common::{device, flat, tolerance};
use dnc_kernels::{
    Activation, AdamStep, AdamWork, Conv2d, FrozenNorm, Padding, Precision, Result, adam_step, attention, backward,
    conv2d_affine, conv2d_norm, fused_adam, gelu, global_avg_pool, global_max_pool, is_out_of_memory, layer_norm,
    linear_in, max_pool2d, residual_sum, softmax,
};

/// Values without a pattern, between −1 and 1.
fn noise(dims: &[usize], seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..dims.iter().product())
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

fn variable(dims: &[usize], seed: u64, device: &Device) -> Result<Var> {
    Ok(Var::from_tensor(&Tensor::from_vec(noise(dims, seed), dims, device)?)?)
}

/// ‖a − b‖ / ‖b‖.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference / norm(&mut b.iter().map(|b| f64::from(*b))).max(1e-12)
}

/// A network with every kind of layer: its output, and the gradients of its input and of all parameters.
fn network(device: &Device, precision: Precision) -> Result<Vec<Vec<f32>>> {
    let images = variable(&[3, 17, 15, 3], 1, device)?;
    let mut variables = vec![images.clone()];
    let mut y = images.to_dtype(precision.activations())?;
    let uneven = Padding { top: 0, bottom: 1, left: 0, right: 1 };
    for (index, (inputs, outputs, kernel, stride, padding, groups, activation)) in [
        (3, 16, 3, 2, uneven, 1, Activation::Relu6),
        (16, 16, 3, 1, Padding::same(1), 1, Activation::Relu),
        (16, 24, 1, 1, Padding::default(), 1, Activation::None),
        (24, 24, 3, 1, Padding::same(1), 24, Activation::Relu6),
        (24, 24, 5, 2, Padding::same(2), 24, Activation::Relu),
        (24, 30, 1, 2, Padding::default(), 1, Activation::Relu),
    ]
    .into_iter()
    .enumerate()
    {
        let seed = 10 * index as u64;
        let weight = variable(&[outputs, inputs / groups, kernel, kernel], seed + 2, device)?;
        let (scale, shift) = (variable(&[outputs], seed + 3, device)?, variable(&[outputs], seed + 4, device)?);
        let residual = (inputs == outputs && stride == 1).then_some(&y);
        let options = Conv2d { stride, padding, groups, precision };
        y = conv2d_affine(&y, &weight, &scale, &shift, residual, activation, &options)?;
        if index == 1 {
            y = max_pool2d(&y, 3, 2, 1)?;
        }
        variables.extend([weight, scale, shift]);
    }
    let features = (global_avg_pool(&y)? + global_max_pool(&y)?)?;
    let (weight, bias) = (variable(&[12, 30], 90, device)?, variable(&[12], 91, device)?);
    let tokens = linear_in(precision, &features, &weight, Some(&bias))?;
    let (scale, shift) = (variable(&[12], 92, device)?, variable(&[12], 93, device)?);
    let normalised = layer_norm(&tokens, &scale, &shift, 1e-6)?;
    let output = (softmax(&tokens, 0.3)? + gelu(&normalised)?)?.to_dtype(DType::F32)?;
    variables.extend([weight, bias, scale, shift]);
    let direction = Tensor::from_vec(noise(&[3, 12], 99), (3, 12), device)?;
    let gradients = backward(&(&output * direction)?.sum_all()?)?;
    let of = |variable: &Var| flat(gradients.get(variable).expect("every variable has a gradient"));
    Ok(std::iter::once(flat(&output)).chain(variables.iter().map(of)).collect())
}

fn bits(values: &[Vec<f32>]) -> Vec<Vec<u32>> {
    values.iter().map(|values| values.iter().map(|value| value.to_bits()).collect()).collect()
}

/// The precisions of a device.
fn precisions(device: &Device) -> &'static [Precision] {
    if device.is_cpu() { &[Precision::F32] } else { &[Precision::F32, Precision::Tf32, Precision::Bf16] }
}

#[test]
fn three_runs_give_the_same_bits() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    for &precision in precisions(&device) {
        let first = bits(&network(&device, precision)?);
        assert!(first.iter().flatten().all(|&bits| f32::from_bits(bits).is_finite()), "{precision:?}");
        for _ in 0..2 {
            assert!(bits(&network(&device, precision)?) == first, "{precision:?}");
        }
    }
    Ok(())
}

/// Each precision is as exact as it should be, and none is more exact than that: then it would not have been taken.
#[test]
fn precisions_differ_from_the_cpu_by_their_rounding() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    let exact = network(&Device::Cpu, Precision::F32)?;
    for &precision in precisions(&device) {
        let (least, output, gradient) = match precision {
            Precision::F32 => (0.0, 1e-4, 1e-3),
            Precision::Tf32 => (1e-5, 1e-2, 5e-2),
            Precision::Bf16 => (1e-4, 5e-2, 0.3),
        };
        let found = network(&device, precision)?;
        let distances: Vec<f64> = found.iter().zip(&exact).map(|(found, exact)| distance(found, exact)).collect();
        let listed: Vec<String> = distances.iter().map(|distance| format!("{distance:.1e}")).collect();
        println!("{precision:?}: {}", listed.join(" "));
        assert!(distances[0] >= least && distances[0] <= output, "{precision:?}: output differs by {}", distances[0]);
        for (index, distance) in distances.iter().enumerate().skip(1) {
            assert!(*distance <= gradient, "{precision:?}: gradient {index} differs by {distance}");
        }
    }
    Ok(())
}

/// Layer normalisation, softmax and GELU and their gradients against candle's operations in `f64` on the CPU.
#[test]
fn layers_of_transformers_agree_with_double_precision() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    let run = |device: &Device, dtype: DType| -> Result<Vec<Vec<f32>>> {
        let of = |dims: &[usize], seed| -> Result<Var> {
            Ok(Var::from_tensor(&variable(dims, seed, device)?.as_tensor().to_dtype(dtype)?)?)
        };
        let mut results = Vec::new();
        for (seed, dims) in [[2, 3, 197], [1, 5, 384], [4, 1, 1]].iter().enumerate() {
            let seed = 100 * seed as u64;
            let width = [dims[2]];
            let (x, weight, bias) = (of(dims, seed + 1)?, of(&width, seed + 2)?, of(&width, seed + 3)?);
            let dy = of(dims, seed + 4)?;
            let wide = (x.as_tensor() * 4.0)?;
            let layers: [(Tensor, Vec<&Var>); 3] = [
                (layer_norm(&wide, &weight, &bias, 1e-6)?, vec![&x, &weight, &bias]),
                (softmax(&wide, 0.7)?, vec![&x]),
                (gelu(&wide)?, vec![&x]),
            ];
            for (y, variables) in layers {
                results.push(flat(&y));
                let gradients = backward(&(y * dy.as_detached_tensor())?.sum_all()?)?;
                results.extend(variables.into_iter().map(|variable| flat(gradients.get(variable).expect("tracked"))));
            }
        }
        Ok(results)
    };
    let (found, expected) = (run(&device, DType::F32)?, run(&Device::Cpu, DType::F64)?);
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let size = expected.iter().fold(0f32, |size, value| size.max(value.abs()));
        let worst = found.iter().zip(expected).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(worst <= tolerance(&device) * size.max(1e-2), "value {index} differs by {worst} of {size}");
    }
    Ok(())
}

/// Attention, residual sums, and convolutions with a frozen normalisation, with their gradients, against candle's operations in `f64` on
/// the CPU.
#[test]
fn attention_and_frozen_norms_agree_with_double_precision() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    let run = |device: &Device, dtype: DType| -> Result<Vec<Vec<f32>>> {
        let of = |dims: &[usize], seed| -> Result<Var> {
            Ok(Var::from_tensor(&variable(dims, seed, device)?.as_tensor().to_dtype(dtype)?)?)
        };
        let (qkv, other, scale) = (of(&[2, 7, 36], 1)?, of(&[2, 7, 12], 2)?, of(&[12], 3)?);
        let attended = attention(&(qkv.as_tensor() * 2.0)?, 3, Precision::F32)?;
        let scaled = residual_sum(&other, &attended, Some(&scale))?;
        let sum = residual_sum(&scaled, &attended, None)?;

        let (x, weight) = (of(&[2, 6, 5, 8], 4)?, of(&[12, 8, 3, 3], 5)?);
        let [gamma, beta, bias] = [of(&[12], 6)?, of(&[12], 7)?, of(&[12], 8)?];
        let (mean, variance) =
            (of(&[12], 9)?.as_detached_tensor(), (of(&[12], 10)?.as_detached_tensor().sqr()? + 0.5)?);
        let norm = FrozenNorm {
            weight: &gamma,
            bias: &beta,
            mean: &mean,
            variance: &variance,
            conv_bias: Some(&bias),
            epsilon: 1e-3,
        };
        let options = Conv2d { padding: Padding::same(1), ..Conv2d::default() };
        let convolved = conv2d_norm(&x, &weight, &norm, None, Activation::Relu, &options)?;

        let mut results = vec![flat(&sum), flat(&convolved)];
        for (y, variables) in [(sum, vec![&qkv, &other, &scale]), (convolved, vec![&x, &weight, &gamma, &beta, &bias])]
        {
            let dy = of(y.dims(), 11)?.as_detached_tensor();
            let gradients = backward(&(y * dy)?.sum_all()?)?;
            results.extend(variables.into_iter().map(|variable| flat(gradients.get(variable).expect("tracked"))));
        }
        Ok(results)
    };
    let (found, expected) = (run(&device, DType::F32)?, run(&Device::Cpu, DType::F64)?);
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let difference = distance(found, expected);
        assert!(difference <= f64::from(tolerance(&device)), "value {index} differs by {difference}");
    }
    Ok(())
}

#[test]
fn many_steps_of_adam_at_once_agree_with_single_ones() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    let sizes = [1usize, 37, 20_000];
    let step = |index: usize, number: u64| AdamStep {
        lr: 3e-3,
        beta1: 0.85,
        beta2: 0.995,
        eps: 1e-7,
        weight_decay: 2e-2,
        decoupled: index.is_multiple_of(2),
        step: number,
    };
    let mut on_cpu: Vec<[Vec<f32>; 3]> =
        sizes.iter().map(|&size| [noise(&[size], size as u64), vec![0.0; size], vec![0.0; size]]).collect();
    let parameters: Vec<Var> =
        sizes.iter().map(|&size| variable(&[size], size as u64, &device)).collect::<Result<_>>()?;
    let moments: Vec<Tensor> =
        sizes.iter().map(|&size| Tensor::zeros((2, size), DType::F32, &device)).collect::<candle_core::Result<_>>()?;
    for number in 1..=3 {
        let gradient = |size: usize| noise(&[size], number + 7 * size as u64);
        let gradients: Vec<Tensor> = sizes
            .iter()
            .map(|&size| Tensor::from_vec(gradient(size), size, &device))
            .collect::<candle_core::Result<_>>()?;
        let work: Vec<AdamWork> = (0..sizes.len())
            .map(|index| AdamWork {
                parameter: &parameters[index],
                gradient: &gradients[index],
                moments: &moments[index],
                step: step(index, number),
            })
            .collect();
        let is_fused = fused_adam(&work)?;
        assert_eq!(is_fused, !device.is_cpu() && std::env::var("DNC_CUDA_KERNELS").as_deref() != Ok("candle"));
        if !is_fused {
            return Ok(());
        }
        for (index, [p, m, v]) in on_cpu.iter_mut().enumerate() {
            adam_step(p, &gradient(sizes[index]), m, v, step(index, number));
        }
    }
    for (index, [p, m, v]) in on_cpu.iter().enumerate() {
        let both = flat(&moments[index]);
        let (first, second) = both.split_at(sizes[index]);
        for (found, expected) in [(flat(&parameters[index]).as_slice(), p), (first, m), (second, v)] {
            assert!(distance(found, expected) <= 1e-5, "tensor {index}");
        }
    }
    Ok(())
}

#[test]
fn exhausted_memory_is_an_error_that_is_recognised() -> Result<()> {
    let Some(device) = device().filter(Device::is_cuda) else {
        return Ok(());
    };
    const ONE_TERABYTE: usize = 1 << 40;
    let error = Tensor::zeros(ONE_TERABYTE / 4, DType::F32, &device).expect_err("no card has so much");
    assert!(is_out_of_memory(&error), "{error}");
    // The device works on.
    assert_eq!(flat(&Tensor::ones(2, DType::F32, &device)?), [1.0, 1.0]);
    Ok(())
}
