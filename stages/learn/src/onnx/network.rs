//! A model with its preprocessing and postprocessing as one ONNX file.
//!
//! The input is `images`, the output `embeddings` `[batch, dimension]`. Batch-norms are folded into the convolutions, and the weights
//! with which the learners' masks merge into one embedding into the embedding layer, as for our own inference.

use candle_core::{DType, Tensor};
use prost::Message;

use super::graph::{Attribute, Graph};
use super::messages::{ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorProto};
use crate::backbones::ChannelOrder;
use crate::error::Result;
use crate::model::Model;
use crate::parameters::Parameters;
use crate::subspaces::Merged;

/// Version of ONNX's set of operators.
pub const OPSET: i64 = 20;
/// Version of the file format that came with it.
const IR_VERSION: i64 = 9;

/// What the file takes and returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// Pixels as they lie in memory, `[batch, height, width, 3]` of `u8` in RGB order, to L2-normalised embeddings.
    Pixels,
    /// Preprocessed images, `[batch, 3, height, width]` of `f32` in the network's channel order, to embeddings that are not
    /// normalised.
    Raw,
}

/// The ONNX file of a model. `parameters` may be folded or not; `masks` are those of the learners, `[learners, dimension]`, if it has
/// any. `metadata` is stored in the file.
///
/// # Errors
/// If `parameters` or `masks` are not those of this model.
pub fn export(
    model: &Model,
    parameters: &Parameters,
    masks: Option<&Tensor>,
    merged: Merged,
    interface: Interface,
    metadata: &[(&str, String)],
) -> Result<Vec<u8>> {
    let parameters = model.fold(parameters)?;
    let side = model.preprocessing.crop;
    let (mut graph, input) = match interface {
        Interface::Pixels => Graph::new("images", TensorProto::UINT8, vec![side, side, 3]),
        Interface::Raw => Graph::new("images", TensorProto::FLOAT, vec![3, side, side]),
    };
    let images = match interface {
        Interface::Raw => input,
        Interface::Pixels => {
            let to = Attribute::Int("to", TensorProto::FLOAT.into());
            let pixels = graph.node("Cast", &[input.name()], [to], input.shape.clone());
            let mut images = graph.transpose(&pixels, &[0, 3, 1, 2]);
            if model.preprocessing.channels == ChannelOrder::Bgr {
                let order = graph.integers("bgr", &[2, 1, 0]);
                let axis = Attribute::Int("axis", 1);
                images = graph.node("Gather", &[images.name(), &order], [axis], images.shape.clone());
            }
            let channelwise = |values: [f32; 3]| Tensor::new(&values, parameters.device())?.reshape((1, 3, 1, 1));
            let mean = graph.constant("mean", &channelwise(model.preprocessing.mean)?)?;
            let std = graph.constant("std", &channelwise(model.preprocessing.std)?)?;
            let centred = graph.elementwise("Sub", &images, &mean);
            graph.elementwise("Div", &centred, &std)
        }
    };
    let features = model.backbone.trace(&parameters, &mut graph, &images, model.pooling)?;
    let (mut weight, mut bias) = (parameters.tensor("embedding.weight")?, parameters.tensor("embedding.bias")?);
    if let Some(weights) = masks.map(|masks| merged.weights(masks)).transpose()?.flatten() {
        let weights = weights.to_dtype(DType::F32)?; // [1, dimension]
        weight = weight.broadcast_mul(&weights.t()?)?;
        bias = (bias * weights.squeeze(0)?)?;
    }
    let mut embeddings = graph.linear("embedding", &features, &weight, &bias)?;
    if interface == Interface::Pixels {
        embeddings = graph.l2_normalise(&embeddings);
    }
    let file = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "dnc-run".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string: doc(interface, side, model.dimension),
        graph: Some(graph.finish(&embeddings, "embeddings")),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: metadata
            .iter()
            .map(|(key, value)| StringStringEntryProto { key: (*key).to_owned(), value: value.clone() })
            .collect(),
    };
    Ok(file.encode_to_vec())
}

/// What input and output are, in words.
fn doc(interface: Interface, side: usize, dimension: usize) -> String {
    match interface {
        Interface::Pixels => format!(
            "images: u8 [batch, {side}, {side}, 3], RGB; embeddings: f32 [batch, {dimension}], L2-normalised. \
             Normalisation of the pixels is part of the graph."
        ),
        Interface::Raw => format!(
            "images: f32 [batch, 3, {side}, {side}], normalised; embeddings: f32 [batch, {dimension}], not normalised."
        ),
    }
}
