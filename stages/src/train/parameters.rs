//! Parameters of `train`, as a manifest writes them.

use dnc_learn::error::LearnError;
use dnc_learn::losses::LossConfig;
use dnc_learn::miners::MinerConfig;
use dnc_learn::samplers::SamplerConfig;
use dnc_learn::schedules::ScheduleConfig;
use dnc_learn::subspaces::SubspaceConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::optimiser::OptimiserConfig;
use crate::api::ParamError;
use crate::precision::Precision;

/// Trains the learners of a round, or one of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Train {
    /// Number of epochs. One epoch has as many batches as fill all training images; the learners share them.
    pub epochs: u32,
    /// Loss function.
    pub loss: LossConfig,
    /// Miner, which selects the pairs or triplets of a batch that the loss is computed on. Without it, the miner that is
    /// usual for the loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miner: Option<MinerConfig>,
    /// Batch sampler.
    pub sampler: SamplerConfig,
    /// How the embedding is divided into one subspace per learner.
    pub subspaces: SubspaceConfig,
    /// Optimiser.
    pub optimiser: OptimiserConfig,
    /// Learning rate schedule, over the epochs of all rounds.
    pub schedule: ScheduleConfig,
    /// Number of epochs at the start of each round during which the backbone stays frozen.
    pub freeze_backbone: u32,
    /// Whether to freeze the scale and shift of batch-norm layers. Their running statistics are always frozen.
    pub freeze_affine: bool,
    /// Precision of the network. A CPU has "f32" only.
    #[serde(skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            epochs: 2,
            loss: LossConfig::default(),
            miner: None,
            sampler: SamplerConfig::default(),
            subspaces: SubspaceConfig::default(),
            optimiser: OptimiserConfig::default(),
            schedule: ScheduleConfig::default(),
            freeze_backbone: 0,
            freeze_affine: false,
            precision: Precision::F32,
        }
    }
}

impl Train {
    /// Checks values that their types allow but training does not.
    pub(super) fn check_values(&self) -> Result<(), ParamError> {
        if self.epochs == 0 {
            return Err(ParamError::new("epochs", "`epochs` must be at least 1"));
        }
        let loss = self.loss.as_loss();
        if self.miner.is_some() && !loss.uses_miner() {
            return Err(ParamError::new("miner", "This loss uses every image of a batch and takes no miner")
                .hint("remove `miner`, or choose another loss"));
        }
        if self.freeze_backbone > self.epochs {
            let message = format!(
                "`freeze_backbone` must not exceed `epochs`, but it is {} and `epochs` is {}",
                self.freeze_backbone, self.epochs
            );
            return Err(ParamError::new("freeze_backbone", message));
        }
        loss.check().map_err(|error| param_error("loss", &error))?;
        if let Some(miner) = &self.miner {
            miner.as_miner().check().map_err(|error| param_error("miner", &error))?;
        }
        self.subspaces.as_subspaces().check().map_err(|error| param_error("subspaces", &error))?;
        self.sampler.as_sampler().check().map_err(|error| param_error("sampler", &error))?;
        self.schedule.check().map_err(|error| param_error("schedule", &error))?;
        self.optimiser.check()
    }
}

/// An error of `dnc_learn` about a parameter, whose key is below `table`.
fn param_error(table: &str, error: &LearnError) -> ParamError {
    match error {
        LearnError::Config { parameter, .. } => ParamError::new(format!("{table}.{parameter}"), error.to_string()),
        LearnError::Within { table: inner, error } => param_error(&format!("{table}.{inner}"), error),
        other => ParamError::new(table, other.to_string()),
    }
}
