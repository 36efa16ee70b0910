//! Names of runs and nodes, with which a shell completes arguments.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;

use clap_complete::CompletionCandidate;

use crate::project::{Folders, Project};
use crate::report::run_folder::RunFolder;
use crate::report::run_notes::Notes;

/// Most runs that are offered.
const MOST: usize = 200;

/// The runs that begin with what was typed: names, tags, then single runs, the last ones first.
pub(super) fn runs(typed: &OsStr) -> Vec<CompletionCandidate> {
    let all = all_runs();
    let mut names: Vec<String> = all.iter().map(|run| run.name.clone()).collect();
    names.dedup();
    let tags: BTreeSet<String> =
        all.iter().filter_map(|run| Notes::read(&run.path).ok()).flat_map(|notes| notes.tags).collect();
    let numbered = all.iter().rev().map(RunFolder::id);
    candidates(typed, names.into_iter().chain(tags).chain(numbered))
}

/// The nodes that begin with what was typed, of the run that the line names, else of the last one.
pub(super) fn nodes(typed: &OsStr) -> Vec<CompletionCandidate> {
    let all = all_runs();
    let words: Vec<String> = env::args().collect();
    let named = words.iter().filter_map(|word| all.iter().rfind(|run| run.name == *word || run.id() == *word)).next();
    let json = match named {
        Some(run) => run.read().ok(),
        None => all.iter().filter_map(|run| run.read().ok()).max_by_key(|json| json.started),
    };
    let nodes = json.map(|json| json.nodes).unwrap_or_default();
    candidates(typed, nodes.into_iter().map(|node| node.node))
}

/// All runs of the project, sorted by name and number.
fn all_runs() -> Vec<RunFolder> {
    let folders = Folders { store: None, runs: env::var_os("DNC_RUNS").map(PathBuf::from) };
    let project = Project::current(&folders);
    project.and_then(|project| RunFolder::all(&project.runs)).unwrap_or_default()
}

fn candidates(typed: &OsStr, names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    names.filter(|name| name.starts_with(&*typed)).take(MOST).map(CompletionCandidate::new).collect()
}
