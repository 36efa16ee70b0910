//! `dnc-run schema`: the JSON Schema of manifests.

use clap::Args;

use super::Failure;
use crate::manifest::schema;

/// Arguments of `schema`.
#[derive(Args)]
pub struct SchemaArgs {}

impl SchemaArgs {
    /// Prints the schema.
    pub(super) fn run(self) -> Result<(), Failure> {
        say!("{}", serde_json::to_string_pretty(&schema::schema())?);
        Ok(())
    }
}
