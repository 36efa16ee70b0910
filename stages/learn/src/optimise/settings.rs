//! Settings of an optimiser: the algorithm, and a learning rate and weight decay for each parameter group.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parameters::Group;

/// Optimisation algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Adam (Kingma and Ba, arXiv 1412.6980): weight decay is added to the gradient, as in `torch.optim.Adam`.
    #[default]
    Adam,
    /// AdamW (Loshchilov and Hutter, arXiv 1711.05101): weight decay shrinks the parameter directly, as in
    /// `torch.optim.AdamW`.
    AdamW,
}

/// Learning rate and weight decay of a parameter group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

/// Settings of an optimiser.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Adam or AdamW.
    pub algorithm: Algorithm,
    /// β₁, the decay rate of the running mean of the gradients.
    pub beta1: f64,
    /// β₂, the decay rate of the running mean of the squared gradients.
    pub beta2: f64,
    /// ε, added to the denominator for numerical stability.
    pub epsilon: f64,
    /// Learning rate and weight decay of the backbone.
    pub backbone: Rate,
    /// Learning rate and weight decay of the embedding layer.
    pub embedding: Rate,
    /// Learning rate and weight decay of the masks.
    pub masks: Rate,
    /// Learning rate and weight decay of the loss function's own parameters.
    pub loss: Rate,
}

impl Settings {
    /// PyTorch's default β and ε, and one rate for all groups.
    pub fn uniform(algorithm: Algorithm, rate: Rate) -> Self {
        let (backbone, embedding, masks, loss) = (rate, rate, rate, rate);
        Self { algorithm, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, backbone, embedding, masks, loss }
    }

    /// The same settings with every learning rate multiplied by `factor`, as a schedule asks for.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let rate = |rate: Rate| Rate { lr: rate.lr * factor, ..rate };
        Self {
            backbone: rate(self.backbone),
            embedding: rate(self.embedding),
            masks: rate(self.masks),
            loss: rate(self.loss),
            ..self.clone()
        }
    }

    /// The rate of a parameter group.
    pub(super) fn rate(&self, group: Group) -> Rate {
        match group {
            Group::Backbone => self.backbone,
            Group::Embedding => self.embedding,
            Group::Masks => self.masks,
            Group::Loss => self.loss,
        }
    }
}
