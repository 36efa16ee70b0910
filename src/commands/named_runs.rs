//! Runs that a command names.

use super::failure::Failure;
use crate::project::Project;
use crate::report::run_folder::RunFolder;

/// The runs that `texts` name: `sop/3`, a range such as `sop/1-3`, or `sop` for the last run. Without any, the run that was
/// started last.
pub(super) fn named_or_last(project: &Project, texts: &[String]) -> Result<Vec<RunFolder>, Failure> {
    let mut runs = Vec::new();
    for text in texts {
        runs.extend(RunFolder::find_all(&project.runs, text).map_err(Failure::Call)?);
    }
    if runs.is_empty() {
        let last = project.last_run().ok_or_else(|| {
            Failure::Call(format!("There is no run in `{}` yet; run a manifest first", project.runs.display()))
        })?;
        runs.push(RunFolder::find(&project.runs, &last.run).map_err(Failure::Call)?);
    }
    Ok(runs)
}
