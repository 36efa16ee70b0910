//! Convolutions and pools of any geometry against a direct loop, and the same bits from any number of threads.

use candle_core::{Device, Tensor, Var};
use dnc_kernels::{Activation, Conv2d, Padding, Result, conv2d, conv2d_affine, linear, max_pool2d};
use proptest::prelude::*;

/// Largest difference relative to the largest value.
const TOLERANCE: f64 = 1e-4;

#[derive(Debug, Clone)]
struct Case {
    x: [usize; 4],
    out: usize,
    kernel: (usize, usize),
    options: Conv2d,
}

fn cases() -> impl Strategy<Value = Case> {
    let side = 1..11usize;
    let sides = (0..3usize, 0..3usize, 0..3usize, 0..3usize);
    let channels =
        prop_oneof![(1..40usize).prop_map(|c| (c, 1)), (1..8usize, 1..4usize), (2..40usize).prop_map(|c| (1, c))];
    (1..4usize, side.clone(), side, channels, 1..40usize, (1..6usize, 1..6usize), prop::bool::ANY, 1..4usize, sides)
        .prop_map(|(batch, height, width, (depth, groups), out, kernel, three, stride, (top, bottom, left, right))| {
            // A 3×3 window of stride 1 takes another way; let half of the cases be one.
            let (kernel, stride) = if three { ((3, 3), 1) } else { (kernel, stride) };
            let out = if depth == 1 && groups > 1 { groups } else { out.div_ceil(groups) * groups };
            let padding = Padding { top, bottom, left, right };
            let options = Conv2d { stride, padding, groups };
            Case { x: [batch, height, width, depth * groups], out, kernel, options }
        })
        .prop_filter("the window fits", |case| {
            let Padding { top, bottom, left, right } = case.options.padding;
            case.x[1] + top + bottom >= case.kernel.0 && case.x[2] + left + right >= case.kernel.1
        })
}

fn noise(length: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// The convolution by its formula, in double precision.
fn slow(case: &Case, x: &[f32], w: &[f32]) -> (Vec<f64>, [usize; 4]) {
    let [batch, height, width, channels] = case.x;
    let Conv2d { stride, padding, groups } = case.options;
    let rows = (height + padding.top + padding.bottom - case.kernel.0) / stride + 1;
    let columns = (width + padding.left + padding.right - case.kernel.1) / stride + 1;
    let (depth, per_group) = (channels / groups, case.out / groups);
    let mut y = Vec::new();
    for n in 0..batch {
        for i in 0..rows {
            for j in 0..columns {
                for o in 0..case.out {
                    let mut sum = 0.0;
                    for c in 0..depth {
                        for a in 0..case.kernel.0 {
                            for b in 0..case.kernel.1 {
                                let (v, h) = (
                                    (i * stride + a).wrapping_sub(padding.top),
                                    (j * stride + b).wrapping_sub(padding.left),
                                );
                                if v < height && h < width {
                                    let from = ((n * height + v) * width + h) * channels + o / per_group * depth + c;
                                    let weight = ((o * depth + c) * case.kernel.0 + a) * case.kernel.1 + b;
                                    sum += f64::from(x[from]) * f64::from(w[weight]);
                                }
                            }
                        }
                    }
                    y.push(sum);
                }
            }
        }
    }
    (y, [batch, rows, columns, case.out])
}

fn inner(a: &[f64], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum()
}

fn size(a: &[f64], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a * f64::from(*b)).abs()).sum::<f64>().max(1e-6)
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).expect("an f32 tensor on the CPU")
}

fn variable(values: &[f32], dims: &[usize]) -> Var {
    Var::from_slice(values, dims, &Device::Cpu).expect("the values fill the shape")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// The convolution is linear in x and in w, so its gradients are its adjoints: `⟨dx, u⟩ = ⟨dy, conv(u, w)⟩` for any u.
    #[test]
    fn convolutions_agree_with_a_loop(case in cases(), seed in 1..1000u64) {
        let w_dims = [case.out, case.x[3] / case.options.groups, case.kernel.0, case.kernel.1];
        let (x_len, w_len) = (case.x.iter().product(), w_dims.iter().product());
        let (x, w) = (noise(x_len, seed), noise(w_len, seed + 1));
        let (expected, dims) = slow(&case, &x, &w);
        let (x_var, w_var) = (variable(&x, &case.x), variable(&w, &w_dims));
        let y = conv2d(&x_var, &w_var, None, &case.options).expect("the shapes fit");
        prop_assert_eq!(y.dims(), &dims);
        let largest = expected.iter().fold(1e-6f64, |largest, value| largest.max(value.abs()));
        for (y, e) in flat(&y).iter().zip(&expected) {
            prop_assert!((f64::from(*y) - e).abs() <= TOLERANCE * largest, "{} is not {}", y, e);
        }

        let dy = noise(expected.len(), seed + 2);
        let dy_tensor = Tensor::from_slice(&dy, dims.as_slice(), &Device::Cpu).expect("the values fill the shape");
        let loss = (&y * dy_tensor).and_then(|y| y.sum_all()).expect("equal shapes");
        let gradients = loss.backward().expect("every kernel has a gradient");
        let gradient = |variable: &Var| flat(gradients.get(variable.as_tensor()).expect("it is a variable"));
        let (u, v) = (noise(x_len, seed + 3), noise(w_len, seed + 4));
        for (probed, direction, gradient) in [
            (slow(&case, &u, &w).0, &u, gradient(&x_var)),
            (slow(&case, &x, &v).0, &v, gradient(&w_var)),
        ] {
            let forward = inner(&probed, &dy);
            let backward: f64 = gradient.iter().zip(direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            prop_assert!((forward - backward).abs() <= TOLERANCE * size(&probed, &dy), "{} is not {}", backward, forward);
        }
    }

    /// The gradient of a maximum moves all of `dy` to pixels that are the maximum of their window.
    #[test]
    fn max_pools_agree_with_a_loop(
        (batch, height, width, channels) in (1..3usize, 2..9usize, 2..9usize, 1..20usize),
        (kernel, stride) in (1..4usize, 1..4usize),
        seed in 1..1000u64,
    ) {
        prop_assume!(kernel <= height && kernel <= width);
        let padding = kernel / 2;
        let x = noise(batch * height * width * channels, seed);
        let variable = variable(&x, &[batch, height, width, channels]);
        let y = max_pool2d(&variable, kernel, stride, padding).expect("the window fits");
        let (rows, columns) = ((height + 2 * padding - kernel) / stride + 1, (width + 2 * padding - kernel) / stride + 1);
        prop_assert_eq!(y.dims(), &[batch, rows, columns, channels]);
        let dy = noise(y.elem_count(), seed + 1);
        let mut dx = vec![0f32; x.len()];
        for (index, value) in flat(&y).into_iter().enumerate() {
            let c = index % channels;
            let (n, i, j) = (index / channels / columns / rows, index / channels / columns % rows, index / channels % columns);
            let pixels = (0..kernel * kernel).filter_map(|tap| {
                let v = (i * stride + tap / kernel).checked_sub(padding)?;
                let h = (j * stride + tap % kernel).checked_sub(padding)?;
                (v < height && h < width).then_some(((n * height + v) * width + h) * channels + c)
            });
            let best = pixels.reduce(|best, at| if x[at] > x[best] { at } else { best });
            let best = best.expect("the padding is smaller than the window");
            prop_assert_eq!(value, x[best]);
            dx[best] += dy[index];
        }
        let dy = Tensor::from_slice(&dy, y.dims(), &Device::Cpu).expect("the values fill the shape");
        let gradients = (&y * dy).and_then(|y| y.sum_all()).and_then(|loss| loss.backward()).expect("a pool has a gradient");
        for (a, b) in flat(gradients.get(variable.as_tensor()).expect("it is a variable")).iter().zip(&dx) {
            prop_assert!((a - b).abs() <= 1e-5, "{} is not {}", a, b);
        }
    }
}

/// A small network through every kind of convolution, and the bits of its output and all its gradients.
fn bits() -> Result<Vec<Vec<u32>>> {
    let conv = |stride: usize, groups: usize| Conv2d { stride, padding: Padding::same(1), groups };
    let layers = [
        (3, 32, 3, conv(2, 1)),
        (32, 48, 3, conv(1, 1)),
        (48, 48, 3, conv(1, 48)),
        (48, 64, 1, Conv2d::default()),
        (64, 40, 3, conv(2, 1)),
    ];
    let images = variable(&noise(5 * 33 * 31 * 3, 7), &[5, 33, 31, 3]);
    let mut variables = vec![images.clone()];
    let mut y = images.as_tensor().clone();
    for (index, (inputs, outputs, kernel, options)) in layers.into_iter().enumerate() {
        let dims = [outputs, inputs / options.groups, kernel, kernel];
        let weight = variable(&noise(dims.iter().product(), index as u64 + 20), &dims);
        let scale = variable(&noise(outputs, index as u64 + 40), &[outputs]);
        let shift = variable(&noise(outputs, index as u64 + 60), &[outputs]);
        y = conv2d_affine(&y, &weight, &scale, &shift, None, Activation::Relu, &options)?;
        if index == 0 {
            y = max_pool2d(&y, 3, 1, 1)?;
        }
        variables.extend([weight, scale, shift]);
    }
    let features = dnc_kernels::global_avg_pool(&y)?;
    let weight = variable(&noise(24 * 40, 90), &[24, 40]);
    let embedding = linear(&features, &weight, None)?;
    variables.push(weight);
    let gradients = embedding.sqr()?.sum_all()?.backward()?;
    let of = |variable: &Var| flat(gradients.get(variable.as_tensor()).expect("every variable has a gradient"));
    let mut values = vec![flat(&embedding)];
    values.extend(variables.iter().map(of));
    Ok(values.into_iter().map(|values| values.into_iter().map(f32::to_bits).collect()).collect())
}

#[test]
fn the_same_bits_from_any_number_of_threads() -> Result<()> {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of a few threads");
        pool.install(bits)
    };
    let expected = with(1)?;
    assert!(expected.iter().flatten().any(|&bits| bits != 0));
    for threads in [2, 3] {
        assert!(with(threads)? == expected, "{threads} threads give other bits than one");
    }
    Ok(())
}
