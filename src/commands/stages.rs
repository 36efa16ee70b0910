//! `dnc-run stages [STAGE]`: lists the stages, or describes one.

use clap::{Args, ValueEnum};
use dnc_stages::api::StageKind;
use dnc_stages::registry::{self, STAGES};
use serde::Serialize;

use super::failure::Failure;
use super::output::{write, write_json};
use crate::manifest::{describe, suggest};

/// Arguments of `dnc-run stages`.
#[derive(Args)]
pub struct StagesArgs {
    /// Stage to describe: its inputs, outputs and parameters
    stage: Option<String>,
    /// Output format of the description
    #[arg(long, default_value = "text")]
    format: Format,
    /// Print JSON: the list of stages, or the JSON Schema of the parameters of STAGE
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// What `stages --json` prints.
#[derive(Serialize)]
struct StagesJson {
    /// The stages in the order in which a pipeline uses them.
    stages: Vec<StageJson>,
}

/// A kind of stage.
#[derive(Serialize)]
struct StageJson {
    /// The name in manifests.
    name: &'static str,
    /// Version of what it writes.
    version: u32,
    /// What it does.
    summary: &'static str,
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
            if self.json {
                let stages =
                    STAGES.iter().map(|&StageKind { name, version, summary, .. }| StageJson { name, version, summary });
                return Ok(write_json(&StagesJson { stages: stages.collect() })?);
            }
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
            _ if self.json => write_json(&describe::schema_of(stage))?,
            Format::Text => write(format_args!("{}", describe::describe(stage)))?,
            Format::Json => write_json(&describe::schema_of(stage))?,
        }
        Ok(())
    }
}
