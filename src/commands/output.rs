//! Standard output, and files that a command writes.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::failure::Failure;

/// Prints a line to standard output, like `println!`, but returns from the function with an error if that fails, as on a full
/// disk, where `println!` panics.
macro_rules! print_line {
    ($($arguments:tt)*) => {
        $crate::commands::output::write(format_args!("{}\n", format_args!($($arguments)*)))?
    };
}

/// Writes to standard output.
pub(super) fn write(text: fmt::Arguments<'_>) -> anyhow::Result<()> {
    io::stdout().write_fmt(text).context("Cannot write to standard output")
}

/// Refuses to replace a file that a command of this program reads, such as the manifest, by one that it writes. An older output, which
/// has one of these `extensions`, may be replaced.
pub(super) fn check_replaceable(path: &Path, extensions: &[&str]) -> Result<(), Failure> {
    let has_extension = |extension: &&str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension));
    if !fs::exists(path).unwrap_or(false) || extensions.iter().any(has_extension) {
        return Ok(());
    }
    let extensions = extensions.iter().map(|extension| format!("`.{extension}`")).collect::<Vec<_>>().join(" or ");
    Err(Failure::Call(format!(
        "`{}` exists, and its name does not end in {extensions}; it is not replaced. Choose another name",
        path.display()
    )))
}

/// Writes a value as JSON to standard output, for `--json`.
pub(super) fn write_json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("Cannot write JSON")?;
    write(format_args!("{text}\n"))
}
