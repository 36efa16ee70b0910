//! `dnc-run schema`: prints the JSON Schema of manifests or sweeps.

use clap::Args;

use super::failure::Failure;
use crate::manifest::schema;
use crate::sweep;

/// Arguments of `dnc-run schema`.
#[derive(Args)]
pub struct SchemaArgs {
    /// Print the schema of sweeps instead of manifests
    #[arg(long)]
    sweep: bool,
}

impl SchemaArgs {
    /// Prints the schema.
    pub(super) fn run(self) -> Result<(), Failure> {
        let schema = if self.sweep { sweep::schema::schema() } else { schema::schema() };
        print_line!("{}", serde_json::to_string_pretty(&schema)?);
        Ok(())
    }
}
