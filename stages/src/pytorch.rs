//! Models out to PyTorch, and its weights in: what `dnc-run export` and `dnc-run import-weights` do.
//!
//! An exported folder holds `model.safetensors` under the names of the network's published code, with the embedding as its
//! last linear layer, so that `load_state_dict` takes it as it stands; `model.json`, what to do with an image before and with
//! the output after; a README with the lines of Python; and, where the model has them, masks and what the loss learned in
//! `learners.safetensors`, for which no published code has a place.

use std::fs;
use std::path::Path;

use dnc_learn::backbones::{ChannelOrder, InPython, Pooling};
use dnc_learn::model::{Architecture, Model};
use dnc_learn::parameters::Group;
use dnc_learn::weights::{self, Fit, NamedTensor, fitting, import};
use serde::Serialize;

use crate::error::StageError;
use crate::tables::model;

/// `model.json`: all that the tensors do not say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Card {
    /// The network.
    pub backbone: String,
    /// Coordinates of an embedding.
    pub dimension: usize,
    /// How the network's map of features becomes one vector.
    pub pooling: Pooling,
    /// The linear layer that is the embedding; its output is to be L2-normalised.
    pub embedding: &'static str,
    /// Length in pixels that an image's shorter side is scaled to.
    pub resize: usize,
    /// Side in pixels of the square that is cut from its middle.
    pub crop: usize,
    /// The order of the colours of a pixel.
    pub channels: &'static str,
    /// Subtracted from each colour, 0 … 255.
    pub mean: [f32; 3],
    /// By which each colour is then divided.
    pub std: [f32; 3],
    /// Steps that the optimiser has taken.
    pub step: u64,
}

/// Writes a model into `folder`, which is made if it is not there.
///
/// # Errors
/// The model is of another version of the program, or a file cannot be written.
pub fn export(model: &model::Model, folder: &Path) -> Result<Card, StageError> {
    let failed = |source| StageError::compute("export the model", source);
    let architecture: Architecture = serde_json::from_value(model.architecture.clone())
        .map_err(|source| StageError::compute("read what the model is", source))?;
    let network = Model::build(&architecture).map_err(failed)?;
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
        .map(|tensor| match Group::of(&tensor.name) {
            Group::Embedding => Ok(NamedTensor { name: tensor.name.replacen("embedding", python.linear, 1), ..tensor }),
            _ => network.backbone.for_python(tensor, crop),
        })
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    weights::export(&folder.join("model.safetensors"), &tensors).map_err(failed)?;
    if !learners.is_empty() {
        weights::export(&folder.join("learners.safetensors"), &learners).map_err(failed)?;
    }

    let preprocessing = network.preprocessing;
    let card = Card {
        backbone: architecture.backbone,
        dimension: network.dimension,
        pooling: network.pooling,
        embedding: python.linear,
        resize: preprocessing.resize,
        crop: preprocessing.crop,
        channels: match preprocessing.channels {
            ChannelOrder::Rgb => "rgb",
            ChannelOrder::Bgr => "bgr",
        },
        mean: preprocessing.mean,
        std: preprocessing.std,
        step: model.step,
    };
    let json = serde_json::to_string_pretty(&card).map_err(|source| StageError::compute("write the card", source))?;
    for (name, text) in [("model.json", json + "\n"), ("README.md", readme(&card, python, !learners.is_empty()))] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|source| StageError::file("write", &path, source))?;
    }
    Ok(card)
}

/// How to use the folder.
fn readme(card: &Card, python: InPython, learners: bool) -> String {
    let Card { backbone, dimension, embedding, resize, crop, channels, mean, std, .. } = card;
    let mut text = format!(
        "# A model of `dnc-run`: {backbone}, {dimension} coordinates\n\n\
         `model.safetensors` has the names of the network's published code; its layer `{embedding}` is the embedding.\n"
    );
    if learners {
        text += "`learners.safetensors` has the masks of the learners and what the loss learned; the embedding does not need them.\n";
    }
    text += &format!(
        "\nAn image: its shorter side scaled to {resize} pixels, {crop} × {crop} cut from the middle, colours 0 … 255 in the order \
         {channels}, minus {mean:?}, divided by {std:?}.\n"
    );
    let Some(build) = python.build else {
        return text + "No published code has this network; the names are those of `dnc-run`.\n";
    };
    let module = build.split('.').next().unwrap_or(build);
    let (short, layer) = match card.pooling {
        Pooling::Average => ("avg", "AdaptiveAvgPool2d"),
        Pooling::Max => ("max", "AdaptiveMaxPool2d"),
        Pooling::ClassToken => ("token", "Identity"),
    };
    let build = build
        .replace("{dimension}", &dimension.to_string())
        .replace("{crop}", &crop.to_string())
        .replace("{pooling}", short);
    // Said of an average as well: not every published pooling is one over whatever size the map has.
    let pooling = python.pool.map(|pool| format!("model.{pool} = torch.nn.{layer}(1)\n")).unwrap_or_default();
    text + &format!(
        "\n```python\nimport torch, {module}\nfrom safetensors.torch import load_file\n\nmodel = {build}\n{pooling}\
         model.load_state_dict(load_file(\"model.safetensors\"))\nmodel.eval()\n\
         embeddings = torch.nn.functional.normalize(model(images), dim=1)\n```\n"
    )
}

/// What [`import_weights`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// How many tensors the file holds.
    pub tensors: usize,
    /// How many of them were written.
    pub written: usize,
    /// How they fit the backbone, if one was named.
    pub fit: Option<Fit>,
}

/// Reads the weights file `from` (safetensors, or a `state_dict` saved by PyTorch) and writes it to `to` as safetensors. With a
/// backbone only its tensors are written, under its names, and none at all if one is missing or misshapen.
///
/// # Errors
/// There is no such backbone, or a file cannot be read or written.
pub fn import_weights(from: &Path, to: &Path, backbone: Option<&str>) -> Result<Imported, StageError> {
    let failed = |source| StageError::compute(format!("import the weights of `{}`", from.display()), source);
    let network = backbone.map(dnc_learn::backbones::backbone).transpose().map_err(failed)?;
    let all = import(from).map_err(failed)?;
    let (chosen, fit) = match network {
        None => (all.clone(), None),
        Some(network) => {
            let (chosen, fit) = fitting(&network.specs(), &all);
            (chosen, Some(fit))
        }
    };
    let complete = fit.as_ref().is_none_or(Fit::is_complete);
    if complete {
        weights::export(to, &chosen).map_err(failed)?;
    }
    Ok(Imported { tensors: all.len(), written: if complete { chosen.len() } else { 0 }, fit })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::init::Init;
    use crate::kind::Kind;
    use crate::testing::{Workshop, artifact};

    fn drawn(params: serde_json::Value) -> model::Model {
        let workshop = Workshop::new();
        let stage: Init = serde_json::from_value(params).unwrap();
        let outputs = workshop.run(&stage, &[]).unwrap();
        model::Model::open(&artifact(Kind::Model, &outputs["model"].folder)).unwrap()
    }

    #[test]
    fn a_model_leaves_under_its_published_names() {
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
            let name = tensor.name.replace("embedding.", "_fc.");
            let found = exported.iter().find(|exported| exported.name == name);
            assert_eq!(found.map(|found| &found.bytes), (name != "masks").then_some(&tensor.bytes), "{name}");
        }
        assert_eq!(import(&folder.path().join("learners.safetensors")).unwrap()[0].name, "masks");
        let readme = fs::read_to_string(folder.path().join("README.md")).unwrap();
        assert!(readme.contains("num_classes=4, image_size=96)") && readme.contains("minus [127.0"), "{readme}");
    }

    #[test]
    fn the_readme_pools_as_the_model_does_and_positions_are_those_of_its_images() {
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

    #[test]
    fn weights_come_in_for_a_backbone_or_as_they_are() {
        let model = drawn(json!({ "backbone": "plain", "dimension": 4 }));
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut tensors = model.parameters.clone();
        tensors.iter_mut().for_each(|tensor| tensor.name.insert_str(0, "module."));
        weights::export(&path("wrapped"), &tensors).unwrap();

        let all = import_weights(&path("wrapped"), &path("all"), None).unwrap();
        assert_eq!((all.written, all.fit), (tensors.len(), None));
        assert!(import(&path("all")).unwrap()[0].name.starts_with("module."));

        let plain = import_weights(&path("wrapped"), &path("plain"), Some("plain")).unwrap();
        assert_eq!(plain.written, tensors.len() - 2);
        assert_eq!(plain.fit.unwrap().superfluous, ["module.embedding.bias", "module.embedding.weight"]);
        assert!(import(&path("plain")).unwrap().iter().all(|tensor| !tensor.name.starts_with("module.")));

        let other = import_weights(&path("wrapped"), &path("other"), Some("resnet18")).unwrap();
        assert!(other.written == 0 && !other.fit.unwrap().missing.is_empty() && !path("other").exists());
        let error = import_weights(&path("wrapped"), &path("other"), Some("resnet")).unwrap_err();
        assert!(std::error::Error::source(&error).is_some_and(|source| source.to_string().contains("no backbone")));
    }
}
