//! The list of commands, and the dispatch to them.

use std::env;
use std::path::Path;
use std::process::{self, ExitCode};

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory as _, Parser, Subcommand};

use super::failure::Failure;
#[cfg(feature = "serve")]
use super::serve;
use super::{
    cache, completions, diff, doctor, explain, export, get, graph, import_weights, init, logs, man, plan, report, run,
    runs, schema, search, show, stages, sweep, task, watch, weights,
};
use crate::manifest::suggest;

/// Train image embeddings from one TOML manifest, and rerun only what changed.
///
/// Runs the stages of a TOML manifest, but only those whose results are not in the store yet. Without a manifest, repeats the
/// last run with its overrides.
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
    /// Write a manifest for your images
    Init(init::InitArgs),
    /// Show what would run, and why
    Plan(plan::PlanArgs),
    /// Show the fingerprint of a node, and how it differs from that of the most similar earlier run
    Explain(explain::ExplainArgs),
    /// Draw the graph of nodes
    Graph(graph::GraphArgs),
    /// Write a contact sheet of a node's images, or of images beside their augmented views
    Show(show::ShowArgs),
    /// Search for the best settings by many runs of a manifest
    Sweep(sweep::SweepArgs),
    /// Run a manifest whenever it or its data change
    Watch(watch::WatchArgs),
    /// List the runs, tag them, write notes, or delete them
    Runs(runs::RunsArgs),
    /// Print the log of a node, or follow a run
    Logs(logs::LogsArgs),
    /// Write a report of runs as one HTML file: metrics, errors with pictures, training, how to reproduce them
    Report(report::ReportArgs),
    /// Find the nearest images of a run to any image
    Search(search::SearchArgs),
    /// Search images, read reports and watch runs in a browser, or over HTTP
    #[cfg(feature = "serve")]
    Serve(serve::ServeArgs),
    /// Compare the metrics of runs
    Diff(diff::DiffArgs),
    /// Export the model or the embeddings of a run for PyTorch, ONNX and other tools
    Export(export::ExportArgs),
    /// Copy what a node wrote out of the store, as Parquet, CSV, Arrow or JSON
    Get(get::GetArgs),
    /// Convert weights saved by PyTorch to safetensors
    ImportWeights(import_weights::ImportWeightsArgs),
    /// List or download published weights
    Weights(weights::WeightsArgs),
    /// Inspect, verify, clean up or share the store
    Cache(cache::CacheArgs),
    /// Check the machine, the store, and the data and weights that manifests read
    Doctor(doctor::DoctorArgs),
    /// List the stages, or describe one of them
    Stages(stages::StagesArgs),
    /// Print the JSON Schema of manifests or sweeps, for editors
    Schema(schema::SchemaArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Write a manual page for each command, for packages
    #[command(hide = true)]
    Man(man::ManArgs),
    /// Run one node, for an executor
    #[command(hide = true)]
    Task(task::TaskArgs),
}

impl Cli {
    /// Whether the process should end when the reader of what it writes goes away, as programs in a pipe do. A server should not.
    pub fn ends_with_its_reader(&self) -> bool {
        #[cfg(feature = "serve")]
        if matches!(self.command, Some(Command::Serve(_))) {
            return false;
        }
        true
    }
}

/// Parses the arguments of this process, or prints why they are wrong and ends it.
pub fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        let first = env::args_os().nth(1).unwrap_or_default();
        match misplaced(&error, &first.to_string_lossy()) {
            Some(message) => {
                eprintln!("error: {message}");
                process::exit(error.exit_code())
            }
            None => error.exit(),
        }
    })
}

/// What is wrong with a call whose `first` word was taken for a manifest, behind which a command or another manifest cannot stand.
fn misplaced(error: &clap::Error, first: &str) -> Option<String> {
    let is_manifest = |name: &String| name == "[MANIFEST]";
    let follows_manifest = match error.get(ContextKind::PriorArg)? {
        ContextValue::String(name) => is_manifest(name),
        ContextValue::Strings(names) => names.iter().any(is_manifest),
        _ => false,
    };
    let Some(ContextValue::String(second)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    if !follows_manifest || first.starts_with('-') {
        return None;
    }
    Some(if let Some(command) = misspelt_command(Path::new(first)) {
        format!("There is no command `{first}`; did you mean `dnc-run {command}`? `dnc-run --help` lists the commands")
    } else if Cli::command().find_subcommand(second).is_some() {
        format!("The command comes first: write `dnc-run {second} {first}`")
    } else {
        format!(
            "`{second}` cannot follow the manifest `{first}`: a call runs one manifest, and `--vary` runs it with several values"
        )
    })
}

/// Runs the command, prints its failure to standard error and returns the exit code.
pub fn dispatch(cli: Cli) -> ExitCode {
    let result = match cli.command {
        None => run_manifest(cli.run),
        Some(Command::Init(args)) => args.run(),
        Some(Command::Plan(args)) => args.run(),
        Some(Command::Explain(args)) => args.run(),
        Some(Command::Graph(args)) => args.run(),
        Some(Command::Show(args)) => args.run(),
        Some(Command::Sweep(args)) => args.run(),
        Some(Command::Watch(args)) => args.run(),
        Some(Command::Runs(args)) => args.run(),
        Some(Command::Logs(args)) => args.run(),
        Some(Command::Report(args)) => args.run(),
        Some(Command::Search(args)) => args.run(),
        #[cfg(feature = "serve")]
        Some(Command::Serve(args)) => args.run(),
        Some(Command::Diff(args)) => args.run(),
        Some(Command::Export(args)) => args.run(),
        Some(Command::Get(args)) => args.run(),
        Some(Command::ImportWeights(args)) => args.run(),
        Some(Command::Weights(args)) => args.run(),
        Some(Command::Cache(args)) => args.run(),
        Some(Command::Doctor(args)) => args.run(),
        Some(Command::Stages(args)) => args.run(),
        Some(Command::Schema(args)) => args.run(),
        Some(Command::Completions(args)) => args.run(),
        Some(Command::Man(args)) => args.run(Cli::command()),
        Some(Command::Task(args)) => args.run(),
    };
    result.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

fn run_manifest(args: run::RunArgs) -> Result<(), Failure> {
    if let Some((manifest, command)) = args.manifest_path().and_then(|path| Some((path, misspelt_command(path)?))) {
        return Err(Failure::Call(format!(
            "There is no manifest `{}`; to call the command, write `dnc-run {command}` with its options after it",
            manifest.display()
        )));
    }
    args.run()
}

/// The command that is meant by what was parsed as a manifest: misspelt, or after an option.
fn misspelt_command(manifest: &Path) -> Option<String> {
    let name = manifest.to_str().filter(|_| manifest.extension().is_none() && !manifest.exists())?;
    let commands = Cli::command();
    let visible = commands.get_subcommands().filter(|command| !command.is_hide_set());
    suggest::nearest(name, visible.map(clap::Command::get_name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_command_is_not_a_manifest() {
        let message = |words: &[&str]| {
            let call = ["dnc-run"].into_iter().chain(words.iter().copied());
            let error = Cli::try_parse_from(call).err().expect("the call is wrong");
            misplaced(&error, words[0])
        };
        let misspelt = message(&["pln", "good.toml"]);
        let expected = "There is no command `pln`; did you mean `dnc-run plan`? `dnc-run --help` lists the commands";
        assert_eq!(misspelt.as_deref(), Some(expected));
        assert_eq!(message(&["pln", "good.toml", "--json"]), misspelt);
        let expected = "The command comes first: write `dnc-run plan good.toml`";
        assert_eq!(message(&["good.toml", "plan"]).as_deref(), Some(expected));
        let several = message(&["good.toml", "better.toml"]);
        assert!(
            several.is_some_and(|message| message.starts_with("`better.toml` cannot follow the manifest `good.toml`"))
        );
        assert_eq!(message(&["good.toml", "--no-such-option"]), None);
        assert_eq!(message(&["--detach", "--dry-run"]), None);
    }
}
