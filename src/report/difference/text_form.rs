//! Forms of a table as text.

use std::io::{self, Write};

use super::comparison::{Basis, Comparison};
use crate::report::table::text_table;

/// Form of a table as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextForm {
    /// Aligned columns for a terminal.
    Terminal,
    /// Markdown, with differences in bold if their 95 % interval excludes 0.
    Markdown,
}

impl TextForm {
    /// Writes a table.
    pub(super) fn write(self, headings: &[String], rows: Vec<Vec<String>>, mut out: impl Write) -> io::Result<()> {
        match self {
            Self::Terminal => {
                let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
                writeln!(out, "{}", text_table(&headings, rows))
            }
            Self::Markdown => {
                writeln!(out, "| {} |\n|{}", headings.join(" | "), "---|".repeat(headings.len()))?;
                rows.iter().try_for_each(|row| writeln!(out, "| {} |", row.join(" | ")))
            }
        }
    }

    /// The text of a difference, in bold if its interval excludes 0.
    pub(super) fn emphasised(self, text: String, comparison: Option<&Comparison>) -> String {
        let bold = self == Self::Markdown && comparison.is_some_and(Comparison::excludes_zero);
        if bold { format!("**{text}**") } else { text }
    }
}

/// `+0.0055 … +0.0172`.
pub(super) fn signed_interval((low, high): (f64, f64)) -> String {
    format!("{low:+.4} … {high:+.4}")
}

/// The verdict with what it is about: `better, paired over seeds` is about settings, `better model, over queries` about the models
/// of two runs.
pub(super) fn verdict(comparison: &Comparison) -> String {
    let basis = match comparison.basis {
        Basis::Seeds => "over seeds",
        Basis::PairedSeeds => "paired over seeds",
        Basis::Queries if comparison.excludes_zero() => {
            return format!("{} model, over queries", comparison.verdict.name());
        }
        Basis::Queries => "over queries",
    };
    format!("{}, {basis}", comparison.verdict.name())
}
