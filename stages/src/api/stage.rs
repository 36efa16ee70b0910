//! The trait that every stage implements.

use dnc_tables::Split;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ambient::Ambient;
use super::context::Context;
use super::error::StageError;
use super::measures::{Measure, WantedMetric};
use super::params::ParamError;
use super::ports::Ports;
use super::resources::Resources;
use super::source::Source;

/// A kind of work. The fields of the type are its parameters, as the manifest writes them.
pub trait Stage: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The name in manifests.
    const NAME: &'static str;
    /// The version. Raise it whenever the bytes that the stage writes change for the same inputs and parameters.
    const VERSION: u32;
    /// One line for `dnc-run stages`.
    const SUMMARY: &'static str;
    /// Parameters that decide whether the stage succeeds but not what it writes; they are not part of the key.
    const NOT_IN_KEY: &'static [&'static str] = &[];

    /// Its inputs and outputs.
    fn ports(&self) -> Ports;

    /// The values besides parameters and inputs that the stage reads and that are part of its key.
    fn ambient(&self) -> Ambient {
        Ambient::default()
    }

    /// Checks the values of parameters as far as their types do not.
    ///
    /// # Errors
    /// Names the first invalid parameter.
    fn check(&self) -> Result<(), ParamError> {
        Ok(())
    }

    /// Checks the values of parameters against the use of the stage in a manifest.
    ///
    /// # Errors
    /// Names the first parameter that is invalid there.
    fn check_use(&self, _usage: &Usage<'_>) -> Result<(), ParamError> {
        Ok(())
    }

    /// Files and folders outside the store that the stage reads. The key contains their digests instead of their paths.
    fn sources(&self) -> Vec<Source> {
        Vec::new()
    }

    /// The resources that it needs.
    fn resources(&self) -> Resources {
        Resources::default()
    }

    /// The embedding dimension of the model that this stage creates, if it creates one.
    fn embedding_dimension(&self) -> Option<usize> {
        None
    }

    /// The metrics of `split` that it may write to its output `metrics`; `None` if the parameters do not determine them.
    fn measures(&self, _split: Split) -> Option<Vec<Measure>> {
        None
    }

    /// The metric that the tables on its ports of metrics must have.
    fn wanted_metric(&self) -> Option<WantedMetric> {
        None
    }

    /// Whether the parameters allow images that it writes to be in `split`.
    fn may_assign(&self, _split: Split) -> bool {
        true
    }

    /// Does the work: reads inputs, writes outputs, reports progress, and stops when cancelled.
    ///
    /// # Errors
    /// Whatever prevents it from writing every output completely.
    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError>;
}

/// The use of a stage in a manifest.
#[derive(Clone, Copy, Debug)]
pub struct Usage<'m> {
    /// The names of the ports that the manifest connects.
    pub inputs: &'m [&'m str],
    /// The ambient values that exist: a stage that runs once has no round.
    pub available: Ambient,
}
