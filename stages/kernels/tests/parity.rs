//! Every operation and its gradients against PyTorch's, on awkward shapes. `fixtures/make_fixtures.py` writes the values.
//!
//! `DNC_TEST_DEVICE` names the device; see `common`.

mod common;

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor, Var};
use common::{device, flat, tolerance};
use dnc_kernels::{
    Activation, AdamStep, Conv2d, Padding, Result, adam_step, affine, avg_pool2d, backward, conv2d, conv2d_affine,
    global_avg_pool, global_max_pool, l2_normalise, linear, max_pool2d, pairwise_distances,
};

/// The types to test on a device: `f32` runs its kernels where it has any, `f64` the operations composed of candle's own, which are the
/// same on every device.
fn types(device: &Device) -> &'static [DType] {
    if device.is_cpu() { &[DType::F32, DType::F64] } else { &[DType::F32] }
}

struct Fixtures(HashMap<String, Tensor>);

/// The folder of this crate: as cargo says at run time or, without cargo, where it was built.
fn crate_folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

impl Fixtures {
    /// All fixtures on a device, floats converted to `dtype`.
    fn load(device: &Device, dtype: DType) -> Self {
        let file = crate_folder().join("tests/fixtures/kernels.safetensors");
        let tensors = candle_core::safetensors::load(file, device).expect("the fixtures are readable");
        let typed = |tensor: Tensor| if tensor.dtype() == DType::F32 { tensor.to_dtype(dtype) } else { Ok(tensor) };
        let tensors = tensors.into_iter().map(|(name, tensor)| (name, typed(tensor).expect("floats can be converted")));
        Self(tensors.collect())
    }

    /// Runs a check on the fixtures in each of the [`types`], on the device to test.
    fn for_each_type(check: impl Fn(&Self) -> Result<()>) -> Result<()> {
        let Some(device) = device() else {
            return Ok(());
        };
        types(&device).iter().map(|dtype| Self::load(&device, *dtype)).try_for_each(|fixtures| check(&fixtures))
    }

    /// The cases with this prefix: the names of their tensors without the last component.
    fn cases(&self, prefix: &str) -> Vec<String> {
        let mut cases: Vec<String> = self
            .0
            .keys()
            .filter(|name| name.starts_with(prefix) && name.ends_with("/x"))
            .map(|name| name.trim_end_matches("/x").to_owned())
            .collect();
        cases.sort();
        assert!(!cases.is_empty(), "no fixture starts with {prefix}");
        cases
    }

    fn tensor(&self, case: &str, name: &str) -> Tensor {
        self.0[&format!("{case}/{name}")].clone()
    }

    fn variable(&self, case: &str, name: &str) -> Var {
        Var::from_tensor(&self.tensor(case, name)).expect("a fixture becomes a variable")
    }

    fn options(&self, case: &str) -> Vec<usize> {
        let options: Vec<u32> = self.tensor(case, "options").to_vec1().expect("options are a row of u32");
        options.into_iter().map(|value| value as usize).collect()
    }

    /// Compares a result and its gradients with the fixtures `y` and `d<name>`.
    fn check(&self, case: &str, y: &Tensor, variables: &[(&str, &Var)]) -> Result<()> {
        close(case, "y", y, &self.tensor(case, "y"));
        let loss = (y * self.tensor(case, "dy"))?.sum_all()?;
        let gradients = backward(&loss)?;
        for (name, variable) in variables {
            let gradient =
                gradients.get(variable.as_tensor()).unwrap_or_else(|| panic!("{case}: no gradient for {name}"));
            close(case, name, gradient, &self.tensor(case, &format!("d{name}")));
        }
        Ok(())
    }
}

fn close(case: &str, name: &str, actual: &Tensor, expected: &Tensor) {
    assert_eq!(actual.dims(), expected.dims(), "{case}: shape of {name}");
    let tolerance = tolerance(actual.device());
    let (actual, expected) = (flat(actual), flat(expected));
    let largest = expected.iter().fold(1e-3f32, |a, b| a.max(b.abs()));
    for (index, (a, e)) in actual.iter().zip(&expected).enumerate() {
        assert!((a - e).abs() <= tolerance * largest, "{case}: {name}[{index}] is {a}, PyTorch has {e}");
    }
}

fn activation(number: usize) -> Activation {
    [Activation::None, Activation::Relu, Activation::Relu6][number]
}

fn padding(sides: &[usize]) -> Padding {
    let [top, bottom, left, right] = *sides else { panic!("four sides") };
    Padding { top, bottom, left, right }
}

#[test]
fn convolutions() -> Result<()> {
    Fixtures::for_each_type(convolutions_of)
}

fn convolutions_of(fixtures: &Fixtures) -> Result<()> {
    for case in fixtures.cases("conv/") {
        let options = fixtures.options(&case);
        let geometry =
            Conv2d { stride: options[0], padding: padding(&options[1..5]), groups: options[5], ..Conv2d::default() };
        let [x, weight, scale, shift, residual] =
            ["x", "weight", "scale", "shift", "residual"].map(|name| fixtures.variable(&case, name));
        let z = conv2d(&x, &weight, None, &geometry)?;
        close(&case, "z", &z, &fixtures.tensor(&case, "z"));
        let y = conv2d_affine(&x, &weight, &scale, &shift, Some(&residual), activation(options[6]), &geometry)?;
        fixtures.check(
            &case,
            &y,
            &[("x", &x), ("weight", &weight), ("scale", &scale), ("shift", &shift), ("residual", &residual)],
        )?;
    }
    Ok(())
}

#[test]
fn affine_maps() -> Result<()> {
    Fixtures::for_each_type(affine_maps_of)
}

fn affine_maps_of(fixtures: &Fixtures) -> Result<()> {
    for case in fixtures.cases("affine/") {
        let number = case.trim_start_matches("affine/");
        let number: usize = number.parse().expect("the case is named after its activation");
        let [x, scale, shift, residual] =
            ["x", "scale", "shift", "residual"].map(|name| fixtures.variable(&case, name));
        let y = affine(&x, &scale, &shift, Some(&residual), activation(number))?;
        fixtures.check(&case, &y, &[("x", &x), ("scale", &scale), ("shift", &shift), ("residual", &residual)])?;
    }
    Ok(())
}

#[test]
fn pools() -> Result<()> {
    Fixtures::for_each_type(pools_of)
}

fn pools_of(fixtures: &Fixtures) -> Result<()> {
    for kind in ["max_pool/", "avg_pool/"] {
        for case in fixtures.cases(kind) {
            let options = fixtures.options(&case);
            let x = fixtures.variable(&case, "x");
            let pool = if kind == "max_pool/" { max_pool2d } else { avg_pool2d };
            let y = pool(&x, options[0], options[1], padding(&options[2..6]))?;
            fixtures.check(&case, &y, &[("x", &x)])?;
        }
    }
    for (case, pool) in
        [("global_avg_pool", global_avg_pool as fn(&Tensor) -> Result<Tensor>), ("global_max_pool", global_max_pool)]
    {
        let x = fixtures.variable(case, "x");
        fixtures.check(case, &pool(&x)?, &[("x", &x)])?;
    }
    Ok(())
}

#[test]
fn products_and_distances() -> Result<()> {
    Fixtures::for_each_type(products_and_distances_of)
}

fn products_and_distances_of(fixtures: &Fixtures) -> Result<()> {
    let [x, weight, bias] = ["x", "weight", "bias"].map(|name| fixtures.variable("linear", name));
    let y = linear(&x, &weight, Some(&bias))?;
    fixtures.check("linear", &y, &[("x", &x), ("weight", &weight), ("bias", &bias)])?;

    let x = fixtures.variable("l2_normalise", "x");
    fixtures.check("l2_normalise", &l2_normalise(&x)?, &[("x", &x)])?;

    let [x, z] = ["x", "z"].map(|name| fixtures.variable("pairwise_distances", name));
    let y = pairwise_distances(&x, &z)?;
    fixtures.check("pairwise_distances", &y, &[("x", &x), ("z", &z)])
}

/// As in PyTorch, the gradient at a kink is zero, and a NaN and its gradient pass.
#[test]
fn kinks_and_nan() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    for &dtype in types(&device) {
        let values = [-1f32, 0.0, 3.0, 6.0, 7.0, f32::NAN];
        for (activation, y, dx) in [
            (Activation::Relu, [0f32, 0.0, 3.0, 6.0, 7.0, f32::NAN], [0f32, 0.0, 1.0, 1.0, 1.0, 1.0]),
            (Activation::Relu6, [0.0, 0.0, 3.0, 6.0, 6.0, f32::NAN], [0.0, 0.0, 1.0, 0.0, 0.0, 1.0]),
        ] {
            let x = Var::from_tensor(&Tensor::new(&values, &device)?.to_dtype(dtype)?)?;
            let (ones, zeros) = (x.ones_like()?.detach(), x.zeros_like()?.detach());
            let result = affine(&x, &ones, &zeros, None, activation)?;
            let same = |a: f32, b: f32| a == b || a.is_nan() && b.is_nan();
            assert!(flat(&result).into_iter().zip(y).all(|(a, b)| same(a, b)), "{dtype:?} {activation:?} {result}");
            let gradients = backward(&result.sum_all()?)?;
            let gradient = gradients.get(&x).expect("x is a variable");
            assert_eq!(flat(gradient), dx, "{dtype:?} {activation:?}");
        }
    }
    // The CPU kernel keeps a NaN at any position of the window; candle's maximum does not.
    for position in 0..4 {
        let mut values = [1f32, 2.0, 3.0, 4.0];
        values[position] = f32::NAN;
        let x = Tensor::new(&values, &Device::Cpu)?.reshape((1, 2, 2, 1))?;
        assert!(flat(&max_pool2d(&x, 2, 1, 0)?)[0].is_nan(), "a NaN at position {position} is lost");
    }
    Ok(())
}

#[test]
fn an_empty_batch_is_refused() -> Result<()> {
    let x = Tensor::zeros((0, 5, 5, 3), DType::F32, &Device::Cpu)?;
    let weight = Tensor::zeros((4, 3, 3, 3), DType::F32, &Device::Cpu)?;
    let error = conv2d(&x, &weight, None, &Conv2d::default()).expect_err("an empty batch");
    assert!(error.to_string().contains("the input [0, 5, 5, 3] or the weight [4, 3, 3, 3] has no elements"), "{error}");
    Ok(())
}

#[test]
fn coinciding_rows_have_a_finite_gradient() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    let x = Var::from_vec(vec![1f32, 2.0, 1.0, 2.0, 0.0, 0.0], (3, 2), &device)?;
    let distances = pairwise_distances(&x, &x)?.sum_all()?;
    let normalised = l2_normalise(&x)?.sum_all()?;
    for loss in [distances, normalised] {
        let gradients = backward(&loss)?;
        let gradient = flat(gradients.get(&x).expect("x is a variable"));
        assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
    }
    Ok(())
}

#[test]
fn a_row_whose_norm_overflows_is_not_taken_for_zero() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    let x = Tensor::from_vec(vec![1e25f32, 1e25, 3.0, 4.0, 0.0, 0.0], (3, 2), &device)?;
    let normalised = flat(&l2_normalise(&x)?);
    assert!(normalised[..2].iter().all(|value| value.is_nan()), "{normalised:?}");
    assert!(normalised[2..].iter().zip([0.6f32, 0.8, 0.0, 0.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{normalised:?}");
    Ok(())
}

#[test]
fn ten_steps_of_adam() {
    let fixtures = Fixtures::load(&Device::Cpu, DType::F32);
    for (case, decoupled) in [("adam", false), ("adamw", true)] {
        let mut parameter = flat(&fixtures.tensor(case, "start"));
        let gradients: Vec<Vec<f32>> = fixtures.tensor(case, "gradients").to_vec2().expect("ten rows of gradients");
        let (mut first, mut second) = (vec![0.0; 37], vec![0.0; 37]);
        for (index, gradient) in gradients.iter().enumerate() {
            let step = AdamStep {
                lr: 3e-3,
                beta1: 0.85,
                beta2: 0.995,
                eps: 1e-7,
                weight_decay: 2e-2,
                decoupled,
                step: index as u64 + 1,
            };
            adam_step(&mut parameter, gradient, &mut first, &mut second, step);
        }
        for (name, values) in [("end", parameter), ("first", first), ("second", second)] {
            let values = Tensor::from_vec(values, 37, &Device::Cpu).expect("37 values");
            close(case, name, &values, &fixtures.tensor(case, name));
        }
    }
}
