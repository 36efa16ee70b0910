//! Standard output.

use std::fmt;
use std::io::{self, Write as _};

use anyhow::Context as _;
use serde::Serialize;

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

/// Writes a value as JSON to standard output, for `--json`.
pub(super) fn write_json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("Cannot write JSON")?;
    write(format_args!("{text}\n"))
}
