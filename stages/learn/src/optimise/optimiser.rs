//! The optimiser: one step over all parameters that have a gradient.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use dnc_kernels::{AdamStep, AdamWork, fused_adam};
use rayon::prelude::*;

use super::settings::{Algorithm, Settings};
use super::update;
use crate::error::Result;
use crate::parameters::{Group, Parameters};

/// Adam's state for one parameter.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    /// Running means of the gradients and of their squares, `[2, n]`.
    pub(super) values: Tensor,
    /// Number of steps taken.
    pub(super) steps: u64,
}

impl Moments {
    fn zeros(parameter: &Var) -> Result<Self> {
        let values = Tensor::zeros((2, parameter.elem_count()), DType::F32, parameter.device())?;
        Ok(Self { values, steps: 0 })
    }
}

/// Adam or AdamW with its state: the moments of every parameter that has taken a step.
#[derive(Clone, Debug)]
pub struct Optimiser {
    /// The settings; a schedule may change them between steps.
    pub settings: Settings,
    pub(super) moments: BTreeMap<String, Moments>,
}

impl Optimiser {
    /// An optimiser that has not taken a step yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, moments: BTreeMap::new() }
    }

    /// Takes one step: updates every trained parameter that has a gradient in place, several in parallel. A parameter without
    /// a gradient, such as one of a frozen backbone, keeps its value, its moments and its step count, as in PyTorch. The masks
    /// are one tensor: in the step of one learner, the rows of the other learners have the gradient of the orthogonality
    /// penalty, or zero without one, and are updated from their moments.
    ///
    /// # Errors
    /// If a gradient is not on the device of its parameter.
    pub fn step(&mut self, parameters: &Parameters, gradients: &GradStore) -> Result<()> {
        let Self { settings, moments } = self;
        let mut moving = BTreeMap::new();
        for (name, parameter) in parameters.trained() {
            let Some(gradient) = gradients.get(parameter) else { continue };
            if !moments.contains_key(name) {
                moments.insert(name.to_owned(), Moments::zeros(parameter)?);
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
                decoupled: settings.algorithm == Algorithm::AdamW,
                step: state.steps,
            };
            work.push((parameter, gradient, &mut state.values, step));
        }
        let at_once: Vec<AdamWork> = work
            .iter()
            .map(|(parameter, gradient, moments, step)| {
                let parameter: &Tensor = parameter;
                AdamWork { parameter, gradient, moments, step: *step }
            })
            .collect();
        if fused_adam(&at_once)? {
            return Ok(());
        }
        // Only the CPU's kernels may be called from several threads at once: on a GPU the order of launches must be that of one
        // thread.
        let apply = |(parameter, gradient, moments, step)| update::apply(parameter, gradient, moments, step);
        match parameters.device() {
            Device::Cpu => work.into_par_iter().try_for_each(apply),
            _ => work.into_iter().try_for_each(apply),
        }
    }
}
