//! `dnc-run report RUN…`: writes the report of runs as one HTML file.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::failure::Failure;
use super::named_runs::named_or_last;
use super::names;
use super::output::{check_replaceable, write_json};
use crate::pages::{self, Budget, ReportOptions};
use crate::project::{Folders, Project};

/// Arguments of `dnc-run report`.
#[derive(Args)]
pub struct ReportArgs {
    /// Runs: `sop/3`, a range such as `sop/1-3`, or `sop` for the last run [default: the run that was started last]
    ///
    /// Runs that differ only by their seed are summarised with intervals over the seeds. Other runs are compared with the first
    /// one, and the details are those of the last one.
    #[arg(value_name = "RUN", add = ArgValueCompleter::new(names::runs))]
    reported: Vec<String>,
    /// File to write [default: report.html in the folder of the run]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Maximum size of the file; the report lists what was left out
    #[arg(long, value_name = "SIZE", default_value_t)]
    budget: Budget,
    /// Number of queries in the gallery
    #[arg(long, value_name = "N", default_value_t = 200)]
    queries: usize,
    /// Search for near-duplicates between training and evaluation even in a large data set
    #[arg(long)]
    leaks: bool,
    /// Open the report in the default browser
    #[arg(long)]
    open: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folders: Folders,
}

impl ReportArgs {
    /// Writes the report and prints its path.
    pub(super) fn run(self) -> Result<(), Failure> {
        let project = Project::current(&self.folders)?;
        let runs = named_or_last(&project, &self.reported)?;
        self.output.iter().try_for_each(|path| check_replaceable(path, &["html", "htm"]))?;
        let options = ReportOptions {
            output: self.output,
            budget: self.budget,
            queries: self.queries,
            leaks: self.leaks,
            store: self.folders.store.clone(),
        };
        let report = pages::write(&runs, &options)?;
        for statement in &report.left_out {
            eprintln!("note: {statement}");
        }
        if self.json {
            write_json(&report)?;
        } else {
            print_line!("{}", report.path.display());
        }
        if self.open {
            let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
            let started = Command::new(opener).arg(&report.path).spawn();
            if let Err(error) = started {
                eprintln!("note: Cannot start `{opener}`: {error}");
            }
        }
        Ok(())
    }
}
