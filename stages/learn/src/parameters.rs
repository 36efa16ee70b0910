//! The named tensors of one model.
//!
//! A model is a map from names to tensors: torchvision's (or timm's) names for the backbone, `embedding.weight [d, F]`,
//! `embedding.bias [d]`, `masks [K, d]` and `loss.*`. The name determines the [`Group`]; the [`Role`] says whether the
//! tensor is trained. The map is ordered by name, so that every loop over it has the same order on every machine.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};

use dnc_kernels::Precision;

use crate::error::{LearnError, Result};
use crate::spec::{Role, Spec};
use crate::streams::Streams;
use crate::weights::{Fit, NamedTensor, matching};

/// Parameter group: the part of the model that a tensor belongs to. Each has its own learning rate and weight decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The network that turns images into features.
    Backbone,
    /// The linear layer that turns features into embeddings.
    Embedding,
    /// The masks over the embedding, one per learner.
    Masks,
    /// Tensors of the loss, such as β of the margin loss.
    Loss,
}

impl Group {
    /// All groups.
    pub const ALL: [Self; 4] = [Self::Backbone, Self::Embedding, Self::Masks, Self::Loss];

    /// The group of the tensor called `name`.
    pub fn of(name: &str) -> Self {
        match name {
            "masks" => Self::Masks,
            _ if name.starts_with("embedding.") => Self::Embedding,
            _ if name.starts_with("loss.") => Self::Loss,
            _ => Self::Backbone,
        }
    }
}

/// Which weights are frozen at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frozen {
    /// The whole backbone, as DC21 does in the first epochs of a round.
    pub backbone: bool,
    /// Scales and shifts of batch-norms.
    pub affine: bool,
}

/// The named tensors of one model, all `f32` and on one device, and the precision that a network computes with them.
#[derive(Clone, Debug)]
pub struct Parameters {
    entries: BTreeMap<String, Entry>,
    frozen: Frozen,
    precision: Precision,
    device: Device,
    is_constant: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    role: Role,
    value: Var,
    /// The value without gradients, the same tensor each time.
    constant: Tensor,
}

impl Entry {
    fn new(role: Role, value: Var) -> Self {
        let constant = value.as_detached_tensor();
        Self { role, value, constant }
    }
}

impl Parameters {
    /// A model without tensors.
    pub fn empty(device: &Device) -> Self {
        let (frozen, precision) = (Frozen::default(), Precision::default());
        Self { entries: BTreeMap::new(), frozen, precision, device: device.clone(), is_constant: false }
    }

    /// A new model: every tensor of `specs` is drawn from its own stream under `streams`.
    ///
    /// # Errors
    /// If the tensors cannot be copied to the device.
    pub fn initialise(specs: &[Spec], streams: &Streams, device: &Device) -> Result<Self> {
        let mut parameters = Self::empty(device);
        for spec in specs {
            parameters.insert(&spec.name, spec.role, &spec.draw(streams, device)?)?;
        }
        Ok(parameters)
    }

    /// The model that consists of `tensors`, which must be those of `specs` and no others.
    ///
    /// # Errors
    /// If they are not, with the differences.
    pub fn restore(specs: &[Spec], tensors: &[NamedTensor], device: &Device) -> Result<Self> {
        let expected = specs.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice()));
        let (pairs, fit) = matching::exact(expected, tensors);
        if !fit.is_exact() {
            return Err(LearnError::Mismatch { fit: Box::new(fit) });
        }
        let mut parameters = Self::empty(device);
        for (spec, (_, tensor)) in specs.iter().zip(pairs) {
            parameters.insert(&spec.name, spec.role, &tensor.to_tensor(device)?)?;
        }
        Ok(parameters)
    }

    /// Copies `tensors`, as read from a weights file, into this model, and returns how well they fit. Prefixes of wrappers
    /// (`module.`, `state_dict.` …) are stripped. A file of backbone weights does not have to hold the other groups: only
    /// tensors of the backbone count as missing, and the rest of an embedding of which the file holds a part.
    ///
    /// # Errors
    /// If the matching tensors could not be copied. Missing or unexpected tensors are not an error here; the caller decides.
    pub fn load(&mut self, tensors: &[NamedTensor]) -> Result<Fit> {
        let shapes: Vec<_> = self.entries.iter().map(|(name, entry)| (name.as_str(), entry.value.dims())).collect();
        let (pairs, mut fit) = matching::unwrapped(shapes.iter().copied(), tensors);
        let has_embedding = pairs.iter().any(|(name, _)| Group::of(name) == Group::Embedding);
        fit.missing.retain(|name| match Group::of(name) {
            Group::Backbone => true,
            Group::Embedding => has_embedding,
            Group::Masks | Group::Loss => false,
        });
        for (name, tensor) in pairs {
            let value = &self.entries[name].value;
            value.set(&tensor.to_tensor(&self.device)?.reshape(value.dims())?)?;
        }
        Ok(fit)
    }

    /// Adds the tensor `name` with a copy of `value`, or replaces it.
    ///
    /// # Errors
    /// If the value cannot be copied.
    pub fn insert(&mut self, name: &str, role: Role, value: &Tensor) -> Result<()> {
        let value = value.to_device(&self.device)?.to_dtype(DType::F32)?.detach().force_contiguous()?;
        self.entries.insert(name.to_owned(), Entry::new(role, Var::from_tensor(&value)?));
        Ok(())
    }

    /// Freezes the weights that `frozen` names and unfreezes all others.
    pub fn freeze(&mut self, frozen: Frozen) {
        self.frozen = frozen;
    }

    /// Whether the model has a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The tensor `name`; gradients flow into it if it is trained and not frozen.
    ///
    /// # Errors
    /// If there is no such tensor.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let entry = self.entries.get(name).ok_or_else(|| LearnError::NoTensor { name: name.to_owned() })?;
        let is_tracked = !self.is_constant && self.is_trained(name, entry.role);
        Ok(if is_tracked { entry.value.as_tensor().clone() } else { entry.constant.clone() })
    }

    /// The tensors that are trained and not frozen, ordered by name.
    pub fn trained(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.entries
            .iter()
            .filter(|(name, entry)| self.is_trained(name, entry.role))
            .map(|(name, entry)| (name.as_str(), &entry.value))
    }

    /// All tensors, detached from gradients, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Role, Tensor)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry.role, entry.constant.clone()))
    }

    /// A copy with its own storage; a plain clone shares the storage.
    ///
    /// # Errors
    /// If the values cannot be copied.
    pub fn duplicate(&self) -> Result<Self> {
        let mut copy = Self::empty(&self.device);
        copy.frozen = self.frozen;
        copy.precision = self.precision;
        for (name, role, value) in self.iter() {
            copy.insert(name, role, &value)?;
        }
        Ok(copy)
    }

    /// The same model for computing in this precision; the tensors stay `f32`.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The same model without gradients: a forward pass keeps nothing for a backward pass.
    #[must_use]
    pub fn without_gradients(self) -> Self {
        Self { is_constant: true, ..self }
    }

    /// What the network computes with.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// All tensors as plain bytes, ordered by name.
    ///
    /// # Errors
    /// If the values cannot be copied from their device.
    pub fn named_tensors(&self) -> Result<Vec<NamedTensor>> {
        self.iter().map(|(name, _, value)| NamedTensor::from_tensor(name, &value)).collect()
    }

    /// The device that all tensors are on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn is_trained(&self, name: &str, role: Role) -> bool {
        let backbone_frozen = self.frozen.backbone && Group::of(name) == Group::Backbone;
        match role {
            Role::Weight => !backbone_frozen,
            Role::Affine => !backbone_frozen && !self.frozen.affine,
            Role::Constant => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Initialisation;

    fn specs() -> Vec<Spec> {
        let affine = |name: &str, value, role| Spec {
            name: name.to_owned(),
            shape: vec![8],
            init: Initialisation::Constant(value),
            role,
        };
        let mut specs = vec![
            Spec::weight("conv1.weight", [8, 3, 7, 7], Initialisation::kaiming_fan_out(&[8, 3, 7, 7])),
            affine("bn1.weight", 1.0, Role::Affine),
            affine("bn1.bias", 0.0, Role::Affine),
            affine("bn1.running_mean", 0.0, Role::Constant),
            affine("bn1.running_var", 1.0, Role::Constant),
        ];
        specs.extend(Spec::embedding(8, 4));
        specs
    }

    fn new_model(specs: &[Spec]) -> Parameters {
        Parameters::initialise(specs, &Streams::new(0), &Device::Cpu).unwrap()
    }

    fn trained(parameters: &Parameters) -> Vec<&str> {
        parameters.trained().map(|(name, _)| name).collect()
    }

    #[test]
    fn frozen_tensors_are_neither_listed_nor_reached_by_gradients() {
        let mut parameters = new_model(&specs());
        assert_eq!(
            trained(&parameters),
            ["bn1.bias", "bn1.weight", "conv1.weight", "embedding.bias", "embedding.weight"]
        );
        assert!(!parameters.tensor("bn1.running_var").unwrap().is_variable());
        parameters.freeze(Frozen { affine: true, ..Frozen::default() });
        assert_eq!(trained(&parameters), ["conv1.weight", "embedding.bias", "embedding.weight"]);
        parameters.freeze(Frozen { backbone: true, ..Frozen::default() });
        assert_eq!(trained(&parameters), ["embedding.bias", "embedding.weight"]);
        let loss = parameters.tensor("conv1.weight").unwrap().sum_all().unwrap();
        let loss = (loss + parameters.tensor("embedding.weight").unwrap().sum_all().unwrap()).unwrap();
        let gradients = loss.backward().unwrap();
        let reached: Vec<_> = parameters.entries.iter().filter(|(_, e)| gradients.get(&e.value).is_some()).collect();
        assert_eq!(reached.len(), 1);
    }

    #[test]
    fn initial_values_depend_on_the_seed_and_the_name_alone() {
        let all = specs();
        let (whole, part) = (new_model(&all), new_model(&all[..1]));
        assert_eq!(whole.named_tensors().unwrap()[4], part.named_tensors().unwrap()[0]);
        let other = Parameters::initialise(&all, &Streams::new(1), &Device::Cpu).unwrap();
        assert_ne!(whole.named_tensors().unwrap()[4], other.named_tensors().unwrap()[4]);
    }

    #[test]
    fn named_tensors_are_restored_bit_for_bit() {
        let specs = specs();
        let tensors = new_model(&specs).named_tensors().unwrap();
        let restored = Parameters::restore(&specs, &tensors, &Device::Cpu).unwrap();
        assert_eq!(restored.named_tensors().unwrap(), tensors);
        let error = Parameters::restore(&specs, &tensors[1..], &Device::Cpu).unwrap_err();
        insta::assert_snapshot!(error, @"The tensors do not match the model: 1 missing (`bn1.bias`)");
    }

    #[test]
    fn a_weights_file_fills_the_backbone_and_leaves_the_embedding() {
        let specs = specs();
        let mut parameters = new_model(&specs);
        let before = parameters.named_tensors().unwrap();
        let other = Parameters::initialise(&specs, &Streams::new(9), &Device::Cpu).unwrap().named_tensors().unwrap();
        let mut file: Vec<_> =
            other.iter().filter(|tensor| Group::of(&tensor.name) == Group::Backbone).cloned().collect();
        for tensor in &mut file {
            tensor.name = format!("state_dict.module.{}", tensor.name);
        }
        file.push(NamedTensor { name: "fc.bias".into(), ..other[0].clone() });
        let fit = parameters.load(&file).unwrap();
        insta::assert_snapshot!(fit, @"1 left out (`fc.bias`)");
        let after = parameters.named_tensors().unwrap();
        assert_eq!(after[4], other[4]);
        assert_eq!(after[6], before[6], "the embedding keeps its initial values");
        let fit = parameters.load(&file[1..3]).unwrap();
        insta::assert_snapshot!(fit, @"3 missing (`bn1.bias`, `bn1.weight`, `conv1.weight`)");
        let half: Vec<_> = other.iter().filter(|tensor| tensor.name != "embedding.bias").cloned().collect();
        insta::assert_snapshot!(parameters.load(&half).unwrap(), @"1 missing (`embedding.bias`)");
    }

    #[test]
    fn a_duplicate_has_its_own_storage() {
        let parameters = new_model(&specs());
        let copy = parameters.duplicate().unwrap();
        copy.entries["bn1.bias"].value.set(&Tensor::ones(8, DType::F32, &Device::Cpu).unwrap()).unwrap();
        assert_eq!(parameters.tensor("bn1.bias").unwrap().to_vec1::<f32>().unwrap(), [0.0; 8]);
    }
}
