//! Parameters of the optimiser, as a manifest writes them: learning rate and weight decay, which groups of parameters may
//! override.

use dnc_learn::optimise::{Algorithm, Rate, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::ParamError;

/// Default learning rate of the masks and of the loss's parameters, as a multiple of the backbone's. DC21's value for masks.
const DEFAULT_RATE_FACTOR: f64 = 100.0;

/// Optimiser, as in `{ lr = 1e-5, weight_decay = 1e-4, masks = { lr = 1e-3 } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimiserConfig {
    /// Algorithm.
    pub kind: Algorithm,
    /// Learning rate of the backbone.
    pub lr: f64,
    /// Weight decay of the backbone.
    pub weight_decay: f64,
    /// β₁: decay rate of the running mean of the gradients.
    pub beta1: f64,
    /// β₂: decay rate of the running mean of the squared gradients.
    pub beta2: f64,
    /// ε: constant added to the denominator for numerical stability.
    pub epsilon: f64,
    /// Learning rate and weight decay of the embedding layer. A value that is not given is the backbone's.
    pub embedding: GroupRate,
    /// Learning rate and weight decay of the learners' masks. Without them: 100 × the backbone's learning rate, and no decay.
    pub masks: GroupRate,
    /// Learning rate and weight decay of the loss's learned parameters, such as β or proxies. Without them: 100 × the
    /// backbone's learning rate, and no decay.
    pub loss: GroupRate,
}

/// Learning rate and weight decay of a group of parameters.
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
            kind: Algorithm::Adam,
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
    /// The optimiser settings, with defaults filled in for every group.
    pub(super) fn settings(&self) -> Settings {
        let backbone = Rate { lr: self.lr, weight_decay: self.weight_decay };
        let fast = Rate { lr: DEFAULT_RATE_FACTOR * self.lr, weight_decay: 0.0 };
        Settings {
            algorithm: self.kind,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            backbone,
            embedding: self.embedding.or(backbone),
            masks: self.masks.or(fast),
            loss: self.loss.or(fast),
        }
    }

    /// Refuses values outside their ranges.
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
                let message = format!("`{key}` must be 0 or more, but is {value}");
                return Err(ParamError::new(format!("optimiser.{key}"), message));
            }
        }
        for (key, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                let message = format!("`{key}` must be at least 0 and below 1, but is {value}");
                return Err(ParamError::new(format!("optimiser.{key}"), message));
            }
        }
        Ok(())
    }
}

impl GroupRate {
    /// These values, with `default` for those that are not given.
    fn or(self, default: Rate) -> Rate {
        Rate { lr: self.lr.unwrap_or(default.lr), weight_decay: self.weight_decay.unwrap_or(default.weight_decay) }
    }
}
