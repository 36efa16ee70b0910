//! Submission of an array of jobs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::call::{CallError, call};
use super::request::Request;

/// An array of jobs to submit.
pub(super) struct Submission<'a> {
    /// Name of the jobs.
    pub(super) name: &'a str,
    /// Name of its files.
    pub(super) array: &'a str,
    /// Number of jobs.
    pub(super) jobs: usize,
    /// What each job asks for.
    pub(super) request: &'a Request,
    /// The folder of task files.
    pub(super) folder: &'a Path,
    /// The program that runs a task.
    pub(super) program: &'a PathBuf,
}

impl Submission<'_> {
    /// Submits the array and returns its id.
    pub(super) fn submit(&self) -> Result<String, CallError> {
        sbatch(self.arguments())
    }

    fn arguments(&self) -> Vec<String> {
        let folder = self.folder.display();
        let mut arguments = vec![
            "--parsable".to_owned(),
            format!("--job-name={}", self.name),
            format!("--array=0-{}", self.jobs - 1),
            format!("--output={}/{}-%a.out", pattern(self.folder), self.array),
            "--open-mode=append".to_owned(),
            "--requeue".to_owned(),
            "--kill-on-invalid-dep=yes".to_owned(),
            // To the script, a minute before the time limit.
            "--signal=B:TERM@60".to_owned(),
        ];
        arguments.extend(self.request.options.iter().cloned());
        arguments.push(format!("{folder}/job.sh"));
        arguments.push(self.program.display().to_string());
        arguments.push(folder.to_string());
        arguments.push(self.array.to_owned());
        arguments
    }
}

/// Calls `sbatch` and returns the id of what it submitted.
pub(super) fn sbatch<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<String, CallError> {
    let answer = call("sbatch", arguments)?;
    // In a federation the name of the cluster follows.
    let id = answer.trim().split(';').next().unwrap_or_default().to_owned();
    match id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Err(CallError::Unavailable { program: "sbatch".into(), message: format!("it answered `{answer}`") }),
        false => Ok(id),
    }
}

/// A folder in a pattern of file names, in which `%` begins a replacement.
pub(super) fn pattern(folder: &Path) -> String {
    folder.display().to_string().replace('%', "%%")
}
