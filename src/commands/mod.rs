//! What a user calls: one file a command, each an argument struct with a `run`.

/// Writes a line to standard output, as `println!`, which panics where that fails, as on a full disk.
macro_rules! say {
    ($($told:tt)*) => {
        $crate::commands::write_out(format_args!("{}\n", format_args!($($told)*)))?
    };
}

pub mod cache;
pub mod completions;
pub mod diff;
pub mod explain;
pub mod export;
pub mod graph;
pub mod import_weights;
pub mod manifest_args;
pub mod place;
pub mod plan;
pub mod run;
pub mod runs;
pub mod schema;
pub mod show;
pub mod stages;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::execute::stop::INTERRUPTED;
use crate::execute::whole_message;
use crate::manifest::{Diagnostics, Paint};

/// Divide-and-conquer metric learning as a dataflow.
///
/// Runs the stages of a TOML manifest, but only those whose inputs changed. Without a manifest, that of the last run.
#[derive(Parser)]
#[command(name = "dnc-run", version, args_conflicts_with_subcommands = true, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Shows what would run, and why
    Plan(plan::PlanArgs),
    /// Shows what a node's key is made of, and what changed since its last run
    Explain(explain::ExplainArgs),
    /// Draws the DAG
    Graph(graph::GraphArgs),
    /// Writes a contact sheet of a node's images, or of images and their views
    Show(show::ShowArgs),
    /// Lists the runs
    Runs(runs::RunsArgs),
    /// Shows the metrics of runs side by side
    Diff(diff::DiffArgs),
    /// Writes a run's model for PyTorch: weights as safetensors under published names
    Export(export::ExportArgs),
    /// Turns weights saved by PyTorch into safetensors
    ImportWeights(import_weights::ImportWeightsArgs),
    /// Shows or tends the store
    Cache(cache::CacheArgs),
    /// Lists the stages, or the parameters of one
    Stages(stages::StagesArgs),
    /// Prints the JSON Schema of manifests, for editors
    Schema(schema::SchemaArgs),
    /// Prints shell completions
    Completions(completions::CompletionsArgs),
}

/// Where things are kept.
#[derive(Args, Clone, Debug, Default)]
pub struct Folders {
    /// The store [default: .dnc/store beside the project's root]
    #[arg(long, env = "DNC_STORE", value_name = "DIR", global = true)]
    store: Option<std::path::PathBuf>,
    /// The folder of runs [default: runs in the project's root]
    #[arg(long, env = "DNC_RUNS", value_name = "DIR", global = true)]
    runs: Option<std::path::PathBuf>,
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub enum Failure {
    /// The manifest is wrong.
    Manifest(Box<Diagnostics>),
    /// The call is wrong.
    Call(String),
    /// The machine, the store or a file would not.
    Environment(anyhow::Error),
    /// A node failed; the run has told it.
    Node,
    /// The user stopped it.
    Interrupted,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Environment(error.into())
    }
}

impl From<Diagnostics> for Box<Failure> {
    fn from(diagnostics: Diagnostics) -> Self {
        Box::new(Failure::Manifest(Box::new(diagnostics)))
    }
}

/// Writes to standard output.
fn write_out(told: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
    io::stdout().write_fmt(told).context("Cannot write to standard output")
}

/// Runs the command and tells its failure on standard error.
pub fn dispatch(cli: Cli) -> ExitCode {
    let result = match cli.command {
        None => cli.run.run(),
        Some(Command::Plan(args)) => args.run(),
        Some(Command::Explain(args)) => args.run(),
        Some(Command::Graph(args)) => args.run(),
        Some(Command::Show(args)) => args.run(),
        Some(Command::Runs(args)) => args.run(),
        Some(Command::Diff(args)) => args.run(),
        Some(Command::Export(args)) => args.run(),
        Some(Command::ImportWeights(args)) => args.run(),
        Some(Command::Cache(args)) => args.run(),
        Some(Command::Stages(args)) => args.run(),
        Some(Command::Schema(args)) => args.run(),
        Some(Command::Completions(args)) => args.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Node) => ExitCode::from(1),
        Err(Failure::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(Failure::Manifest(diagnostics)) => {
            eprintln!("{}", diagnostics.render(Paint::of_stderr()));
            ExitCode::from(2)
        }
        Err(Failure::Call(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
        Err(Failure::Environment(error)) => {
            eprintln!("error: {}", whole_message(error.as_ref()));
            ExitCode::from(1)
        }
    }
}
