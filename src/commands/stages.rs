//! `dnc-run stages`: what a manifest can be made of.

use clap::{Args, ValueEnum};
use dnc_stages::stage::{STAGES, StageKind};

use super::{Failure, write_out};
use crate::manifest::{describe, suggest};

/// Arguments of `stages`.
#[derive(Args)]
pub struct StagesArgs {
    /// Shows what this stage reads and writes, and its parameters
    stage: Option<String>,
    /// The form of the parameters
    #[arg(long, default_value = "text")]
    format: Format,
}

/// What `--format` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, as a manifest has them.
    Text,
    /// JSON Schema.
    Json,
}

impl StagesArgs {
    /// Prints a line a stage, or one stage's parameters.
    pub(super) fn run(self) -> Result<(), Failure> {
        let Some(name) = &self.stage else {
            for stage in STAGES {
                say!("{:10} {}", stage.name, stage.summary);
            }
            return Ok(());
        };
        let stage = StageKind::find(name).ok_or_else(|| {
            let hint = suggest::did_you_mean(name, STAGES.iter().map(|stage| stage.name)).unwrap_or_default();
            Failure::Call(format!("There is no stage `{name}`. {hint}"))
        })?;
        match self.format {
            Format::Text => write_out(format_args!("{}", describe::describe(stage)))?,
            Format::Json => say!("{}", serde_json::to_string_pretty(&describe::schema_of(stage))?),
        }
        Ok(())
    }
}
