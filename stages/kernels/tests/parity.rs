//! Each operation and its gradients against PyTorch's, on awkward shapes. `fixtures/make_fixtures.py` writes the values.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use dnc_kernels::{
    Activation, AdamStep, Conv2d, Padding, Result, adam_step, affine, avg_pool2d, conv2d, conv2d_affine,
    global_avg_pool, global_max_pool, l2_normalise, linear, max_pool2d, pairwise_distances,
};

/// Largest difference relative to the largest value.
const TOLERANCE: f32 = 1e-4;

/// The kernels compute in `f32`; whatever else comes takes the way of other devices, through candle's operations.
const TYPES: [DType; 2] = [DType::F32, DType::F64];

struct Fixtures(HashMap<String, Tensor>);

impl Fixtures {
    /// All values, as numbers of a type; options stay what they are.
    fn load(dtype: DType) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kernels.safetensors");
        let tensors = candle_core::safetensors::load(file, &Device::Cpu).expect("the fixtures are readable");
        let typed = |tensor: Tensor| if tensor.dtype() == DType::F32 { tensor.to_dtype(dtype) } else { Ok(tensor) };
        Self(
            tensors.into_iter().map(|(name, tensor)| (name, typed(tensor).expect("a number has every type"))).collect(),
        )
    }

    /// The names before the last slash of all tensors whose name starts so.
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
        let gradients = loss.backward()?;
        for (name, variable) in variables {
            let gradient =
                gradients.get(variable.as_tensor()).unwrap_or_else(|| panic!("{case}: no gradient for {name}"));
            close(case, name, gradient, &self.tensor(case, &format!("d{name}")));
        }
        Ok(())
    }
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    let values = tensor.flatten_all().and_then(|tensor| tensor.to_dtype(DType::F32));
    values.and_then(|values| values.to_vec1()).expect("numbers on the CPU")
}

fn close(case: &str, name: &str, actual: &Tensor, expected: &Tensor) {
    assert_eq!(actual.dims(), expected.dims(), "{case}: shape of {name}");
    let (actual, expected) = (flat(actual), flat(expected));
    let largest = expected.iter().fold(1e-3f32, |a, b| a.max(b.abs()));
    for (index, (a, e)) in actual.iter().zip(&expected).enumerate() {
        assert!((a - e).abs() <= TOLERANCE * largest, "{case}: {name}[{index}] is {a}, PyTorch has {e}");
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
    TYPES.into_iter().map(Fixtures::load).try_for_each(|fixtures| convolutions_of(&fixtures))
}

fn convolutions_of(fixtures: &Fixtures) -> Result<()> {
    for case in fixtures.cases("conv/") {
        let options = fixtures.options(&case);
        let geometry = Conv2d { stride: options[0], padding: padding(&options[1..5]), groups: options[5] };
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
    TYPES.into_iter().map(Fixtures::load).try_for_each(|fixtures| affine_maps_of(&fixtures))
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
    TYPES.into_iter().map(Fixtures::load).try_for_each(|fixtures| pools_of(&fixtures))
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
    TYPES.into_iter().map(Fixtures::load).try_for_each(|fixtures| products_and_distances_of(&fixtures))
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

/// PyTorch's derivatives at the kinks are zero, and a NaN is clipped by nothing: neither it nor its gradient.
#[test]
fn kinks_and_nan() -> Result<()> {
    for dtype in TYPES {
        let values = [-1f32, 0.0, 3.0, 6.0, 7.0, f32::NAN];
        for (activation, y, dx) in [
            (Activation::Relu, [0f32, 0.0, 3.0, 6.0, 7.0, f32::NAN], [0f32, 0.0, 1.0, 1.0, 1.0, 1.0]),
            (Activation::Relu6, [0.0, 0.0, 3.0, 6.0, 6.0, f32::NAN], [0.0, 0.0, 1.0, 0.0, 0.0, 1.0]),
        ] {
            let x = Var::from_tensor(&Tensor::new(&values, &Device::Cpu)?.to_dtype(dtype)?)?;
            let (ones, zeros) = (x.ones_like()?.detach(), x.zeros_like()?.detach());
            let result = affine(&x, &ones, &zeros, None, activation)?;
            let same = |a: f32, b: f32| a == b || a.is_nan() && b.is_nan();
            assert!(flat(&result).into_iter().zip(y).all(|(a, b)| same(a, b)), "{dtype:?} {activation:?} {result}");
            let gradients = result.sum_all()?.backward()?;
            let gradient = gradients.get(&x).expect("x is a variable");
            assert_eq!(flat(gradient), dx, "{dtype:?} {activation:?}");
        }
    }
    // A maximum of the kernels keeps a NaN wherever in the window it lies; candle's loses one.
    for place in 0..4 {
        let mut values = [1f32, 2.0, 3.0, 4.0];
        values[place] = f32::NAN;
        let x = Tensor::new(&values, &Device::Cpu)?.reshape((1, 2, 2, 1))?;
        assert!(flat(&max_pool2d(&x, 2, 1, 0)?)[0].is_nan(), "a NaN at {place} is lost");
    }
    Ok(())
}

/// Scale and shift that are views of something larger.
#[test]
fn strided_scales() -> Result<()> {
    let table = Tensor::new(&[[2f32, 3.0], [5.0, 7.0]], &Device::Cpu)?;
    let column = |index| table.narrow(1, index, 1)?.squeeze(1);
    let x = Tensor::new(&[[1f32, 10.0]], &Device::Cpu)?;
    let y = affine(&x, &column(0)?, &column(1)?, None, Activation::None)?;
    assert_eq!(flat(&y), [5.0, 57.0]);
    Ok(())
}

#[test]
fn nothing_cannot_be_convolved() -> Result<()> {
    let x = Tensor::zeros((0, 5, 5, 3), DType::F32, &Device::Cpu)?;
    let weight = Tensor::zeros((4, 3, 3, 3), DType::F32, &Device::Cpu)?;
    let error = conv2d(&x, &weight, None, &Conv2d::default()).expect_err("an empty batch");
    assert!(error.to_string().contains("nothing is in an input [0, 5, 5, 3]"), "{error}");
    Ok(())
}

#[test]
fn coinciding_rows_have_a_finite_gradient() -> Result<()> {
    let x = Var::from_vec(vec![1f32, 2.0, 1.0, 2.0, 0.0, 0.0], (3, 2), &Device::Cpu)?;
    let distances = pairwise_distances(&x, &x)?.sum_all()?;
    let normalised = l2_normalise(&x)?.sum_all()?;
    for loss in [distances, normalised] {
        let gradients = loss.backward()?;
        let gradient = flat(gradients.get(&x).expect("x is a variable"));
        assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
    }
    Ok(())
}

#[test]
fn ten_steps_of_adam() {
    let fixtures = Fixtures::load(DType::F32);
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
