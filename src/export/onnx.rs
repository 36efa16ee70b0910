//! The model as one ONNX file, with what is needed to use and to check it.

use std::path::Path;

use dnc_stages::onnx::{self, Interface, OPSET};
use dnc_stages::pytorch::{self, Card};
use dnc_stages::tables::model::Model;

use super::error::ExportError;
use super::samples::Samples;
use super::subject::Subject;
use super::{Written, files, preprocessing};

const CHECK: &str = include_str!("python/check_onnx.py");

/// Writes the folder.
pub(super) fn write(subject: &Subject, folder: &Path) -> Result<Written, ExportError> {
    let model = Model::open(&subject.model()?)?;
    let card = pytorch::card_of(&model)?;
    let json = serde_json::to_string_pretty(&card)
        .map_err(|source| ExportError::Write { path: folder.join("model.json"), source: source.into() })?;
    let merged = subject.merged();
    let interface = if subject.target.raw { Interface::Raw } else { Interface::Pixels };
    let node = subject.model_node()?.node.clone();
    let metadata = [
        ("run", subject.evidence.folder.id()),
        ("node", node),
        ("backbone", card.backbone.clone()),
        ("resize", card.resize.to_string()),
        ("crop", card.crop.to_string()),
        ("channels", if subject.target.raw { card.channels } else { "rgb" }.to_owned()),
    ];
    let network = onnx::export(&model, merged, interface, &metadata)?;
    files::remove_model(folder)?;
    files::write(&folder.join("model.onnx"), network)?;
    files::write(&folder.join("model.json"), json + "\n")?;
    let samples = Samples::new(subject, merged)?;
    samples.write(folder)?;
    preprocessing::write(subject, folder)?;
    files::write(&folder.join("check.py"), CHECK)?;
    files::write(&folder.join("README.md"), readme(&card, interface, samples.sentence()))?;
    let (what, details) = subject.described(&card)?;
    Ok(Written { what, details, card: Some(card) })
}

fn readme(card: &Card, interface: Interface, samples: &str) -> String {
    let Card { backbone, dimension, crop, .. } = card;
    let (interface, names, code) = match interface {
        Interface::Pixels => (
            format!(
                "- Input `images`: u8 `[batch, {crop}, {crop}, 3]`, RGB, as Pillow and NumPy hold pixels. Subtracting the mean and dividing by \
                 the standard deviation are part of the graph; do neither yourself.\n\
                 - Output `embeddings`: f32 `[batch, {dimension}]`, L2-normalised."
            ),
            "load",
            "load(\"photo.jpg\")[None]",
        ),
        Interface::Raw => (
            format!(
                "- Input `images`: f32 `[batch, 3, {crop}, {crop}]`, as `preprocess.normalise` makes them from pixels.\n\
                 - Output `embeddings`: f32 `[batch, {dimension}]`, not L2-normalised, which they must be before they are compared."
            ),
            "load, normalise",
            "normalise(load(\"photo.jpg\")[None])",
        ),
    };
    format!(
        "# Model exported by `dnc-run`: {backbone}, embedding dimension {dimension}\n\n`model.onnx` (opset {OPSET}):\n\n{interface}\n\n\
         The batch may have any size. `preprocess.py` scales and crops pictures as the run does, `model.json` holds the numbers.\n\n\
         ```python\nimport onnxruntime\nfrom preprocess import {names}\n\n\
         session = onnxruntime.InferenceSession(\"model.onnx\")\n\
         (embeddings,) = session.run([\"embeddings\"], {{\"images\": {code}}})\n```\n\n{samples} `python check.py` compares.\n"
    )
}
