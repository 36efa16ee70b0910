//! `dnc-run graph MANIFEST`: the DAG as dot, mermaid or svg.

use clap::{Args, ValueEnum};

use super::manifest_args::ManifestArgs;
use super::{Failure, write_out};
use crate::graph::{dot, mermaid, svg};

/// Arguments of `graph`.
#[derive(Args)]
pub struct GraphArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// The language of the drawing
    #[arg(long, default_value = "dot")]
    format: Format,
}

/// What `--format` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Graphviz.
    Dot,
    /// Mermaid, which Markdown renderers draw.
    Mermaid,
    /// A picture.
    Svg,
}

impl GraphArgs {
    /// Prints the drawing.
    pub(super) fn run(self) -> Result<(), Failure> {
        let plan = self.manifest.choose()?.plan()?;
        let drawing = match self.format {
            Format::Dot => dot::draw(&plan),
            Format::Mermaid => mermaid::draw(&plan),
            Format::Svg => svg::draw(&plan),
        };
        Ok(write_out(format_args!("{drawing}"))?)
    }
}
