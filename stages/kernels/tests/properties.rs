//! Every operation on random geometries against a direct loop, identical bits for any number of threads, and a network on the device
//! against a reference.
//!
//! `DNC_TEST_DEVICE` names the device; see `common`.

mod common;

use candle_core::{DType, Device, Tensor, Var};
use common::{device, flat, tolerance};
use dnc_kernels::{
    Activation, Conv2d, Padding, Result, affine, avg_pool2d, backward, conv2d, conv2d_affine, global_avg_pool,
    l2_normalise, linear, max_pool2d, pairwise_distances,
};
use proptest::prelude::*;

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
            // Half of the cases are 3×3 windows of stride 1, which have a kernel of their own.
            let (kernel, stride) = if three { ((3, 3), 1) } else { (kernel, stride) };
            let out = if depth == 1 && groups > 1 { groups } else { out.div_ceil(groups) * groups };
            let padding = Padding { top, bottom, left, right };
            let options = Conv2d { stride, padding, groups, ..Conv2d::default() };
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

/// The convolution by its formula in double precision.
fn slow(case: &Case, x: &[f32], w: &[f32]) -> (Vec<f64>, [usize; 4]) {
    let [batch, height, width, channels] = case.x;
    let Conv2d { stride, padding, groups, .. } = case.options;
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

/// Where and in which type an operation runs.
#[derive(Debug, Clone)]
struct Placement {
    device: Device,
    dtype: DType,
}

impl Placement {
    fn tensor(&self, values: &[f32], dims: &[usize]) -> Tensor {
        let tensor = Tensor::from_slice(values, dims, &self.device).and_then(|tensor| tensor.to_dtype(self.dtype));
        tensor.expect("the values fill the shape")
    }

    fn variable(&self, values: &[f32], dims: &[usize]) -> Var {
        Var::from_tensor(&self.tensor(values, dims)).expect("a tensor becomes a variable")
    }

    fn tolerance(&self) -> f64 {
        f64::from(tolerance(&self.device))
    }

    /// Whether all values agree with those of a formula.
    fn agree(&self, actual: &[f32], expected: &[f64]) -> bool {
        let largest = expected.iter().fold(1e-3f64, |largest, value| largest.max(value.abs()));
        let accepted = self.tolerance() * largest;
        let close = |(a, e): (&f32, &f64)| (f64::from(*a) - e).abs() <= accepted;
        actual.len() == expected.len() && actual.iter().zip(expected).all(close)
    }
}

/// The gradients of `⟨y, dy⟩` with respect to some variables.
fn gradients(y: &Tensor, dy: &[f32], variables: &[&Var]) -> Vec<Vec<f32>> {
    let dy = Placement { device: y.device().clone(), dtype: y.dtype() }.tensor(dy, y.dims());
    let loss = (y * dy).and_then(|y| y.sum_all()).expect("equal shapes");
    let gradients = backward(&loss).expect("every operation has a gradient");
    variables.iter().map(|&variable| flat(gradients.get(variable).expect("it is a variable"))).collect()
}

/// `f32` runs the device's kernels where it has any, `f64` on the CPU the operations composed of candle's own. `None` if the device is
/// not available.
fn placements() -> impl Strategy<Value = Option<Placement>> {
    prop_oneof![Just(DType::F32), Just(DType::F64)].prop_map(|dtype| {
        let placed = |device: Device| {
            let dtype = if device.is_cpu() { dtype } else { DType::F32 };
            Placement { device, dtype }
        };
        device().map(placed)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// The convolution is linear in x and in w, so its gradients are its adjoints: `⟨dx, u⟩ = ⟨dy, conv(u, w)⟩` for any u.
    #[test]
    fn convolutions_agree_with_a_loop(case in cases(), seed in 1..1000u64, placement in placements()) {
        let Some(placement) = placement else {
            return Ok(());
        };
        let w_dims = [case.out, case.x[3] / case.options.groups, case.kernel.0, case.kernel.1];
        let (x_len, w_len) = (case.x.iter().product(), w_dims.iter().product());
        let (x, w) = (noise(x_len, seed), noise(w_len, seed + 1));
        let (expected, dims) = slow(&case, &x, &w);
        let (x_var, w_var) = (placement.variable(&x, &case.x), placement.variable(&w, &w_dims));
        let y = conv2d(&x_var, &w_var, None, &case.options).expect("the shapes fit");
        prop_assert_eq!(y.dims(), &dims);
        let largest = expected.iter().fold(1e-6f64, |largest, value| largest.max(value.abs()));
        for (y, e) in flat(&y).iter().zip(&expected) {
            prop_assert!((f64::from(*y) - e).abs() <= placement.tolerance() * largest, "{} is not {}", y, e);
        }

        let dy = noise(expected.len(), seed + 2);
        let gradients = gradients(&y, &dy, &[&x_var, &w_var]);
        let (u, v) = (noise(x_len, seed + 3), noise(w_len, seed + 4));
        for (probed, direction, gradient) in [
            (slow(&case, &u, &w).0, &u, &gradients[0]),
            (slow(&case, &x, &v).0, &v, &gradients[1]),
        ] {
            let forward = inner(&probed, &dy);
            let backward: f64 = gradient.iter().zip(direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            prop_assert!((forward - backward).abs() <= placement.tolerance() * size(&probed, &dy), "{} is not {}", backward, forward);
        }
    }

    /// The gradient of a maximum moves all of `dy` to pixels that are the maximum of their window.
    #[test]
    fn max_pools_agree_with_a_loop(
        (batch, height, width, channels) in (1..3usize, 2..9usize, 2..9usize, 1..20usize),
        (kernel, stride) in (1..4usize, 1..4usize),
        seed in 1..1000u64,
        placement in placements(),
    ) {
        let Some(placement) = placement else {
            return Ok(());
        };
        prop_assume!(kernel <= height && kernel <= width);
        let padding = kernel / 2;
        let x = noise(batch * height * width * channels, seed);
        let variable = placement.variable(&x, &[batch, height, width, channels]);
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
        for (a, b) in gradients(&y, &dy, &[&variable])[0].iter().zip(&dx) {
            prop_assert!((a - b).abs() <= 1e-5, "{} is not {}", a, b);
        }
    }

    /// An average is linear: the gradient of each output is divided equally among the pixels of its window.
    #[test]
    fn average_pools_agree_with_a_loop(
        (batch, height, width, channels) in (1..3usize, 2..9usize, 2..9usize, 1..40usize),
        (kernel, stride) in (1..6usize, 1..4usize),
        seed in 1..1000u64,
        placement in placements(),
    ) {
        let Some(placement) = placement else {
            return Ok(());
        };
        prop_assume!(kernel <= height && kernel <= width);
        let padding = kernel / 2;
        let x = noise(batch * height * width * channels, seed);
        let variable = placement.variable(&x, &[batch, height, width, channels]);
        let y = avg_pool2d(&variable, kernel, stride, padding).expect("the window fits");
        let (rows, columns) = ((height + 2 * padding - kernel) / stride + 1, (width + 2 * padding - kernel) / stride + 1);
        prop_assert_eq!(y.dims(), &[batch, rows, columns, channels]);
        let dy = noise(y.elem_count(), seed + 1);
        let (mut expected, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
        let share = 1.0 / (kernel * kernel) as f64;
        for index in 0..dy.len() {
            let c = index % channels;
            let (n, i, j) = (index / channels / columns / rows, index / channels / columns % rows, index / channels % columns);
            for tap in 0..kernel * kernel {
                let (v, h) = ((i * stride + tap / kernel).wrapping_sub(padding), (j * stride + tap % kernel).wrapping_sub(padding));
                if v < height && h < width {
                    let at = ((n * height + v) * width + h) * channels + c;
                    expected[index] += share * f64::from(x[at]);
                    dx[at] += share * f64::from(dy[index]);
                }
            }
        }
        prop_assert!(placement.agree(&flat(&y), &expected));
        prop_assert!(placement.agree(&gradients(&y, &dy, &[&variable])[0], &dx));
    }

    #[test]
    fn affine_maps_agree_with_a_loop(
        (rows, channels) in (1..300usize, 1..70usize),
        number in 0..3usize,
        seed in 1..1000u64,
        placement in placements(),
    ) {
        let Some(placement) = placement else {
            return Ok(());
        };
        let activation = [Activation::None, Activation::Relu, Activation::Relu6][number];
        let ceiling = [f64::INFINITY, f64::INFINITY, 6.0][number];
        let floor = [f64::NEG_INFINITY, 0.0, 0.0][number];
        let x: Vec<f32> = noise(rows * channels, seed).iter().map(|x| 8.0 * x).collect();
        let (scale, shift, residual) = (noise(channels, seed + 1), noise(channels, seed + 2), noise(x.len(), seed + 3));
        let dy = noise(x.len(), seed + 4);
        let (mut y, mut dx, mut dr) = (Vec::new(), Vec::new(), Vec::new());
        let (mut dscale, mut dshift) = (vec![0.0; channels], vec![0.0; channels]);
        for (at, &value) in x.iter().enumerate() {
            let c = at % channels;
            let z = f64::from(value) * f64::from(scale[c]) + f64::from(shift[c]) + f64::from(residual[at]);
            let dz = if z > floor && z < ceiling { f64::from(dy[at]) } else { 0.0 };
            y.push(z.clamp(floor, ceiling));
            dx.push(dz * f64::from(scale[c]));
            dr.push(dz);
            dscale[c] += dz * f64::from(value);
            dshift[c] += dz;
        }
        let (dims, per_channel) = ([rows, channels], [channels]);
        let [x, residual] = [&x, &residual].map(|values| placement.variable(values, &dims));
        let [scale, shift] = [&scale, &shift].map(|values| placement.variable(values, &per_channel));
        let result = affine(&x, &scale, &shift, Some(&residual), activation).expect("the shapes fit");
        prop_assert!(placement.agree(&flat(&result), &y));
        let found = gradients(&result, &dy, &[&x, &scale, &shift, &residual]);
        for (found, expected) in found.iter().zip([dx, dscale, dshift, dr]) {
            prop_assert!(placement.agree(found, &expected));
        }
    }

    #[test]
    fn linear_maps_agree_with_a_loop(
        (rows, inner, out) in (1..40usize, 1..300usize, 1..150usize),
        seed in 1..1000u64,
        placement in placements(),
    ) {
        let Some(placement) = placement else {
            return Ok(());
        };
        let (x, w, b) = (noise(rows * inner, seed), noise(out * inner, seed + 1), noise(out, seed + 2));
        let dy = noise(rows * out, seed + 3);
        let (mut y, mut dx, mut dw, mut db) =
            (Vec::new(), vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; out]);
        for row in 0..rows {
            for o in 0..out {
                let dy = f64::from(dy[row * out + o]);
                let mut sum = f64::from(b[o]);
                for c in 0..inner {
                    let (from, weight) = (f64::from(x[row * inner + c]), f64::from(w[o * inner + c]));
                    sum += from * weight;
                    dx[row * inner + c] += dy * weight;
                    dw[o * inner + c] += dy * from;
                }
                db[o] += dy;
                y.push(sum);
            }
        }
        let (x, w) = (placement.variable(&x, &[rows, inner]), placement.variable(&w, &[out, inner]));
        let b = placement.variable(&b, &[out]);
        let result = linear(&x, &w, Some(&b)).expect("the shapes fit");
        prop_assert!(placement.agree(&flat(&result), &y));
        for (found, expected) in gradients(&result, &dy, &[&x, &w, &b]).iter().zip([dx, dw, db]) {
            prop_assert!(placement.agree(found, &expected));
        }
    }

    /// `d x/‖x‖ = (dy − (y·dy) y) / ‖x‖`, and `d ‖x − z‖ = (x − z) / ‖x − z‖` for each pair.
    #[test]
    fn norms_and_distances_agree_with_a_loop(
        (rows, others, dim) in (1..20usize, 1..20usize, 2..70usize),
        seed in 1..1000u64,
        placement in placements(),
    ) {
        let Some(placement) = placement else {
            return Ok(());
        };
        let (x, z) = (noise(rows * dim, seed), noise(others * dim, seed + 1));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let wide = |values: &[f32]| -> Vec<Vec<f64>> {
            values.chunks_exact(dim).map(|row| row.iter().map(|&value| f64::from(value)).collect()).collect()
        };
        let (x_rows, z_rows) = (wide(&x), wide(&z));
        let (x, z) = (placement.variable(&x, &[rows, dim]), placement.variable(&z, &[others, dim]));

        let dy = noise(rows * dim, seed + 2);
        let (mut y, mut dx) = (Vec::new(), Vec::new());
        for (row, dy) in x_rows.iter().zip(wide(&dy)) {
            let norm = dot(row, row).sqrt();
            let unit: Vec<f64> = row.iter().map(|value| value / norm).collect();
            let along = dot(&unit, &dy);
            dx.extend(unit.iter().zip(dy).map(|(unit, dy)| (dy - along * unit) / norm));
            y.extend(unit);
        }
        let result = l2_normalise(&x).expect("it has two dimensions");
        prop_assert!(placement.agree(&flat(&result), &y));
        prop_assert!(placement.agree(&gradients(&result, &dy, &[&x])[0], &dx));

        let dy = noise(rows * others, seed + 3);
        let (mut y, mut dx, mut dz) = (Vec::new(), vec![0.0; rows * dim], vec![0.0; others * dim]);
        for (i, row) in x_rows.iter().enumerate() {
            for (j, other) in z_rows.iter().enumerate() {
                let difference: Vec<f64> = row.iter().zip(other).map(|(a, b)| a - b).collect();
                let distance = dot(&difference, &difference).sqrt();
                for (at, value) in difference.iter().enumerate() {
                    let share = f64::from(dy[i * others + j]) * value / distance;
                    dx[i * dim + at] += share;
                    dz[j * dim + at] -= share;
                }
                y.push(distance);
            }
        }
        let result = pairwise_distances(&x, &z).expect("rows of one length");
        prop_assert!(placement.agree(&flat(&result), &y));
        for (found, expected) in gradients(&result, &dy, &[&x, &z]).iter().zip([dx, dz]) {
            prop_assert!(placement.agree(found, &expected));
        }
    }
}

/// A small network through every kind of convolution and pool: its output and the gradients of all its variables.
fn network(placement: &Placement) -> Result<Vec<Vec<f32>>> {
    let conv = |stride: usize, groups: usize| Conv2d { stride, padding: Padding::same(1), groups, ..Conv2d::default() };
    let layers = [
        (3, 32, 7, Conv2d { stride: 2, padding: Padding::same(3), ..Conv2d::default() }), // windows read row by row
        (32, 48, 3, conv(1, 1)),
        (48, 48, 3, conv(1, 48)),
        (48, 64, 1, Conv2d::default()),
        (64, 64, 3, conv(1, 4)),
        (64, 40, 3, conv(2, 1)),
        (40, 1030, 1, Conv2d::default()),
        (1030, 520, 1, Conv2d::default()), // large enough for threads to divide the columns of its weight
    ];
    let images = placement.variable(&noise(5 * 33 * 31 * 3, 7), &[5, 33, 31, 3]);
    let mut variables = vec![images.clone()];
    let mut y = images.as_tensor().clone();
    for (index, (inputs, outputs, kernel, options)) in layers.into_iter().enumerate() {
        let dims = [outputs, inputs / options.groups, kernel, kernel];
        let weight = placement.variable(&noise(dims.iter().product(), index as u64 + 20), &dims);
        let scale = placement.variable(&noise(outputs, index as u64 + 40), &[outputs]);
        let shift = placement.variable(&noise(outputs, index as u64 + 60), &[outputs]);
        // Where a layer keeps the shape, its input is its residual.
        let residual = (inputs == outputs).then_some(&y);
        y = conv2d_affine(&y, &weight, &scale, &shift, residual, Activation::Relu, &options)?;
        y = match index {
            0 => max_pool2d(&y, 3, 2, 1)?,
            1 => avg_pool2d(&y, 3, 1, 1)?,
            2 => max_pool2d(&y, 3, 1, 1)?,
            _ => y,
        };
        variables.extend([weight, scale, shift]);
    }
    let features = global_avg_pool(&y)?;
    let weight = placement.variable(&noise(24 * 520, 90), &[24, 520]);
    let embedding = linear(&features, &weight, None)?;
    variables.push(weight);
    let gradients = backward(&embedding.sqr()?.sum_all()?)?;
    let of = |variable: &Var| flat(gradients.get(variable.as_tensor()).expect("every variable has a gradient"));
    Ok(std::iter::once(flat(&embedding)).chain(variables.iter().map(of)).collect())
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let with = |threads: usize| -> Result<Vec<Vec<u32>>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of a few threads");
        let values = pool.install(|| network(&Placement { device: Device::Cpu, dtype: DType::F32 }))?;
        Ok(values.into_iter().map(|values| values.into_iter().map(f32::to_bits).collect()).collect())
    };
    let expected = with(1)?;
    assert!(expected.iter().all(|values| values.iter().any(|&bits| bits != 0)));
    for threads in [2, 3] {
        assert!(with(threads)? == expected, "{threads} threads give other bits than one");
    }
    Ok(())
}

/// The CPU kernels are the reference for other devices; on the CPU they are compared with candle's operations in `f64`.
#[test]
fn a_network_on_the_device_agrees_with_the_cpu_kernels() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    let dtype = if device.is_cpu() { DType::F64 } else { DType::F32 };
    let limit = 10.0 * f64::from(tolerance(&device));
    let found = network(&Placement { device, dtype })?;
    let expected = network(&Placement { device: Device::Cpu, dtype: DType::F32 })?;
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| f64::from(a - b)));
        let size = norm(&mut expected.iter().map(|&value| f64::from(value)));
        assert!(
            found.len() == expected.len() && difference <= limit * size,
            "value {index} differs by {difference}, its norm is {size}"
        );
    }
    Ok(())
}
