//! What only a GPU has: equal bits in repeated runs, precisions, the layers of transformers, many Adam steps at once, and what happens
//! when memory is exhausted. On the CPU, the tests run what it has of these.
//!
//! `DNC_TEST_DEVICE` names the device; see `common`.

mod common;

use std::ops::ControlFlow;

use candle_core::{DType, Device, Tensor, Var};
use common::{device, flat, tolerance};
use dnc_kernels::{
    Activation, AdamStep, AdamWork, Conv2d, FrozenNorm, Padding, Precision, Result, adam_step, attention, avg_pool2d,
    backward, conv2d_affine, conv2d_norm, fused_adam, gelu, global_avg_pool, global_max_pool, is_out_of_memory,
    kmeans::{Points, Stop},
    layer_norm, linear_in, max_pool2d,
    neighbours::Gallery,
    residual_sum, softmax,
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

/// A network with every kind of layer: its output, and the gradients of its input and of all parameters. Where values are rounded, one
/// on the other side of a kink (of ReLU, or of a maximum) has another gradient altogether; `kinks` says whether there are any.
fn network(device: &Device, precision: Precision, kinks: bool) -> Result<Vec<Vec<f32>>> {
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
        let activation = if kinks { activation } else { Activation::None };
        y = conv2d_affine(&y, &weight, &scale, &shift, residual, activation, &options)?;
        if index == 1 {
            y = if kinks { max_pool2d(&y, 3, 2, 1)? } else { avg_pool2d(&y, 3, 2, 1)? };
        }
        variables.extend([weight, scale, shift]);
    }
    let most = if kinks { global_max_pool(&y)? } else { global_avg_pool(&y)? };
    let features = (global_avg_pool(&y)? + most)?;
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
        let first = bits(&network(&device, precision, true)?);
        assert!(first.iter().flatten().all(|&bits| f32::from_bits(bits).is_finite()), "{precision:?}");
        for _ in 0..2 {
            assert!(bits(&network(&device, precision, true)?) == first, "{precision:?}");
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
    for &precision in precisions(&device) {
        let (least, output, gradient) = match precision {
            Precision::F32 => (0.0, 1e-4, 1e-3),
            Precision::Tf32 => (1e-5, 1e-2, 5e-2),
            Precision::Bf16 => (1e-4, 2e-2, 0.1),
        };
        let kinks = precision != Precision::Bf16;
        if !kinks {
            // The output itself is continuous.
            let [found, exact] = [&network(&device, precision, true)?, &network(&Device::Cpu, Precision::F32, true)?];
            let difference = distance(&found[0], &exact[0]);
            assert!(difference >= least && difference <= output, "{precision:?}: output differs by {difference}");
        }
        let exact = network(&Device::Cpu, Precision::F32, kinks)?;
        let found = network(&device, precision, kinks)?;
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

/// Rows and queries of this many values, and how many neighbours of each query are asked for.
struct Searched {
    name: &'static str,
    rows: Vec<f32>,
    queries: Vec<f32>,
    dim: usize,
    k: usize,
}

/// Searches that a bound proves complete, and such that it cannot.
fn searches() -> Vec<Searched> {
    let of = |name, count: usize, asked: usize, dim: usize, k| Searched {
        name,
        rows: noise(&[count, dim], 7 * count as u64 + dim as u64),
        queries: noise(&[asked, dim], 11),
        dim,
        k,
    };
    let mut duplicates = of("rows of five kinds", 400, 3, 17, 50);
    duplicates.rows = duplicates.rows[..5 * 17].repeat(80);
    duplicates.queries[..17].copy_from_slice(&duplicates.rows[..17]);
    let mut ties = of("points of a grid", 512, 4, 3, 20);
    ties.rows = (0..512).flat_map(|row| [row % 8, row / 8 % 8, row / 64].map(|value| value as f32)).collect();
    ties.queries.iter_mut().for_each(|value| *value = (8.0 * *value).round() / 2.0);
    let mut zeros = of("zeros", 150, 2, 8, 5);
    zeros.rows[..100 * 8].fill(0.0);
    zeros.queries[..8].fill(0.0);
    let mut norms = of("very different norms", 300, 4, 24, 7);
    for (row, values) in norms.rows.chunks_exact_mut(24).enumerate() {
        values.iter_mut().for_each(|value| *value *= 10f32.powi(row as i32 % 13 - 6));
    }
    let mut huge = of("squares near the largest float", 200, 2, 4, 5);
    huge.rows.iter_mut().for_each(|value| *value *= 4e18);
    let mut tiny = of("squares below the smallest float", 200, 2, 4, 5);
    tiny.rows.iter_mut().chain(&mut tiny.queries).for_each(|value| *value *= 1e-24);
    let mut far = of("far from the origin", 300, 3, 16, 9);
    far.rows.iter_mut().chain(&mut far.queries).for_each(|value| *value += 100.0);
    vec![
        of("many neighbours", 700, 2, 12, 450),
        of("one value", 300, 3, 1, 4),
        of("a dimension above 64 that no vector divides", 300, 3, 131, 10),
        of("more neighbours than rows", 30, 3, 9, 40),
        of("one row", 1, 2, 5, 3),
        duplicates,
        ties,
        zeros,
        norms,
        huge,
        tiny,
        far,
    ]
}

/// A GPU's lists of neighbours are those of the CPU, bit for bit, whether its bound proves them complete or not.
#[test]
fn neighbours_equal_those_of_the_cpu() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    for Searched { name, rows, queries, dim, k } in searches() {
        let on_cpu = Gallery::new(&rows, dim)?;
        let on_device = Gallery::on(&rows, dim, &device)?;
        let even = |query: usize, row: u32| (query + row as usize).is_multiple_of(2);
        let [found, expected] = [&on_device, &on_cpu].map(|gallery| gallery.nearest(&queries, k, |_, _| false));
        assert!(found? == expected?, "{name}");
        let [found, expected] = [&on_device, &on_cpu].map(|gallery| gallery.nearest(&queries, k, even));
        assert!(found? == expected?, "{name}, half of the rows excluded");
        let none = on_device.nearest(&[], k, |_, _| false)?;
        assert!(none.is_empty(), "{name}, no queries");
    }
    Ok(())
}

/// Points of this many values to cluster, and the number of clusters.
struct Clustered {
    name: &'static str,
    points: Vec<f32>,
    dim: usize,
    clusters: usize,
}

/// Points whose clusters a bound decides, and such where it cannot.
fn clusterings() -> Vec<Clustered> {
    let of = |name, count: usize, dim: usize, clusters| Clustered {
        name,
        points: noise(&[count, dim], 13 * count as u64 + dim as u64),
        dim,
        clusters,
    };
    let mut few = of("fewer distinct points than clusters", 60, 17, 12);
    few.points = few.points[..5 * 17].repeat(12);
    let mut ties = of("points of a grid", 64, 3, 7);
    ties.points = (0..64).flat_map(|row| [row % 4, row / 4 % 4, row / 16].map(|value| value as f32)).collect();
    let mut huge = of("squares near the largest float", 60, 4, 5);
    huge.points.iter_mut().for_each(|value| *value *= 4e18);
    let mut tiny = of("squares below the smallest float", 60, 4, 5);
    tiny.points.iter_mut().for_each(|value| *value *= 1e-24);
    let mut far = of("far from the origin", 80, 33, 6);
    far.points.iter_mut().for_each(|value| *value += 100.0);
    vec![
        of("one cluster", 20, 5, 1),
        of("one value", 90, 1, 4),
        of("a dimension above 64 that no vector divides", 80, 131, 9),
        of("as many clusters as points", 24, 16, 24),
        of("seeds in batches", 150, 8, 70),
        few,
        ties,
        huge,
        tiny,
        far,
    ]
}

/// Seeds, assignments, centroids, distances and inertia of a GPU are those of the CPU, bit for bit, also where clusters become empty.
#[test]
fn clusters_equal_those_of_the_cpu() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    for Clustered { name, points, dim, clusters } in clusterings() {
        let [on_cpu, on_device] = [Points::new(&points, dim)?, Points::on(&points, dim, &device)?];
        let seeds = on_cpu.plus_plus(clusters, 3)?;
        assert!(on_device.plus_plus(clusters, 3)? == seeds, "{name}, seeds");
        let mut with_empty = points[..clusters * dim].to_vec();
        with_empty[..dim].iter_mut().for_each(|value| *value *= 2.0);
        for (start, iterations) in [(&seeds, 0), (&seeds, 4), (&with_empty, 2)] {
            let stop = Stop { iterations, tolerance: 0.0 };
            let run = |points: &Points<'_>| points.lloyd(start, stop, |_, _| ControlFlow::Continue(()));
            let (found, expected) = (run(&on_device)?, run(&on_cpu)?);
            assert!(found == expected, "{name}, {iterations} iterations");
        }
    }
    Ok(())
}
