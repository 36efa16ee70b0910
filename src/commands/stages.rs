//! `dnc-run stages`: what a manifest can be made of.

use clap::Args;
use dnc_stages::stage::{STAGES, StageKind};
use schemars::SchemaGenerator;

use super::Failure;
use crate::manifest::suggest;

/// Arguments of `stages`.
#[derive(Args)]
pub struct StagesArgs {
    /// Shows the parameters of this stage as JSON Schema
    stage: Option<String>,
}

impl StagesArgs {
    /// Prints a line a stage, or one stage's parameters.
    pub(super) fn run(self) -> Result<(), Failure> {
        let Some(name) = &self.stage else {
            for stage in STAGES {
                println!("{:10} {}", stage.name, stage.summary);
            }
            return Ok(());
        };
        let stage = StageKind::find(name).ok_or_else(|| {
            let hint = suggest::did_you_mean(name, STAGES.iter().map(|stage| stage.name)).unwrap_or_default();
            Failure::Call(format!("There is no stage `{name}`. {hint}"))
        })?;
        let mut generator = SchemaGenerator::default();
        let schema = stage.schema(&mut generator);
        let definitions = generator.take_definitions(true);
        let mut value = generator_root(schema, definitions);
        value.insert("title".to_owned(), stage.name.into());
        value.insert("description".to_owned(), stage.summary.into());
        println!("{}", serde_json::to_string_pretty(&value)?);
        Ok(())
    }
}

/// The schema with its definitions beside it, the reference to itself resolved.
fn generator_root(
    schema: schemars::Schema,
    mut definitions: serde_json::Map<String, serde_json::Value>,
) -> serde_json::Map<String, serde_json::Value> {
    let name = schema.get("$ref").and_then(|target| target.as_str()?.rsplit('/').next().map(str::to_owned));
    let own = name.and_then(|name| definitions.remove(&name));
    let mut root = match own.unwrap_or_else(|| schema.to_value()) {
        serde_json::Value::Object(root) => root,
        _ => serde_json::Map::new(),
    };
    if !definitions.is_empty() {
        root.insert("$defs".to_owned(), definitions.into());
    }
    root
}
