//! `dnc-run graph MANIFEST`: draws the DAG as DOT, Mermaid or SVG.

use clap::{Args, ValueEnum};

use super::failure::Failure;
use super::manifest_args::ManifestArgs;
use super::output::write;
use crate::graph::{dot, mermaid, svg};

/// Arguments of `dnc-run graph`.
#[derive(Args)]
pub struct GraphArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Output format
    #[arg(long, default_value = "dot")]
    format: Format,
}

/// Values of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Graphviz DOT
    Dot,
    /// Mermaid, which GitHub renders inside Markdown
    Mermaid,
    /// SVG image
    Svg,
}

impl GraphArgs {
    /// Prints the drawing.
    pub(super) fn run(self) -> Result<(), Failure> {
        let plan = self.manifest.session()?.plan()?;
        let drawing = match self.format {
            Format::Dot => dot::draw(&plan),
            Format::Mermaid => mermaid::draw(&plan),
            Format::Svg => svg::draw(&plan),
        };
        Ok(write(format_args!("{drawing}"))?)
    }
}
