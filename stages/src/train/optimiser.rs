//! The optimiser as a manifest writes it: one rate and decay, and what differs for a group of parameters.

use dnc_learn::optimise::{Kind, Rate, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::ParamError;

/// How many times faster than the backbone masks and what a loss learns move where nothing is said; DC21's for masks.
const FAST: f64 = 100.0;

/// An optimiser, as in `{ lr = 1e-5, weight_decay = 1e-4, masks = { lr = 1e-3 } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimiserConfig {
    /// Adam or AdamW.
    pub kind: Kind,
    /// Learning rate of the backbone.
    pub lr: f64,
    /// Weight decay of the backbone.
    pub weight_decay: f64,
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// ε under the fraction.
    pub epsilon: f64,
    /// The embedding layer; what is not given is as for the backbone.
    pub embedding: GroupRate,
    /// The masks; what is not given is 100 × the backbone's rate, and no decay.
    pub masks: GroupRate,
    /// What the loss learns, such as β or proxies; what is not given is 100 × the backbone's rate, and no decay.
    pub loss: GroupRate,
}

/// Rate and decay of a group of parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GroupRate {
    /// Learning rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Weight decay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

impl Default for OptimiserConfig {
    fn default() -> Self {
        Self {
            kind: Kind::Adam,
            lr: 1e-5,
            weight_decay: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            embedding: GroupRate::default(),
            masks: GroupRate::default(),
            loss: GroupRate::default(),
        }
    }
}

impl OptimiserConfig {
    /// The settings that these parameters mean.
    pub(super) fn settings(&self) -> Settings {
        let backbone = Rate { lr: self.lr, weight_decay: self.weight_decay };
        let fast = Rate { lr: FAST * self.lr, weight_decay: 0.0 };
        Settings {
            kind: self.kind,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            backbone,
            embedding: self.embedding.or(backbone),
            masks: self.masks.or(fast),
            loss: self.loss.or(fast),
        }
    }

    /// Refuses numbers that cannot be meant.
    pub(super) fn check(&self) -> Result<(), ParamError> {
        let groups = [("embedding", self.embedding), ("masks", self.masks), ("loss", self.loss)];
        let of_groups = groups.iter().flat_map(|(name, group)| {
            [("lr", group.lr), ("weight_decay", group.weight_decay)]
                .map(|(key, value)| (format!("{name}.{key}"), value.unwrap_or(0.0)))
        });
        let own = [("lr", self.lr), ("weight_decay", self.weight_decay), ("epsilon", self.epsilon)];
        let own = own.map(|(key, value)| (key.to_owned(), value));
        for (key, value) in own.into_iter().chain(of_groups) {
            if !(value.is_finite() && value >= 0.0) {
                return Err(ParamError::new(
                    format!("optimiser.{key}"),
                    format!("{value} is no rate: it must be 0 or more"),
                ));
            }
        }
        for (key, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                let message = format!("{value} is no decay: it must be at least 0 and below 1");
                return Err(ParamError::new(format!("optimiser.{key}"), message));
            }
        }
        Ok(())
    }
}

impl GroupRate {
    fn or(self, other: Rate) -> Rate {
        Rate { lr: self.lr.unwrap_or(other.lr), weight_decay: self.weight_decay.unwrap_or(other.weight_decay) }
    }
}
