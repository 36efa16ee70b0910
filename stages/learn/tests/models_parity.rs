//! Parity of whole networks with PyTorch: embeddings, loss and the gradient of every parameter.
//!
//! The weights are a function of their names, which `fixtures/models_make.py` also implements, so the fixtures hold only results.
//!
//! `DNC_TEST_DEVICE` names the device, `cpu` (the default) or `cuda:N`; without that GPU the tests say that they are skipped.

mod models_fill;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use candle_core::{Device, Tensor};
use dnc_kernels::{backward, open_gpu};
use dnc_learn::model::Model;
use dnc_learn::parameters::Parameters;
use dnc_learn::spec::{Role, Spec};
use models_fill::{fill, filled};
use serde::Deserialize;

/// Tolerance for the norm and the projection of a gradient against PyTorch in double precision, relative to the norm.
const TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
struct Fixture {
    image: [usize; 4],
    dimension: usize,
    loss: f64,
    embeddings: Vec<f64>,
    gradients: Vec<(String, f64, f64)>,
}

fn value(spec: &Spec) -> Tensor {
    let Spec { name, shape, .. } = spec;
    let fan_in = shape[1..].iter().product::<usize>() as f64;
    let (offset, scale) = match name.as_str() {
        _ if name.ends_with("running_var") => (1.0, 0.5),
        _ if name.ends_with("running_mean") || name.ends_with(".bias") => (0.0, 0.1),
        "cls_token" | "pos_embed" => (0.0, 0.5),
        _ if shape.len() == 1 => (0.75, 0.25),
        _ => (0.0, (4.0 / fan_in).sqrt()),
    };
    filled(name, shape, |u| offset + scale * u)
}

/// The device to test; `None` if it is not available, with the reason on stderr.
fn device() -> Option<Device> {
    let name = std::env::var("DNC_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    if name == "cpu" {
        return Some(Device::Cpu);
    }
    let ordinal = name.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok());
    static GPU: OnceLock<Option<Device>> = OnceLock::new();
    GPU.get_or_init(|| {
        let opened = open_gpu(ordinal.unwrap_or_else(|| panic!("`{name}` is neither `cpu` nor `cuda:N`")));
        opened.map_err(|error| eprintln!("skipped: device `{name}` is not available: {error:?}")).ok()
    })
    .clone()
}

fn check(name: &str) {
    let Some(device) = device() else { return };
    // As cargo says at run time or, without cargo, where the test was built.
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    let path = Path::new(&folder).join(format!("tests/fixtures/models_{name}.json"));
    let fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut model = Model::new(name, fixture.dimension).unwrap();
    if name == "vit_small_patch14_dinov2" {
        // The published positions are those of this size.
        model.preprocessing.crop = 518;
    }
    let mut parameters = Parameters::empty(&device);
    for spec in model.specs() {
        parameters.insert(&spec.name, spec.role, &value(&spec)).unwrap();
    }
    let images = filled("images", &fixture.image, |u| u).to_device(&device).unwrap();
    let embed = |parameters: &Parameters| {
        let features = model.features(parameters, &images, None).unwrap();
        model.embed(parameters, &features, None).unwrap()
    };

    let embeddings = embed(&parameters);
    let target = filled("target", embeddings.dims(), |u| u).to_device(&device).unwrap();
    let loss = ((&embeddings * target).unwrap().sum_all().unwrap() / fixture.image[0] as f64).unwrap();
    close(&format!("{name}: loss"), f64::from(loss.to_scalar::<f32>().unwrap()), fixture.loss, fixture.loss.abs());
    let scale = fixture.embeddings.iter().fold(0.0, |largest: f64, e| largest.max(e.abs()));
    let compare = |what: &str, embeddings: &Tensor| {
        let embeddings: Vec<f32> = embeddings.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(embeddings.len(), fixture.embeddings.len());
        for (ours, theirs) in embeddings.iter().zip(&fixture.embeddings) {
            close(&format!("{name}: {what}"), f64::from(*ours), *theirs, scale);
        }
    };
    compare("embedding", &embeddings);
    compare("folded embedding", &embed(&model.fold(&parameters).unwrap()));

    let gradients = backward(&loss).unwrap();
    let expected: BTreeMap<_, _> =
        fixture.gradients.iter().map(|(name, norm, projection)| (name.as_str(), (*norm, *projection))).collect();
    let trained: Vec<_> = parameters.trained().collect();
    assert_eq!(trained.iter().map(|(name, _)| *name).collect::<Vec<_>>(), expected.keys().copied().collect::<Vec<_>>());
    for (parameter, var) in trained {
        let gradient = gradients.get(var).unwrap_or_else(|| panic!("{name}: `{parameter}` has no gradient"));
        assert_eq!(gradient.dims(), var.dims());
        let gradient: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
        let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let vector = fill(&format!("projection.{parameter}"), gradient.len());
        let projection: f64 = gradient.iter().zip(vector).map(|(&g, v)| f64::from(g) * v).sum();
        let (expected_norm, expected_projection) = expected[parameter];
        close(&format!("{name}: norm of the gradient of `{parameter}`"), norm, expected_norm, expected_norm);
        let what = format!("{name}: projection of the gradient of `{parameter}`");
        close(&what, projection, expected_projection, expected_norm);
    }
}

fn close(what: &str, ours: f64, theirs: f64, scale: f64) {
    assert!((ours - theirs).abs() <= TOLERANCE * scale, "{what}: {ours} for {theirs} (scale {scale})");
}

#[test]
fn resnet18_matches_torchvision() {
    check("resnet18");
}

#[test]
fn resnet34_matches_torchvision() {
    check("resnet34");
}

#[test]
fn resnet50_matches_torchvision() {
    check("resnet50");
}

#[test]
fn plain_matches_the_code_of_its_export() {
    check("plain");
}

#[test]
fn small_matches_the_code_of_its_export() {
    check("small");
}

#[test]
fn efficientnet_lite0_matches_the_published_code() {
    check("efficientnet_lite0");
}

#[test]
fn bn_inception_matches_the_published_code() {
    check("bn_inception");
}

#[test]
fn vit_small_patch16_matches_timm() {
    check("vit_small_patch16");
}

#[test]
fn vit_small_patch14_dinov2_matches_timm() {
    check("vit_small_patch14_dinov2");
}

#[test]
fn a_folded_model_has_no_batch_norm_and_trains_nothing() {
    let model = Model::new("resnet18", 8).unwrap();
    let parameters =
        Parameters::initialise(&model.specs(), &dnc_learn::streams::Streams::new(0), &Device::Cpu).unwrap();
    let folded = model.fold(&parameters).unwrap();
    let backbone: Vec<_> = folded.iter().filter(|(name, ..)| !name.starts_with("embedding.")).collect();
    assert_eq!(backbone.len(), 3 * 20);
    assert!(backbone.iter().all(|(_, role, _)| *role == Role::Constant));
}
