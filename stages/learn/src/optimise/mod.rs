//! Optimisers: Adam and AdamW as PyTorch defines them, with a rate and a decay for each group of parameters.
//!
//! Read in this order: [`Optimiser`] here, then `update`, which applies one step to one tensor in place, and `state`, which
//! turns the moments into rows and back.

mod state;
mod update;

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use dnc_kernels::AdamStep;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::parameters::{Group, Parameters};
pub use state::State;

/// Which of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Weight decay is added to the gradient (Kingma and Ba, arXiv 1412.6980), as `torch.optim.Adam` does.
    #[default]
    Adam,
    /// Weight decay shrinks the parameter (Loshchilov and Hutter, arXiv 1711.05101), as `torch.optim.AdamW` does.
    AdamW,
}

/// How fast a group of parameters moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

/// An optimiser's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Adam or AdamW.
    pub kind: Kind,
    /// Decay β₁ of the mean of the gradients.
    pub beta1: f64,
    /// Decay β₂ of the mean of their squares.
    pub beta2: f64,
    /// ε under the fraction.
    pub epsilon: f64,
    /// Rate and decay of the backbone.
    pub backbone: Rate,
    /// Rate and decay of the embedding layer.
    pub embedding: Rate,
    /// Rate and decay of the masks.
    pub masks: Rate,
    /// Rate and decay of what the loss learns.
    pub loss: Rate,
}

impl Settings {
    /// PyTorch's β and ε, and one rate for all groups.
    pub fn uniform(kind: Kind, rate: Rate) -> Self {
        Self { kind, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, backbone: rate, embedding: rate, masks: rate, loss: rate }
    }

    fn rate(&self, group: Group) -> Rate {
        match group {
            Group::Backbone => self.backbone,
            Group::Embedding => self.embedding,
            Group::Masks => self.masks,
            Group::Loss => self.loss,
        }
    }
}

/// Settings, and the moments of every parameter that has been stepped.
#[derive(Clone, Debug)]
pub struct Optimiser {
    /// They may change between steps, as a schedule wants.
    pub settings: Settings,
    moments: BTreeMap<String, State>,
}

impl Optimiser {
    /// An optimiser that has not stepped yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, moments: BTreeMap::new() }
    }

    /// One step: every trained parameter that has a gradient moves in place, many at a time. One without, as a frozen backbone,
    /// keeps its value and its moments, and its count of steps does not advance, as in PyTorch. The masks are one tensor: in a
    /// learner's step the rows of the others have the gradient of the penalty, or zero without one, and move on with their moments.
    ///
    /// # Errors
    /// If a gradient is not on its parameter's device.
    pub fn step(&mut self, parameters: &Parameters, gradients: &GradStore) -> Result<()> {
        let Self { settings, moments } = self;
        let mut moving = BTreeMap::new();
        for (name, parameter) in parameters.trained() {
            let Some(gradient) = gradients.get(parameter) else { continue };
            if !moments.contains_key(name) {
                moments.insert(name.to_owned(), State::new(parameter)?);
            }
            moving.insert(name, (parameter, gradient));
        }
        let mut work = Vec::with_capacity(moving.len());
        for (name, state) in moments {
            let Some((parameter, gradient)) = moving.remove(name.as_str()) else { continue };
            state.steps += 1;
            let rate = settings.rate(Group::of(name));
            let step = AdamStep {
                lr: rate.lr,
                beta1: settings.beta1,
                beta2: settings.beta2,
                eps: settings.epsilon,
                weight_decay: rate.weight_decay,
                decoupled: settings.kind == Kind::AdamW,
                step: state.steps,
            };
            work.push((parameter, gradient, &mut state.moments, step));
        }
        work.into_par_iter()
            .try_for_each(|(parameter, gradient, moments, step)| update::apply(parameter, gradient, moments, step))
    }
}
