//! `dnc-run man DIR`: writes a manual page for each command, for packages.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::failure::Failure;

/// Arguments of `dnc-run man`.
#[derive(Args)]
pub struct ManArgs {
    /// Folder to write
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl ManArgs {
    /// Writes the pages of `command` and of those below it.
    pub(super) fn run(self, command: clap::Command) -> Result<(), Failure> {
        let failed = || format!("Cannot write the manual pages to `{}`", self.folder.display());
        fs::create_dir_all(&self.folder).with_context(failed)?;
        clap_mangen::generate_to(command, &self.folder).with_context(failed)?;
        Ok(())
    }
}
