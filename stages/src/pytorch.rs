//! Exchange with PyTorch: `dnc-run export` and `dnc-run import-weights`.
//!
//! An exported folder holds
//! - `model.safetensors`: the tensors under the names of the network's published code, with the embedding as its last linear
//!   layer, so that `load_state_dict` accepts the file unchanged;
//! - `timm.safetensors` for EfficientNet-Lite0: the same under timm's names;
//! - `model.json`: preprocessing of images and postprocessing of the output;
//! - `model.py` and `README.md`: Python code that builds the network and loads the model;
//! - `learners.safetensors`, if the model has any: masks and the loss's learned parameters, which the published code does not
//!   have.

use std::path::Path;
use std::{fs, io};

use dnc_learn::backbones::{ChannelOrder, InPython, Pooling};
use dnc_learn::model::{Architecture, Model};
use dnc_learn::parameters::Group;
use dnc_learn::weights::{self, Fit, NamedTensor, fitting, import};
use dnc_tables::model;
use serde::Serialize;

use crate::api::StageError;

/// The last layer of EfficientNet-Lite0's published code. timm has names of its own for this network.
const EFFICIENTNET_LINEAR: &str = "_fc";

/// Contents of `model.json`: everything needed to use the model besides its tensors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Card {
    /// Name of the network.
    pub backbone: String,
    /// Embedding dimension.
    pub dimension: usize,
    /// Pooling of the feature map into one vector.
    pub pooling: Pooling,
    /// Name of the linear layer that computes the embedding. Its output must be L2-normalised.
    pub embedding: &'static str,
    /// Length in pixels that an image's shorter side is resized to.
    pub resize: usize,
    /// Side in pixels of the centre crop.
    pub crop: usize,
    /// Order of the colour channels: `rgb` or `bgr`.
    pub channels: &'static str,
    /// Mean of each channel, on the scale 0 to 255; it is subtracted.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, on the same scale; the difference is divided by it.
    pub std: [f32; 3],
    /// Number of optimiser steps taken.
    pub step: u64,
}

/// Exports a model to `folder`, which is created if necessary.
///
/// # Errors
/// The model's architecture is unknown, as one of another version of the program may be, or a file cannot be written.
pub fn export(model: &model::Model, folder: &Path) -> Result<Card, StageError> {
    let failed = |source| StageError::compute("export the model", source);
    let (architecture, network) = network_of(model)?;
    let python = network.backbone.in_python();
    fs::create_dir_all(folder).map_err(|source| StageError::file("create", folder, source))?;

    let (mut tensors, learners): (Vec<NamedTensor>, Vec<_>) = model
        .parameters
        .iter()
        .cloned()
        .partition(|tensor| matches!(Group::of(&tensor.name), Group::Backbone | Group::Embedding));
    let crop = network.preprocessing.crop;
    tensors = tensors
        .into_iter()
        .map(|tensor| network.backbone.for_python(tensor, crop))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    weights::export(&folder.join("model.safetensors"), &tensors, Some(python.linear)).map_err(failed)?;
    if python.linear == EFFICIENTNET_LINEAR {
        for tensor in &mut tensors {
            tensor.name = weights::timm(&tensor.name).unwrap_or_else(|| std::mem::take(&mut tensor.name));
        }
        weights::export(&folder.join("timm.safetensors"), &tensors, Some("classifier")).map_err(failed)?;
    }
    let path = folder.join("learners.safetensors");
    if learners.is_empty() {
        // Another model's, exported to the same folder before.
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StageError::file("remove", &path, source));
            }
            _ => {}
        }
    } else {
        weights::export(&path, &learners, None).map_err(failed)?;
    }

    let card = card(&architecture, &network, model.step);
    let json =
        serde_json::to_string_pretty(&card).map_err(|source| StageError::compute("write `model.json`", source))?;
    let readme = readme(&card, python, !learners.is_empty());
    for (name, text) in [("model.json", json + "\n"), ("model.py", module(&card, python)), ("README.md", readme)] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|source| StageError::file("write", &path, source))?;
    }
    Ok(card)
}

/// Contents of `model.json` for a model.
///
/// # Errors
/// As [`export`].
pub fn card_of(model: &model::Model) -> Result<Card, StageError> {
    let (architecture, network) = network_of(model)?;
    Ok(card(&architecture, &network, model.step))
}

fn network_of(model: &model::Model) -> Result<(Architecture, Model), StageError> {
    let architecture: Architecture = serde_json::from_value(model.architecture.clone())
        .map_err(|source| StageError::compute("read the model's architecture", source))?;
    let network = Model::build(&architecture).map_err(|source| StageError::compute("export the model", source))?;
    Ok((architecture, network))
}

fn card(architecture: &Architecture, network: &Model, step: u64) -> Card {
    let preprocessing = network.preprocessing;
    Card {
        backbone: architecture.backbone.clone(),
        dimension: network.dimension,
        pooling: network.pooling,
        embedding: network.backbone.in_python().linear,
        resize: preprocessing.resize,
        crop: preprocessing.crop,
        channels: match preprocessing.channels {
            ChannelOrder::Rgb => "rgb",
            ChannelOrder::Bgr => "bgr",
        },
        mean: preprocessing.mean,
        std: preprocessing.std,
        step,
    }
}

/// Text of `README.md`: how to use the exported folder.
fn readme(card: &Card, python: InPython, learners: bool) -> String {
    let Card { backbone, dimension, embedding, resize, crop, channels, mean, std, .. } = card;
    let names = if python.source.is_none() { ", under the tensor names of the network's published code" } else { "" };
    let mut text = format!(
        "# Model exported by `dnc-run`: {backbone}, embedding dimension {dimension}\n\n\
         `model.safetensors` holds the weights{names}. Its layer `{embedding}` computes the embedding.\n"
    );
    if python.linear == EFFICIENTNET_LINEAR {
        text += &format!(
            "`timm.safetensors` holds the same for `timm.create_model('tf_efficientnet_lite0', num_classes={dimension})`.\n"
        );
    }
    if learners {
        text += "`learners.safetensors` holds the learners' masks and the loss's learned parameters. They are not needed to compute embeddings.\n";
    }
    text += &format!(
        "\nPreprocessing: resize the shorter side to {resize} pixels, crop the central {crop} × {crop} pixels, order the channels as \
         {channels} with values from 0 to 255, subtract {mean:?} and divide by {std:?}.\n"
    );
    let lines = lines(card, python);
    let code = lines.join("\n");
    let import = match python.source {
        None => format!("import torch, {}\nfrom safetensors.torch import load_file", published_in(python)),
        Some(_) => {
            let class = python.build.split('(').next().unwrap_or_default();
            format!("import torch\nfrom safetensors.torch import load_file\nfrom model import {class}")
        }
    };
    text + &format!(
        "\n```python\n{import}\n\n{code}\nmodel.load_state_dict(load_file(\"model.safetensors\"))\nmodel.eval()\n\
         embeddings = torch.nn.functional.normalize(model(images), dim=1)\n```\n\n`model.py` does the same: \
         `model.load(\"model.safetensors\")`.\n"
    )
}

/// Text of `model.py`.
fn module(card: &Card, python: InPython) -> String {
    let Card { backbone, dimension, .. } = card;
    let title = format!(
        "The network of this export: {backbone}, embedding dimension {dimension}. Its output is not normalised."
    );
    let (source, import) = match python.source {
        Some(source) => (source.to_owned(), String::new()),
        None => ("import torch\n".to_owned(), format!("    import {}\n\n", published_in(python))),
    };
    let lines: Vec<String> = lines(card, python).iter().map(|line| format!("    {line}\n")).collect();
    format!(
        "\"\"\"{title}\"\"\"\n{source}\n\ndef build():\n    \"\"\"The network without weights.\"\"\"\n{import}{}    return model\n\n\n\
         def load(path):\n    \"\"\"The network with the weights at `path`, in evaluation mode.\"\"\"\n    \
         from safetensors.torch import load_file\n\n    model = build()\n    model.load_state_dict(load_file(path))\n    \
         return model.eval()\n",
        lines.concat()
    )
}

/// The Python module of a published network.
fn published_in(python: InPython) -> &'static str {
    python.build.split('.').next().unwrap_or(python.build)
}

/// The lines of Python that build the network.
fn lines(card: &Card, python: InPython) -> Vec<String> {
    let (short, layer) = match card.pooling {
        Pooling::Average => ("avg", "AdaptiveAvgPool2d"),
        Pooling::Max => ("max", "AdaptiveMaxPool2d"),
        Pooling::ClassToken => ("token", "Identity"),
    };
    let build = python
        .build
        .replace("{dimension}", &card.dimension.to_string())
        .replace("{crop}", &card.crop.to_string())
        .replace("{pooling}", short);
    // Set for average pooling too: some published networks pool over a fixed window instead of the whole map.
    let pooling = python.pool.map(|pool| format!("model.{pool} = torch.nn.{layer}(1)"));
    [Some(format!("model = {build}")), pooling].into_iter().flatten().collect()
}

/// Result of [`import_weights`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Number of tensors in the file.
    pub tensors: usize,
    /// Number of tensors written.
    pub written: usize,
    /// How they fit the backbone, if one was given.
    pub fit: Option<Fit>,
}

/// Reads the weights file `from` (safetensors, or a `state_dict` saved by PyTorch) and writes it to `to` as safetensors. With a
/// backbone, writes only the backbone's tensors, under the backbone's names; if one is missing or has another shape, writes
/// nothing.
///
/// # Errors
/// The backbone is unknown, or a file cannot be read or written.
pub fn import_weights(from: &Path, to: &Path, backbone: Option<&str>) -> Result<Imported, StageError> {
    let failed = |source| StageError::compute(format!("import the weights of `{}`", from.display()), source);
    let network = backbone.map(dnc_learn::backbones::backbone).transpose().map_err(failed)?;
    let all = import(from).map_err(failed)?;
    let (chosen, fit) = match network {
        None => (all.clone(), None),
        Some(network) => {
            let specs = network.specs_for(network.preprocessing().crop, &all);
            let (chosen, fit) = fitting(&specs, &all);
            (chosen, Some(fit))
        }
    };
    let complete = fit.as_ref().is_none_or(Fit::is_complete);
    if complete {
        weights::export(to, &chosen, None).map_err(failed)?;
    }
    Ok(Imported { tensors: all.len(), written: if complete { chosen.len() } else { 0 }, fit })
}

#[cfg(test)]
mod tests {
    use dnc_learn::backbones::BACKBONES;
    use serde_json::json;

    use super::*;
    use crate::api::ArtifactKind;
    use crate::init::Init;
    use crate::testing::{Workshop, artifact};

    fn drawn(params: serde_json::Value) -> model::Model {
        let workshop = Workshop::new();
        let stage: Init = serde_json::from_value(params).unwrap();
        let outputs = workshop.run(&stage, &[]).unwrap();
        model::Model::open(&artifact(ArtifactKind::Model, &outputs["model"].folder)).unwrap()
    }

    #[test]
    fn a_model_is_exported_under_its_published_names() {
        let mut model = drawn(json!({ "backbone": "efficientnet_lite0", "dimension": 4, "crop": 96 }));
        let mask = NamedTensor { name: "masks".into(), shape: vec![1, 4], ..model.parameters[0].clone() };
        model.parameters.push(NamedTensor { bytes: vec![0; 16], ..mask });
        let folder = tempfile::tempdir().unwrap();
        let card = export(&model, folder.path()).unwrap();
        insta::assert_snapshot!(
            serde_json::to_string(&card).unwrap(),
            @r#"{"backbone":"efficientnet_lite0","dimension":4,"pooling":"average","embedding":"_fc","resize":110,"crop":96,"channels":"rgb","mean":[127.0,127.0,127.0],"std":[128.0,128.0,128.0],"step":0}"#
        );
        let exported = import(&folder.path().join("model.safetensors")).unwrap();
        assert_eq!(exported.len(), model.parameters.len() - 1);
        for tensor in &model.parameters {
            let name = &tensor.name;
            let found = exported.iter().find(|exported| exported.name == *name);
            assert_eq!(found.map(|found| &found.bytes), (name != "masks").then_some(&tensor.bytes), "{name}");
        }
        let timm = dnc_learn::weights::fitting(
            &dnc_learn::backbones::backbone("efficientnet_lite0").unwrap().specs(),
            &import(&folder.path().join("timm.safetensors")).unwrap(),
        );
        assert_eq!((timm.0.len(), timm.1.unexpected.len()), (model.parameters.len() - 3, 2), "all but the embedding");
        let file = fs::read(folder.path().join("model.safetensors")).unwrap();
        let header = String::from_utf8_lossy(&file[8..8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize]);
        assert!(header.contains(r#""_fc.weight""#) && !header.contains(r#""embedding.weight""#), "{header}");
        assert_eq!(import(&folder.path().join("learners.safetensors")).unwrap()[0].name, "masks");
        let readme = fs::read_to_string(folder.path().join("README.md")).unwrap();
        assert!(readme.contains("num_classes=4, image_size=96)") && readme.contains("subtract [127.0"), "{readme}");
        let module = fs::read_to_string(folder.path().join("model.py")).unwrap();
        assert!(
            module.contains("import efficientnet_lite_pytorch\n\n    model = efficientnet_lite_pytorch."),
            "{module}"
        );
    }

    #[test]
    fn the_readme_has_the_models_pooling_and_the_file_its_position_embeddings() {
        let lines = |params: serde_json::Value| {
            let folder = tempfile::tempdir().unwrap();
            export(&drawn(params), folder.path()).unwrap();
            let positions = import(&folder.path().join("model.safetensors")).unwrap();
            let positions = positions.into_iter().find(|tensor| tensor.name == "pos_embed").map(|found| found.shape);
            let readme = fs::read_to_string(folder.path().join("README.md")).unwrap();
            let model = readme
                .lines()
                .filter(|line| line.starts_with("model.") && line.contains('=') || line.starts_with("model ="));
            (model.collect::<Vec<_>>().join("; "), positions)
        };
        let (resnet, _) = lines(json!({ "backbone": "resnet18", "dimension": 4, "pooling": "max" }));
        assert_eq!(
            resnet,
            "model = torchvision.models.resnet18(num_classes=4); model.avgpool = torch.nn.AdaptiveMaxPool2d(1)"
        );
        let (plain, _) = lines(json!({ "backbone": "plain", "dimension": 4 }));
        assert_eq!(plain, "model = Plain(dimension=4, pooling='avg')");
        let (inception, _) = lines(json!({ "backbone": "bn_inception", "dimension": 4 }));
        assert!(inception.ends_with("model.global_pool = torch.nn.AdaptiveAvgPool2d(1)"), "{inception}");
        let (vit, positions) =
            lines(json!({ "backbone": "vit_small_patch16", "dimension": 4, "pooling": "average", "crop": 96 }));
        assert_eq!(
            vit,
            "model = timm.create_model('vit_small_patch16_224', num_classes=4, img_size=96, global_pool='avg', fc_norm=False)"
        );
        assert_eq!(positions, Some(vec![1, 1 + 6 * 6, 384]));
    }

    /// The network as it was trained, for every backbone: the embedding too, also where it was centred on images.
    #[test]
    fn an_export_is_the_same_model_when_it_is_loaded() {
        for (backbone, _) in BACKBONES {
            let mut params = json!({ "backbone": backbone, "dimension": 4 });
            if backbone == "vit_small_patch14_dinov2" {
                // At any other size the export holds interpolated position embeddings, which timm expects.
                params["crop"] = json!(518);
            }
            let model = drawn(params.clone());
            let workshop = Workshop::new();
            export(&model, workshop.path()).unwrap();
            params["weights"] = json!("model.safetensors");
            let stage: Init = serde_json::from_value(params).unwrap();
            let outputs = workshop.run(&stage, &[]).unwrap();
            let loaded = model::Model::open(&artifact(ArtifactKind::Model, &outputs["model"].folder)).unwrap();
            assert!(loaded.parameters == model.parameters, "{backbone}");
        }
    }

    #[test]
    fn weights_are_imported_for_a_backbone_or_unchanged() {
        let model = drawn(json!({ "backbone": "plain", "dimension": 4 }));
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut tensors = model.parameters.clone();
        tensors.iter_mut().for_each(|tensor| tensor.name.insert_str(0, "module."));
        weights::export(&path("wrapped"), &tensors, None).unwrap();

        let all = import_weights(&path("wrapped"), &path("all"), None).unwrap();
        assert_eq!((all.written, all.fit), (tensors.len(), None));
        assert!(import(&path("all")).unwrap()[0].name.starts_with("module."));

        let plain = import_weights(&path("wrapped"), &path("plain"), Some("plain")).unwrap();
        assert_eq!(plain.written, tensors.len() - 2);
        assert_eq!(plain.fit.unwrap().unexpected, ["module.embedding.bias", "module.embedding.weight"]);
        assert!(import(&path("plain")).unwrap().iter().all(|tensor| !tensor.name.starts_with("module.")));

        let other = import_weights(&path("wrapped"), &path("other"), Some("resnet18")).unwrap();
        assert!(other.written == 0 && !other.fit.unwrap().missing.is_empty() && !path("other").exists());
        let error = import_weights(&path("wrapped"), &path("other"), Some("resnet")).unwrap_err();
        assert!(std::error::Error::source(&error).is_some_and(|source| source.to_string().contains("no backbone")));
    }
}
