//! Stages behind trait objects: what the engine handles without knowing their types.

use dnc_tables::Split;
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use super::ambient::Ambient;
use super::context::Context;
use super::error::StageError;
use super::measures::{Measure, WantedMetric};
use super::params::{self, ParamError};
use super::ports::Ports;
use super::resources::Resources;
use super::source::Source;
use super::stage::{Stage, Usage};

/// A stage with its parameters, behind a trait object.
pub trait Job: Send + Sync {
    /// See [`Stage::ports`].
    fn ports(&self) -> Ports;
    /// See [`Stage::ambient`].
    fn ambient(&self) -> Ambient;
    /// See [`Stage::check_use`].
    ///
    /// # Errors
    /// Names the first parameter that is invalid there.
    fn check_use(&self, usage: &Usage<'_>) -> Result<(), ParamError>;
    /// See [`Stage::sources`].
    fn sources(&self) -> Vec<Source>;
    /// See [`Stage::resources`].
    fn resources(&self) -> Resources;
    /// See [`Stage::embedding_dimension`].
    fn embedding_dimension(&self) -> Option<usize>;
    /// See [`Stage::measures`].
    fn measures(&self, split: Split) -> Option<Vec<Measure>>;
    /// See [`Stage::wanted_metric`].
    fn wanted_metric(&self) -> Option<WantedMetric>;
    /// See [`Stage::may_assign`].
    fn may_assign(&self, split: Split) -> bool;
    /// Every parameter with its value, defaults included.
    fn params(&self) -> Value;
    /// See [`Stage::run`].
    ///
    /// # Errors
    /// Whatever prevents it from writing every output completely.
    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError>;
}

impl<S: Stage> Job for S {
    fn ports(&self) -> Ports {
        Stage::ports(self)
    }

    fn ambient(&self) -> Ambient {
        Stage::ambient(self)
    }

    fn check_use(&self, usage: &Usage<'_>) -> Result<(), ParamError> {
        Stage::check_use(self, usage)
    }

    fn sources(&self) -> Vec<Source> {
        Stage::sources(self)
    }

    fn resources(&self) -> Resources {
        Stage::resources(self)
    }

    fn embedding_dimension(&self) -> Option<usize> {
        Stage::embedding_dimension(self)
    }

    fn measures(&self, split: Split) -> Option<Vec<Measure>> {
        Stage::measures(self, split)
    }

    fn wanted_metric(&self) -> Option<WantedMetric> {
        Stage::wanted_metric(self)
    }

    fn may_assign(&self, split: Split) -> bool {
        Stage::may_assign(self, split)
    }

    fn params(&self) -> Value {
        params::written(self)
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        Stage::run(self, context)
    }
}

/// A kind of stage: an entry of the registry, without parameters.
#[derive(Clone, Copy)]
pub struct StageKind {
    /// The name in manifests.
    pub name: &'static str,
    /// See [`Stage::VERSION`].
    pub version: u32,
    /// One line for `dnc-run stages`.
    pub summary: &'static str,
    /// See [`Stage::NOT_IN_KEY`].
    pub not_in_key: &'static [&'static str],
    parse: fn(Value) -> Result<Box<dyn Job>, ParamError>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl StageKind {
    /// The kind of the stage `S`.
    pub const fn of<S: Stage>() -> Self {
        Self {
            name: S::NAME,
            version: S::VERSION,
            summary: S::SUMMARY,
            not_in_key: S::NOT_IN_KEY,
            parse: parse::<S>,
            schema: SchemaGenerator::subschema_for::<S>,
        }
    }

    /// Reads and checks parameters: unknown keys, wrong types and invalid values are refused.
    ///
    /// # Errors
    /// Names the parameter.
    pub fn parse(&self, params: Value) -> Result<Box<dyn Job>, ParamError> {
        (self.parse)(params)
    }

    /// The JSON Schema of the parameters.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }
}

fn parse<S: Stage>(params: Value) -> Result<Box<dyn Job>, ParamError> {
    let stage: S = params::read(params)?;
    stage.check()?;
    Ok(Box::new(stage))
}
