//! A model as an ONNX file, for `dnc-run export --format onnx`.

use candle_core::Device;
use dnc_learn::onnx;
use dnc_learn::parameters::{Group, Parameters};
use dnc_learn::subspaces::Merged;
use dnc_learn::weights::NamedTensor;
use dnc_tables::model;

use crate::api::StageError;

pub use dnc_learn::onnx::{Interface, OPSET};

/// The bytes of the file. The masks of the learners are merged into the embedding as `merged` says; `metadata` is stored in the file.
///
/// # Errors
/// The model's architecture is unknown, its tensors do not fit it, or `merged` needs masks that it does not have.
pub fn export(
    model: &model::Model,
    merged: Merged,
    interface: Interface,
    metadata: &[(&str, String)],
) -> Result<Vec<u8>, StageError> {
    let failed = |source| StageError::compute("export the model as ONNX", source);
    let network = model.network()?;
    let of_network = |tensor: &&NamedTensor| matches!(Group::of(&tensor.name), Group::Backbone | Group::Embedding);
    let tensors: Vec<NamedTensor> = model.parameters.iter().filter(of_network).cloned().collect();
    let parameters = Parameters::restore(&network.specs_for(&tensors), &tensors, &Device::Cpu).map_err(failed)?;
    let masks = model.masks().map(|masks| masks.to_tensor(&Device::Cpu)).transpose().map_err(failed)?;
    if masks.is_none() && merged != Merged::Plain {
        return Err(StageError::NoMasks);
    }
    onnx::export(&network, &parameters, masks.as_ref(), merged, interface, metadata).map_err(failed)
}
