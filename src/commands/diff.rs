//! `dnc-run diff A [B …]`: the metrics of runs side by side.

use clap::{Args, ValueEnum};

use super::place::Place;
use super::{Failure, Folders};
use crate::report::difference::{Line, side_by_side};
use crate::report::run_folder::RunFolder;
use crate::report::{metrics, text_table};

/// Arguments of `diff`.
#[derive(Args)]
pub struct DiffArgs {
    /// The runs: `<name>/<n>`, or `<name>` for its last; the difference is the last one's from the first one's
    #[arg(required = true, value_name = "RUN")]
    compared: Vec<String>,
    /// The form of the table
    #[arg(long, default_value = "table")]
    format: Format,
    #[command(flatten)]
    folders: Folders,
}

/// What `--format` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal.
    Table,
    /// Markdown.
    Md,
    /// JSON.
    Json,
}

impl DiffArgs {
    /// Prints the table. That runs differ is no failure.
    pub(super) fn run(self) -> Result<(), Failure> {
        let place = Place::here(&self.folders)?;
        let find = |text: &String| RunFolder::find(&place.runs, text).map_err(Failure::Call);
        let runs = self.compared.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let tables = runs.iter().map(|run| metrics::read(&run.path)).collect::<Result<Vec<_>, _>>()?;
        let lines = side_by_side(&tables);
        if lines.is_empty() {
            eprintln!("None of these runs has metrics");
            return Ok(());
        }
        let mut heads = vec!["node".to_owned(), "split".to_owned(), "metric".to_owned()];
        heads.extend(runs.iter().map(RunFolder::id));
        if runs.len() > 1 {
            heads.push("difference".to_owned());
        }
        let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
        match self.format {
            Format::Json => println!("{}", serde_json::to_string_pretty(&lines)?),
            Format::Table => {
                println!("{}", text_table(&heads, lines.iter().map(|line| cells(line, runs.len())).collect()))
            }
            Format::Md => {
                println!("| {} |", heads.join(" | "));
                println!("|{}", "---|".repeat(heads.len()));
                lines.iter().for_each(|line| println!("| {} |", cells(line, runs.len()).join(" | ")));
            }
        }
        Ok(())
    }
}

fn cells(line: &Line, runs: usize) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.4}"));
    let mut cells = vec![line.node.clone(), line.split.clone(), line.metric.clone()];
    cells.extend(line.values.iter().map(|&value| number(value)));
    if runs > 1 {
        cells.push(line.difference().map_or_else(String::new, |difference| format!("{difference:+.4}")));
    }
    cells
}
