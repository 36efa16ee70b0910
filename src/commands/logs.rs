//! `dnc-run logs RUN NODE`: prints the log of a node, or that of the run itself.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::failure::Failure;
use super::names;
use crate::manifest::suggest;
use crate::project::{Folders, Project};
use crate::report::reporter::RUN_LOG;
use crate::report::run_folder::RunFolder;

/// How often a log that is followed is read.
const READ_EVERY: Duration = Duration::from_millis(200);

/// Arguments of `logs`.
#[derive(Args)]
pub struct LogsArgs {
    /// Run, as in `sop/3`, `sop` for the last run of that name, or a tag
    #[arg(add = ArgValueCompleter::new(names::runs))]
    run: String,
    /// Node, as in `train@2[0]` [default: with --follow, the run itself; otherwise list the nodes with a log]
    #[arg(add = ArgValueCompleter::new(names::nodes))]
    node: Option<String>,
    /// Keep printing new lines until the run ends
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    folders: Folders,
}

impl LogsArgs {
    /// Prints the log, or the names of nodes.
    pub(super) fn run(self) -> Result<(), Failure> {
        let project = Project::current(&self.folders)?;
        let run = RunFolder::find(&project.runs, &self.run).map_err(Failure::Call)?;
        let path = match &self.node {
            Some(node) => run.path.join("logs").join(format!("{node}.log")),
            None if self.follow => run.path.join(RUN_LOG),
            None => {
                for node in with_logs(&run)? {
                    print_line!("{node}");
                }
                return Ok(());
            }
        };
        self.print(&run, &path)?;
        if self.follow && run.read().is_ok_and(|json| json.unfinished) {
            eprintln!("note: {} was killed; `dnc-run runs` shows whether a later run continues it", run.id());
        }
        Ok(())
    }

    fn print(&self, run: &RunFolder, path: &Path) -> Result<(), Failure> {
        let mut log = None;
        loop {
            // Asked before reading, so that what was written last is not missed.
            let is_running = run.is_running();
            if log.is_none() {
                log = match File::open(path) {
                    Ok(file) => Some(file),
                    Err(error) if error.kind() == io::ErrorKind::NotFound && self.follow && is_running => None,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(no_log(run, self.node.as_deref())?);
                    }
                    Err(error) => Err(error).with_context(|| format!("Cannot open `{}`", path.display()))?,
                };
            }
            if let Some(file) = &mut log {
                let mut added = Vec::new();
                file.read_to_end(&mut added).with_context(|| format!("Cannot read `{}`", path.display()))?;
                io::stdout().write_all(&added).and_then(|()| io::stdout().flush())?;
            }
            if !self.follow || !is_running {
                return Ok(());
            }
            thread::sleep(READ_EVERY);
        }
    }
}

/// The nodes of a run that have a log, sorted.
fn with_logs(run: &RunFolder) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(run.path.join("logs")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut nodes = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        nodes.extend(name.to_str().and_then(|name| name.strip_suffix(".log")).map(str::to_owned));
    }
    nodes.sort();
    Ok(nodes)
}

fn no_log(run: &RunFolder, node: Option<&str>) -> io::Result<Failure> {
    let Some(node) = node else {
        return Ok(Failure::Call(format!("{} has no `{RUN_LOG}`; name a node to see its log", run.id())));
    };
    let nodes = run.read().map(|json| json.nodes).unwrap_or_default();
    let id = run.id();
    if nodes.iter().any(|one| one.node == node) {
        return Ok(Failure::Call(format!(
            "`{node}` wrote no log in {id}: it did not run there, or had nothing to say"
        )));
    }
    let logged = with_logs(run)?;
    let hint = match suggest::nearest(node, nodes.iter().map(|one| one.node.as_str())) {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None if logged.is_empty() => "; no node of it has a log".to_owned(),
        None => format!("; nodes with a log: {}", suggest::all_of(logged.iter().map(String::as_str))),
    };
    Ok(Failure::Call(format!("{id} has no node `{node}`{hint}")))
}
