//! `dnc-run stages [STAGE]`: lists the stages, or describes one.

use clap::{Args, ValueEnum};
use dnc_stages::registry::{self, STAGES};

use super::failure::Failure;
use super::output::write;
use crate::manifest::{describe, suggest};

/// Arguments of `dnc-run stages`.
#[derive(Args)]
pub struct StagesArgs {
    /// Stage to describe: its inputs, outputs and parameters
    stage: Option<String>,
    /// Output format of the description
    #[arg(long, default_value = "text")]
    format: Format,
}

/// Values of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A page of text
    Text,
    /// The JSON Schema of the parameters
    Json,
}

impl StagesArgs {
    /// Prints one line per stage, or the reference page of one stage.
    pub(super) fn run(self) -> Result<(), Failure> {
        let Some(name) = &self.stage else {
            for stage in STAGES {
                print_line!("{:10} {}", stage.name, stage.summary);
            }
            eprintln!("`dnc-run stages STAGE` shows the inputs, outputs and parameters of a stage");
            return Ok(());
        };
        let stage = registry::find(name).ok_or_else(|| {
            let hint = suggest::did_you_mean(name, STAGES.iter().map(|stage| stage.name));
            let hint = hint.unwrap_or_else(|| "`dnc-run stages` lists all stages.".to_owned());
            Failure::Call(format!("Unknown stage `{name}`. {hint}"))
        })?;
        match self.format {
            Format::Text => write(format_args!("{}", describe::describe(stage)))?,
            Format::Json => print_line!("{}", serde_json::to_string_pretty(&describe::schema_of(stage))?),
        }
        Ok(())
    }
}
