//! The named tensors of one model.
//!
//! A model is a map from names to tensors: torchvision's (or timm's) names for the backbone, `embedding.weight [d, F]`,
//! `embedding.bias [d]`, `masks [K, d]` and `loss.*`. The name tells the [`Group`], and each tensor has a [`Role`]: a
//! weight is trained, a batch-norm's affine weights are trained unless they are frozen, a constant never is. The map is
//! ordered by name, so that whatever walks over it does so in the same order on every machine.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use rand::Rng;

use crate::error::{LearnError, Result};
use crate::streams::Streams;
use crate::weights::{Fit, NamedTensor, fit};

/// The part of the model that a tensor belongs to; each has its own learning rate and weight decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The network that turns images into features.
    Backbone,
    /// The linear layer that turns features into embeddings.
    Embedding,
    /// One mask over the embedding a learner.
    Masks,
    /// What a loss learns, as β of the margin loss.
    Loss,
}

impl Group {
    /// All groups, in the order in which an optimiser lists them.
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

/// Whether and when a tensor is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Trained unless its group is frozen.
    Weight,
    /// Scale or shift of a batch-norm: trained unless its group or all affine weights are frozen.
    Affine,
    /// Never trained: stored batch-norm statistics, fixed masks.
    Constant,
}

/// How the values of a tensor are drawn when a model is new.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// The same number everywhere.
    Constant(f32),
    /// Normal about zero.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Normal about zero; what lies more than two standard deviations away is drawn again.
    TruncatedNormal {
        /// Standard deviation before the truncation.
        std: f64,
    },
    /// Uniform in `[-bound, bound)`.
    Uniform {
        /// Half the width.
        bound: f64,
    },
}

impl Init {
    /// He's initialisation by outputs, as torchvision's ResNet has it: normal with variance `2 / fan_out`, for a
    /// convolution's weight `[out, in / groups, height, width]` (He et al. 2015, arXiv 1502.01852, section 2.2).
    pub fn kaiming_fan_out(shape: &[usize]) -> Self {
        let fan_out = shape[0] * shape[2..].iter().product::<usize>();
        Self::Normal { std: (2.0 / fan_out as f64).sqrt() }
    }

    /// He's initialisation by inputs: normal with variance `2 / fan_in`, which keeps the scale of what goes forward
    /// (He et al. 2015, arXiv 1502.01852, section 2.2).
    pub fn kaiming_fan_in(shape: &[usize]) -> Self {
        let fan_in = shape[1..].iter().product::<usize>();
        Self::Normal { std: (2.0 / fan_in as f64).sqrt() }
    }

    /// What `torch.nn.Linear` and `torch.nn.Conv2d` do when nothing else is said, for weight and bias alike: uniform
    /// within `1 / √fan_in`.
    pub fn torch_default(fan_in: usize) -> Self {
        Self::Uniform { bound: 1.0 / (fan_in as f64).sqrt() }
    }
}

/// A tensor that a model wants: what it is called, how large it is, how it begins and whether it is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Unique in the model.
    pub name: String,
    /// Length along each axis.
    pub shape: Vec<usize>,
    /// Values of a new model.
    pub init: Init,
    /// Whether it is trained.
    pub role: Role,
}

impl Spec {
    /// A tensor that is trained.
    pub fn weight(name: impl Into<String>, shape: impl Into<Vec<usize>>, init: Init) -> Self {
        Self { name: name.into(), shape: shape.into(), init, role: Role::Weight }
    }

    /// The linear layer from `features` features to an embedding of `dimension` coordinates, initialised as
    /// `torch.nn.Linear`.
    pub fn embedding(features: usize, dimension: usize) -> [Self; 2] {
        let init = Init::torch_default(features);
        [
            Self::weight("embedding.weight", [dimension, features], init),
            Self::weight("embedding.bias", [dimension], init),
        ]
    }

    /// The values of a new model: a function of the seed and the name alone.
    fn draw(&self, streams: &Streams, device: &Device) -> Result<Tensor> {
        let mut rng = streams.named(&self.name).rng();
        let count = self.shape.iter().product();
        let values: Vec<f32> = match self.init {
            Init::Constant(value) => vec![value; count],
            Init::Normal { std } => (0..count).map(|_| (standard_normal(&mut rng) * std) as f32).collect(),
            Init::TruncatedNormal { std } => (0..count).map(|_| (truncated_normal(&mut rng) * std) as f32).collect(),
            Init::Uniform { bound } => (0..count).map(|_| ((2.0 * rng.random::<f64>() - 1.0) * bound) as f32).collect(),
        };
        Ok(Tensor::from_vec(values, self.shape.clone(), device)?)
    }
}

/// What is not trained for the time being.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frozen {
    /// The whole backbone, as in the first epochs of a round of DC21.
    pub backbone: bool,
    /// Scales and shifts of batch-norms.
    pub affine: bool,
}

/// The named tensors of one model, all on one device and, unless they were [`cast`](Parameters::cast), `f32`.
#[derive(Clone, Debug)]
pub struct Parameters {
    entries: BTreeMap<String, Entry>,
    frozen: Frozen,
    device: Device,
}

#[derive(Clone, Debug)]
struct Entry {
    role: Role,
    value: Var,
}

impl Parameters {
    /// A model without tensors.
    pub fn empty(device: &Device) -> Self {
        Self { entries: BTreeMap::new(), frozen: Frozen::default(), device: device.clone() }
    }

    /// A new model: every tensor of `specs` drawn from its own stream under `streams`.
    pub fn initialise(specs: &[Spec], streams: &Streams, device: &Device) -> Result<Self> {
        let mut parameters = Self::empty(device);
        for spec in specs {
            parameters.insert(&spec.name, spec.role, &spec.draw(streams, device)?)?;
        }
        Ok(parameters)
    }

    /// The model whose tensors are `tensors`, which must be those of `specs` and no others.
    pub fn restore(specs: &[Spec], tensors: &[NamedTensor], device: &Device) -> Result<Self> {
        let wanted = specs.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice()));
        let (pairs, fit) = fit::exact(wanted, tensors);
        if !fit.is_exact() {
            return Err(LearnError::Misfit { fit });
        }
        let mut parameters = Self::empty(device);
        for (spec, (_, tensor)) in specs.iter().zip(pairs) {
            parameters.insert(&spec.name, spec.role, &tensor.to_tensor(device)?)?;
        }
        Ok(parameters)
    }

    /// Takes over what `tensors`, as read from a weights file, hold for this model, and says how they fit. Wrappers'
    /// prefixes (`module.`, `state_dict.` …) are stripped. A file of backbone weights need not hold the other groups:
    /// only a tensor of the backbone counts as missing.
    ///
    /// # Errors
    /// The tensors that fit could not be copied. A misfit is no error here: the caller knows whether it is one.
    pub fn load(&mut self, tensors: &[NamedTensor]) -> Result<Fit> {
        let shapes: Vec<_> = self.entries.iter().map(|(name, entry)| (name.as_str(), entry.value.dims())).collect();
        let (pairs, mut fit) = fit::renamed(shapes.iter().copied(), tensors);
        fit.missing.retain(|name| Group::of(name) == Group::Backbone);
        for (name, tensor) in pairs {
            self.entries[name].value.set(&tensor.to_tensor(&self.device)?)?;
        }
        Ok(fit)
    }

    /// Adds the tensor `name` with a copy of `value`, or replaces it.
    pub fn insert(&mut self, name: &str, role: Role, value: &Tensor) -> Result<()> {
        let value = value.to_device(&self.device)?.to_dtype(DType::F32)?.detach().force_contiguous()?;
        self.entries.insert(name.to_owned(), Entry { role, value: Var::from_tensor(&value)? });
        Ok(())
    }

    /// Takes the tensor `name` out of the model.
    pub fn remove(&mut self, name: &str) {
        self.entries.remove(name);
    }

    /// Freezes what `frozen` names and nothing else.
    pub fn freeze(&mut self, frozen: Frozen) {
        self.frozen = frozen;
    }

    /// Whether the model has a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The tensor `name`; gradients flow into it if it is trained now.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let entry = self.entries.get(name).ok_or_else(|| LearnError::NoTensor { name: name.to_owned() })?;
        Ok(if self.is_trained(name, entry.role) {
            entry.value.as_tensor().clone()
        } else {
            entry.value.as_detached_tensor()
        })
    }

    /// The tensors that are trained now, ordered by name.
    pub fn trained(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.entries
            .iter()
            .filter(|(name, entry)| self.is_trained(name, entry.role))
            .map(|(name, entry)| (name.as_str(), &entry.value))
    }

    /// All tensors without their gradients, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Role, Tensor)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry.role, entry.value.as_detached_tensor()))
    }

    /// A model of its own with the same values; a plain clone shares them.
    pub fn duplicate(&self) -> Result<Self> {
        let mut copy = Self::empty(&self.device);
        copy.frozen = self.frozen;
        for (name, role, value) in self.iter() {
            copy.insert(name, role, &value)?;
        }
        Ok(copy)
    }

    /// The same model with all numbers as `dtype`, for inference alone.
    pub fn cast(&self, dtype: DType) -> Result<Self> {
        let mut cast = Self::empty(&self.device);
        for (name, _, value) in self.iter() {
            let value = Var::from_tensor(&value.to_dtype(dtype)?)?;
            cast.entries.insert(name.to_owned(), Entry { role: Role::Constant, value });
        }
        Ok(cast)
    }

    /// All tensors as plain bytes, ordered by name.
    pub fn rows(&self) -> Result<Vec<NamedTensor>> {
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

/// Box and Muller's transform; of its two numbers the cosine one.
fn standard_normal(rng: &mut impl Rng) -> f64 {
    // `1 - u` lies in (0, 1], so that the logarithm is finite.
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

fn truncated_normal(rng: &mut impl Rng) -> f64 {
    loop {
        let value = standard_normal(rng);
        if value.abs() <= 2.0 {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs() -> Vec<Spec> {
        let affine =
            |name: &str, value, role| Spec { name: name.to_owned(), shape: vec![8], init: Init::Constant(value), role };
        let mut specs = vec![
            Spec::weight("conv1.weight", [8, 3, 7, 7], Init::kaiming_fan_out(&[8, 3, 7, 7])),
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
    fn what_is_frozen_is_neither_listed_nor_reached_by_gradients() {
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
    fn a_tensor_is_drawn_from_the_seed_and_its_name_alone() {
        let all = specs();
        let (whole, part) = (new_model(&all), new_model(&all[..1]));
        assert_eq!(whole.rows().unwrap()[4], part.rows().unwrap()[0]);
        let other = Parameters::initialise(&all, &Streams::new(1), &Device::Cpu).unwrap();
        assert_ne!(whole.rows().unwrap()[4], other.rows().unwrap()[4]);
    }

    #[test]
    fn draws_have_the_moments_of_their_distribution() {
        let check = |init, variance: f64, largest: f64| {
            let spec = Spec::weight("x", [20_000], init);
            let values: Vec<f32> = spec.draw(&Streams::new(3), &Device::Cpu).unwrap().to_vec1().unwrap();
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / 20_000.0;
            let second = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / 20_000.0;
            assert!(mean.abs() < 0.02 * variance.sqrt() * 2.0, "{init:?}: mean {mean}");
            assert!((second / variance - 1.0).abs() < 0.05, "{init:?}: variance {second} for {variance}");
            assert!(values.iter().all(|v| f64::from(v.abs()) <= largest), "{init:?}");
        };
        check(Init::Normal { std: 0.5 }, 0.25, 5.0);
        // A normal cut at two deviations keeps 0.7737 of its variance.
        check(Init::TruncatedNormal { std: 1.0 }, 0.7737, 2.0);
        check(Init::Uniform { bound: 3.0 }, 3.0, 3.0);
    }

    #[test]
    fn rows_come_back_bit_for_bit() {
        let specs = specs();
        let rows = new_model(&specs).rows().unwrap();
        let restored = Parameters::restore(&specs, &rows, &Device::Cpu).unwrap();
        assert_eq!(restored.rows().unwrap(), rows);
        let error = Parameters::restore(&specs, &rows[1..], &Device::Cpu).unwrap_err();
        insta::assert_snapshot!(error, @"The tensors do not fit the model: 1 missing (`bn1.bias`)");
    }

    #[test]
    fn a_weights_file_fills_the_backbone_and_leaves_the_embedding() {
        let specs = specs();
        let mut parameters = new_model(&specs);
        let before = parameters.rows().unwrap();
        let other = Parameters::initialise(&specs, &Streams::new(9), &Device::Cpu).unwrap().rows().unwrap();
        let mut file: Vec<_> = other.iter().filter(|row| Group::of(&row.name) == Group::Backbone).cloned().collect();
        for row in &mut file {
            row.name = format!("state_dict.module.{}", row.name);
        }
        file.push(NamedTensor { name: "fc.bias".into(), ..other[0].clone() });
        let fit = parameters.load(&file).unwrap();
        insta::assert_snapshot!(fit, @"1 superfluous (`fc.bias`)");
        let after = parameters.rows().unwrap();
        assert_eq!(after[4], other[4]);
        assert_eq!(after[6], before[6], "the embedding keeps its first values");
        let fit = parameters.load(&file[1..3]).unwrap();
        insta::assert_snapshot!(fit, @"3 missing (`bn1.bias`, `bn1.weight`, `conv1.weight`)");
    }

    #[test]
    fn a_duplicate_has_storage_of_its_own() {
        let parameters = new_model(&specs());
        let copy = parameters.duplicate().unwrap();
        copy.entries["bn1.bias"].value.set(&Tensor::ones(8, DType::F32, &Device::Cpu).unwrap()).unwrap();
        assert_eq!(parameters.tensor("bn1.bias").unwrap().to_vec1::<f32>().unwrap(), [0.0; 8]);
    }
}
