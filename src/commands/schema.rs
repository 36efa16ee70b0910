//! `dnc-run schema`: prints the JSON Schema of manifests.

use clap::Args;

use super::failure::Failure;
use crate::manifest::schema;

/// Arguments of `dnc-run schema`.
#[derive(Args)]
pub struct SchemaArgs {}

impl SchemaArgs {
    /// Prints the schema.
    pub(super) fn run(self) -> Result<(), Failure> {
        print_line!("{}", serde_json::to_string_pretty(&schema::schema())?);
        Ok(())
    }
}
