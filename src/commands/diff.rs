//! `dnc-run diff A [B …]`: the metrics of runs side by side, their spread over seeds, and whether a difference is more than
//! chance.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::num::NonZero;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::place::Place;
use super::{Failure, Folders};
use crate::report::difference::group::{Compared, Group, groups};
use crate::report::difference::{Resampling, forms, side_by_side};
use crate::report::run_folder::RunFolder;

/// Arguments of `diff`.
#[derive(Args)]
pub struct DiffArgs {
    /// The runs: `sop/3`, `sop/1-3` for several, `sop` for the last, each with `:NODE` for one of its nodes
    ///
    /// Runs that differ by nothing but the seed are taken together: their mean is shown with Student's 95 % interval. All are
    /// compared with the first: over the seeds where both sides have several (Student's paired test where they are the same
    /// seeds, else Welch's), otherwise over the queries that both answered (paired bootstrap, and flipping signs). A difference
    /// whose 95 % interval holds 0 is not distinguishable. JSON and Parquet hold the value of each seed as well.
    #[arg(required = true, value_name = "RUN[:NODE]")]
    compared: Vec<String>,
    /// The form of the result
    #[arg(long, default_value = "table")]
    format: Format,
    /// Writes to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How often queries are drawn anew
    #[arg(long, value_name = "N", default_value = "10000")]
    draws: NonZero<usize>,
    /// The seed of those draws
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
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
    /// Parquet, a row for each metric and group of runs.
    Parquet,
}

impl DiffArgs {
    /// Writes the table. That runs differ is no failure.
    pub(super) fn run(self) -> Result<(), Failure> {
        let place = Place::here(&self.folders)?;
        let mut compared = Vec::new();
        for text in &self.compared {
            let (runs, node) = match text.split_once(':') {
                Some((runs, node)) => (runs, Some(node.to_owned())),
                None => (text.as_str(), None),
            };
            let found = RunFolder::find_all(&place.runs, runs).map_err(Failure::Call)?;
            compared.extend(found.into_iter().map(|run| Compared { run, node: node.clone() }));
        }
        let groups = groups(compared)?.iter().map(|members| Group::read(members)).collect::<Result<Vec<_>, _>>()?;
        let lines = side_by_side(&groups, Resampling { draws: self.draws.get(), seed: self.seed });
        if lines.is_empty() {
            eprintln!("None of these runs has metrics");
            return Ok(());
        }
        let mut out: Box<dyn Write + Send> = match &self.output {
            Some(path) => Box::new(File::create(path).with_context(|| format!("Cannot write `{}`", path.display()))?),
            None if self.format == Format::Parquet && io::stdout().is_terminal() => {
                return Err(Failure::Call("Parquet is not for a terminal; say `--output FILE`".into()));
            }
            None => Box::new(io::stdout()),
        };
        match self.format {
            Format::Table => forms::table(&groups, &lines, &mut out)?,
            Format::Md => forms::markdown(&groups, &lines, &mut out)?,
            Format::Json => forms::json(&groups, &lines, &mut out)?,
            Format::Parquet => forms::parquet(&groups, &lines, &mut out)?,
        }
        out.flush()?;
        Ok(())
    }
}
