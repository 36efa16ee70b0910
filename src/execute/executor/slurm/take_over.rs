//! Jobs that an earlier driver of the same run left in the queue, because it was killed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use dnc_cache::Key;

use super::SlurmError;
use super::call::CallError;
use super::flight::Submitted;
use super::folder::JobFolder;
use super::queue::{self, JobId, Listed, State};

/// How often, and with which pause, the queue is asked for at the start, while Slurm is unavailable.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_secs(5);

/// The queue at the start, which also shows that Slurm can be used. If it must be waited for, `report` hears why.
pub(super) fn first_look(report: impl FnOnce(CallError)) -> Result<HashMap<JobId, Listed>, CallError> {
    patiently(queue::list, PAUSE, report)
}

fn patiently<T>(
    mut ask: impl FnMut() -> Result<T, CallError>,
    pause: Duration,
    report: impl FnOnce(CallError),
) -> Result<T, CallError> {
    let (mut tries, mut report) = (1, Some(report));
    loop {
        match ask() {
            Err(error @ CallError::Unavailable { .. }) if tries < TRIES => {
                if let Some(report) = report.take() {
                    report(error);
                }
                thread::sleep(pause);
            }
            answer => return answer,
        }
        tries += 1;
    }
}

/// Takes over the folders of earlier runs whose driver is gone, and finds their tasks that wait or run. The folders are added
/// to `folders`.
pub(super) fn take_over(
    earlier: &[PathBuf],
    listed: &HashMap<JobId, Listed>,
    folders: &mut Vec<JobFolder>,
) -> Result<HashMap<Key, Submitted>, SlurmError> {
    let mut orphans = HashMap::new();
    let alive: Vec<(&JobId, &str)> = listed
        .iter()
        .filter(|(_, listed)| matches!(listed.state, State::Alive { .. }))
        .map(|(id, listed)| (id, listed.name.as_str()))
        .collect();
    for path in earlier {
        let cannot = |source| SlurmError::Folder { folder: path.clone(), source };
        let Some(folder) = JobFolder::take_over(path).map_err(cannot)? else { continue };
        let names = folder.names().map_err(cannot)?;
        let mut found = 0;
        for array in folder.arrays().map_err(cannot)? {
            for &(id, _) in alive.iter().filter(|(_, name)| *name == array.name) {
                for entry in array.jobs.get(id.element).into_iter().flatten() {
                    let is_done = |ending: &str| names.contains(&format!("{}.{ending}", entry.task));
                    // What was answered without a record, because it failed, is tried again.
                    if is_done("answer.json") || is_done("exit") || !is_done("json") {
                        continue;
                    }
                    found += 1;
                    let (folder, name) = (folders.len(), array.name.clone());
                    orphans.insert(entry.key, Submitted { folder, task: entry.task.clone(), job: id.clone(), name });
                }
            }
        }
        match found {
            0 => folder.retire(),
            _ => folders.push(folder),
        }
    }
    Ok(orphans)
}

#[cfg(test)]
mod tests {
    use std::{fs, slice};

    use super::*;

    #[test]
    fn slurm_is_waited_for_and_that_is_reported_once() {
        let unavailable = || CallError::Unavailable { program: "squeue".into(), message: "no answer".into() };
        let run = |successes_after: u32| {
            let (mut asked, mut reports) = (0, 0);
            let ask = || {
                asked += 1;
                if asked > successes_after { Ok(()) } else { Err(unavailable()) }
            };
            let answer = patiently(ask, Duration::ZERO, |_| reports += 1);
            (answer, asked, reports)
        };
        assert_eq!(run(0), (Ok(()), 1, 0));
        assert_eq!(run(3), (Ok(()), 4, 1));
        assert_eq!(run(100), (Err(unavailable()), TRIES, 1));
    }

    #[test]
    fn an_earlier_folder_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs");
        fs::write(&path, "").unwrap();
        let error = take_over(slice::from_ref(&path), &HashMap::new(), &mut Vec::new()).err().expect("it is a file");
        assert_eq!(error.to_string(), format!("Cannot use the folder of jobs `{}`", path.display()));
    }
}
