//! Parity of ten steps of Adam and AdamW with PyTorch, with the fixture of `fixtures/models_make.py`.

mod models_fill;

use std::path::Path;

use candle_core::{Device, Tensor};
use dnc_learn::optimise::{Algorithm, Optimiser, Rate, Settings};
use dnc_learn::parameters::Parameters;
use dnc_learn::spec::Role;
use models_fill::filled;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    kind: String,
    decay: f64,
    values: Vec<f64>,
}

#[test]
fn ten_steps_match_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models_adam.json");
    let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let mut parameters = Parameters::empty(&Device::Cpu);
        let scale = (4.0_f64 / 8.0).sqrt();
        parameters.insert("weight", Role::Weight, &filled("adam", &[4, 8], |u| u * scale)).unwrap();
        let algorithm = if case.kind == "Adam" { Algorithm::Adam } else { Algorithm::AdamW };
        let rate = Rate { lr: 0.01, weight_decay: case.decay };
        let mut optimiser = Optimiser::new(Settings::uniform(algorithm, rate));
        for step in 0..10 {
            let gradient = filled(&format!("gradient.{step}"), &[4, 8], |u| u);
            let scale = 10f64.powi(step % 3 - 1);
            let loss = (parameters.tensor("weight").unwrap() * (gradient * scale).unwrap()).unwrap();
            optimiser.step(&parameters, &loss.sum_all().unwrap().backward().unwrap()).unwrap();
        }
        let ours: Vec<f32> = parameters.tensor("weight").unwrap().flatten_all().unwrap().to_vec1().unwrap();
        for (ours, theirs) in ours.iter().zip(&case.values) {
            let difference = (f64::from(*ours) - theirs).abs();
            assert!(difference <= 1e-6, "{} with decay {}: {ours} for {theirs}", case.kind, case.decay);
        }
    }
}

#[test]
fn each_group_has_its_own_learning_rate() {
    let mut parameters = Parameters::empty(&Device::Cpu);
    let names = ["embedding.bias", "loss.beta", "masks", "stem.weight"];
    for name in names {
        parameters
            .insert(name, Role::Weight, &Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu).unwrap())
            .unwrap();
    }
    let rate = |lr| Rate { lr, weight_decay: 0.0 };
    let mut optimiser = Optimiser::new(Settings {
        embedding: rate(1.0),
        loss: rate(2.0),
        masks: rate(3.0),
        ..Settings::uniform(Algorithm::Adam, rate(4.0))
    });
    let sum = names.iter().fold(None, |sum: Option<Tensor>, name| {
        let tensor = parameters.tensor(name).unwrap();
        Some(sum.map_or(tensor.clone(), |sum| (sum + tensor).unwrap()))
    });
    optimiser.step(&parameters, &sum.unwrap().sum_all().unwrap().backward().unwrap()).unwrap();
    // The length of Adam's first step is the learning rate, against the sign of the gradient.
    for (name, rate) in names.iter().zip([1.0, 2.0, 3.0, 4.0]) {
        let value: Vec<f32> = parameters.tensor(name).unwrap().to_vec1().unwrap();
        assert!((value[0] + rate).abs() < 1e-5, "`{name}` is at {}", value[0]);
    }
}
