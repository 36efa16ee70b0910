//! `dnc-run graph MANIFEST`: draws the DAG as DOT, Mermaid or SVG.

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::failure::Failure;
use super::manifest_args::ManifestArgs;
use super::output::{write, write_json};
use crate::graph::{dot, mermaid, svg};
use crate::plan::Plan;

/// Arguments of `dnc-run graph`.
#[derive(Args)]
pub struct GraphArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Output format
    #[arg(long, default_value = "dot")]
    format: Format,
    /// Print nodes and edges as JSON instead of a drawing
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// What `graph --json` prints.
#[derive(Serialize)]
struct GraphJson {
    /// The nodes in topological order.
    nodes: Vec<GraphNodeJson>,
    /// What flows between them.
    edges: Vec<EdgeJson>,
}

/// A node.
#[derive(Serialize)]
struct GraphNodeJson {
    /// Name of the node.
    node: String,
    /// Kind of its stage.
    stage: &'static str,
    /// Its round, if the stage runs in rounds.
    round: Option<u32>,
    /// Its learner, if the stage runs once per learner.
    learner: Option<u32>,
}

/// An artifact that flows from an output into an input.
#[derive(Serialize)]
struct EdgeJson {
    /// The node that produces it.
    from: String,
    /// The output.
    output: String,
    /// The node that reads it.
    to: String,
    /// The input.
    input: String,
}

impl GraphJson {
    fn new(plan: &Plan) -> Self {
        let nodes = plan.nodes.iter().map(|node| GraphNodeJson {
            node: node.name.clone(),
            stage: plan.stage(node).kind.name,
            round: node.round,
            learner: node.learner,
        });
        let edges = plan.nodes.iter().flat_map(|node| {
            let feeds = node.inputs.iter().flat_map(|wire| wire.feeds.iter().map(move |feed| (wire, feed)));
            feeds.map(move |(wire, feed)| EdgeJson {
                from: plan.nodes[feed.node].name.clone(),
                output: feed.output.clone(),
                to: node.name.clone(),
                input: wire.port.clone(),
            })
        });
        Self { nodes: nodes.collect(), edges: edges.collect() }
    }
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
        if self.json {
            return Ok(write_json(&GraphJson::new(&plan))?);
        }
        let drawing = match self.format {
            Format::Dot => dot::draw(&plan),
            Format::Mermaid => mermaid::draw(&plan),
            Format::Svg => svg::draw(&plan),
        };
        Ok(write(format_args!("{drawing}"))?)
    }
}
