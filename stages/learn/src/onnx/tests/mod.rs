//! Every backbone's graph is well formed, and computes what the model computes.

mod interpreter;

use candle_core::{Device, Tensor};
use prost::Message;
use rand::Rng;

use super::messages::{Length, ModelProto, ValueInfoProto};
use super::{Interface, OPSET, export};
use crate::backbones::{BACKBONES, Pooling};
use crate::model::Model;
use crate::parameters::Parameters;
use crate::spec::Spec;
use crate::streams::Streams;
use crate::subspaces::Merged;
use interpreter::{Array, evaluate};

/// Largest difference of a coordinate of a unit vector.
const TOLERANCE: f32 = 1e-4;

/// Values that keep the scale of the features, in place of initial ones, many of which are zero.
fn value(spec: &Spec) -> Tensor {
    let fan_in = spec.shape[1..].iter().product::<usize>() as f32;
    let (offset, scale) = match spec.name.as_str() {
        name if name.ends_with("running_var") => (1.0, 0.5),
        name if name.ends_with("running_mean") || name.ends_with(".bias") => (0.0, 0.1),
        "cls_token" | "pos_embed" => (0.0, 0.5),
        _ if spec.shape.len() == 1 => (0.75, 0.25),
        _ => (0.0, (4.0 / fan_in).sqrt()),
    };
    let mut rng = Streams::new(0).named(&spec.name).rng();
    let count = spec.shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| offset + scale * rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu).unwrap()
}

fn parameters(model: &Model) -> Parameters {
    let mut parameters = Parameters::empty(&Device::Cpu);
    for spec in model.specs() {
        parameters.insert(&spec.name, spec.role, &value(&spec)).unwrap();
    }
    parameters
}

fn pixels(count: usize) -> Vec<u8> {
    let mut rng = Streams::new(1).named("pixels").rng();
    (0..count).map(|_| rng.random()).collect()
}

/// The names and shapes that the file declares, with a batch of this size.
fn declared(infos: &[ValueInfoProto], batch: usize) -> Vec<(String, Vec<usize>)> {
    let shape = |info: &ValueInfoProto| {
        let tensor = info.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
        let length = |length: &Option<Length>| match length {
            Some(Length::Value(value)) => *value as usize,
            Some(Length::Param(name)) => {
                assert_eq!(name, "batch");
                batch
            }
            None => panic!("`{}` has a length without a value", info.name),
        };
        tensor.shape.as_ref().unwrap().dim.iter().map(|dim| length(&dim.value)).collect()
    };
    infos.iter().map(|info| (info.name.clone(), shape(info))).collect()
}

/// Evaluates a file on these pixels and checks every shape on the way.
fn run(file: &[u8], images: Array) -> Array {
    let model = ModelProto::decode(file).unwrap();
    assert_eq!((model.ir_version, model.opset_import[0].version), (9, OPSET));
    let graph = model.graph.unwrap();
    let batch = images.dims[0];
    assert_eq!(declared(&graph.input, batch), [("images".to_owned(), images.dims.clone())]);
    let values = evaluate(&graph, images);
    let [(output, shape)] = &declared(&graph.output, batch)[..] else { panic!("there is one output") };
    assert_eq!((output.as_str(), &values[output].dims), ("embeddings", shape));
    let inner = declared(&graph.value_info, batch);
    assert_eq!(inner.len() + 1, graph.node.iter().map(|node| node.output.len()).sum::<usize>());
    for (name, shape) in inner {
        assert_eq!(values[&name].dims, shape, "{name}");
    }
    values[output].clone()
}

fn close(what: &str, found: &[f32], expected: &Tensor) {
    let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() <= TOLERANCE * expected.abs().max(1.0), "{what}: {found} is not {expected}");
    }
}

fn check(model: &Model, what: &str, batch: usize) {
    let (side, parameters) = (model.preprocessing.crop, parameters(model));
    let pixels = pixels(batch * side * side * 3);
    let mut values = vec![0.0; pixels.len()];
    model.preprocessing.normalise(&pixels, &mut values);
    let images = Tensor::from_vec(values, (batch, side, side, 3), &Device::Cpu).unwrap();
    let features = model.features(&parameters, &images, None).unwrap();
    let embeddings = model.embed(&parameters, &features, None).unwrap();

    let file = export(model, &parameters, None, Merged::Plain, Interface::Pixels, &[]).unwrap();
    let bytes = Array { dims: vec![batch, side, side, 3], data: pixels.iter().map(|&byte| byte.into()).collect() };
    close(what, &run(&file, bytes).data, &dnc_kernels::l2_normalise(&embeddings).unwrap());

    let file = export(model, &parameters, None, Merged::Plain, Interface::Raw, &[]).unwrap();
    let planes = images.permute((0, 3, 1, 2)).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let found = run(&file, Array { dims: vec![batch, 3, side, side], data: planes });
    close(&format!("{what}, raw"), &found.data, &embeddings);
}

#[test]
fn the_graph_of_every_backbone_computes_what_the_model_computes() {
    for (name, _) in BACKBONES {
        let mut model = Model::new(name, 5).unwrap();
        model.preprocessing.crop = match name {
            "vit_small_patch14_dinov2" => 28,
            "plain" => 35,
            _ => 32,
        };
        check(&model, name, 2);
    }
}

#[test]
fn poolings_sizes_and_batches_of_any_kind_are_kept() {
    for (name, pooling, crop, batch) in [
        ("small", Pooling::Max, 17, 1),
        ("small", Pooling::Average, 16, 14),
        ("efficientnet_lite0", Pooling::Max, 33, 1),
        ("vit_small_patch16", Pooling::Average, 48, 1),
        ("vit_small_patch16", Pooling::Max, 32, 1),
    ] {
        let mut model = Model::new(name, 3).unwrap();
        model.pooling = pooling;
        model.preprocessing.crop = crop;
        check(&model, &format!("{name}, {pooling:?}, {crop}"), batch);
    }
}

#[test]
fn masks_are_folded_into_the_embedding_as_they_are_merged() {
    let mut model = Model::new("small", 4).unwrap();
    model.preprocessing.crop = 16;
    let parameters = parameters(&model);
    let masks = Tensor::new(&[[1.0f32, 0.5, -1.0, 0.0], [0.25, 2.0, 0.125, 0.0]], &Device::Cpu).unwrap();
    let pixels = pixels(16 * 16 * 3);
    let mut values = vec![0.0; pixels.len()];
    model.preprocessing.normalise(&pixels, &mut values);
    let images = Tensor::from_vec(values, (1, 16, 16, 3), &Device::Cpu).unwrap();
    let features = model.features(&parameters, &images, None).unwrap();
    let embeddings = model.embed(&parameters, &features, None).unwrap();
    for merged in [Merged::Plain, Merged::Masks, Merged::NormalisedMasks] {
        let metadata = [("merged", format!("{merged:?}"))];
        let file = export(&model, &parameters, Some(&masks), merged, Interface::Pixels, &metadata).unwrap();
        let bytes = Array { dims: vec![1, 16, 16, 3], data: pixels.iter().map(|&byte| byte.into()).collect() };
        close(&metadata[0].1, &run(&file, bytes).data, &merged.embedding(&embeddings, &masks).unwrap());
        let stored = ModelProto::decode(&file[..]).unwrap().metadata_props;
        assert_eq!((stored[0].key.as_str(), &stored[0].value), ("merged", &metadata[0].1));
    }
}
