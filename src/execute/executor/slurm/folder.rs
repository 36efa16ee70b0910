//! The folder through which the driver and its jobs communicate: `runs/NAME/N/jobs`, on a file system that all machines share.
//!
//! | file | written by | holds |
//! |---|---|---|
//! | `lock` | driver | nothing; locked while the driver lives |
//! | `job.sh` | driver | the script of every job |
//! | `ARRAY.array.json` | driver | the name of an array of jobs, and the tasks of each job with their keys |
//! | `ARRAY.tasks` | driver | the same tasks for the script, a line per job |
//! | `ARRAY-N.out` | Slurm | what Slurm and the script of job N of the array wrote |
//! | `TASK.json`, `TASK.answer.json` | driver, job | the work, and its answer |
//! | `TASK.events`, `TASK.log` | job | events, one JSON object per line, and standard error |
//! | `TASK.exit`, `TASK.stopped` | script | the exit code of a process that left no answer; that it was stopped by a signal |
//!
//! A driver that finds the folder of an earlier run unlocked takes over the jobs in it. A folder is therefore locked from the moment
//! when it gets its name until nothing is left in it to take over.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use dnc_cache::{Digest, Key};
use serde::{Deserialize, Serialize};

use crate::execute::event::Event;
use crate::execute::task_file::{TaskFile, take_answer};
use crate::execute::work::{Answer, Work};

/// The script of every job.
const SCRIPT: &str = include_str!("job.sh");

/// Ending of the files that describe an array.
const ARRAY: &str = ".array.json";

/// The file that is locked while the driver lives.
const LOCK: &str = "lock";

/// A folder of task files, which belongs to this process.
pub(super) struct JobFolder {
    path: PathBuf,
    /// Number of tasks and arrays written.
    written: u64,
    /// Makes names of arrays differ from those of a folder that had the same path before.
    nonce: u64,
    _lock: File,
}

/// An array of jobs, as it was submitted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ArrayFile {
    /// Name of the jobs in the queue.
    pub(super) name: String,
    /// The tasks of each job.
    pub(super) jobs: Vec<Vec<TaskEntry>>,
}

/// A task of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TaskEntry {
    /// Name of its files.
    pub(super) task: String,
    /// Key of the work.
    pub(super) key: Key,
}

/// How far the events of a task were read.
#[derive(Debug, Default)]
pub(super) struct Position {
    bytes: u64,
    /// An incomplete last line.
    rest: Vec<u8>,
}

impl Position {
    /// Whether there were no events yet.
    pub(super) fn is_at_start(&self) -> bool {
        self.bytes == 0
    }
}

impl JobFolder {
    /// Creates the folder.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        // A run that starts at the same time would take over a folder that is not locked.
        let unnamed = path.with_extension("new");
        fs::create_dir_all(&unnamed)?;
        fs::write(unnamed.join("job.sh"), SCRIPT)?;
        let locked = Self::lock(&unnamed)?.ok_or_else(|| io::Error::other("another process holds its lock"))?;
        fs::rename(&unnamed, path)?;
        Ok(Self { path: path.to_owned(), ..locked })
    }

    /// Takes over the folder of an earlier run; `None` if there is none, its driver is alive, or it belongs to another user.
    pub(super) fn take_over(path: &Path) -> io::Result<Option<Self>> {
        use io::ErrorKind::{NotFound, PermissionDenied};
        match Self::lock(path) {
            // Its driver may have removed it at this moment. Of another user's jobs, the queue lists none.
            Err(error) if matches!(error.kind(), NotFound | PermissionDenied) => Ok(None),
            other => other,
        }
    }

    fn lock(path: &Path) -> io::Result<Option<Self>> {
        let lock = File::options().create(true).append(true).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let changed = fs::metadata(path)?;
        let nonce = changed.ctime_nsec().unsigned_abs() ^ changed.ctime().unsigned_abs().rotate_left(32);
        Ok(Some(Self { path: path.to_owned(), written: 0, nonce, _lock: lock }))
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The arrays that were submitted from here.
    pub(super) fn arrays(&self) -> io::Result<Vec<ArrayFile>> {
        let mut arrays = Vec::new();
        for name in self.names()? {
            if name.ends_with(ARRAY) {
                // A file that was cut off describes an array that was not submitted.
                arrays.extend(serde_json::from_slice::<ArrayFile>(&fs::read(self.path.join(name))?).ok());
            }
        }
        Ok(arrays)
    }

    /// The names of all files.
    pub(super) fn names(&self) -> io::Result<HashSet<String>> {
        fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Writes the file of a task and returns the task's name.
    pub(super) fn write_task(&mut self, store: &Path, threads: usize, work: Work) -> io::Result<String> {
        self.written += 1;
        let task = format!("{}-{}", &work.task.key.to_string()[..16], self.written);
        TaskFile::new(store.to_owned(), threads, work).write(&self.file(&task, "json"))?;
        Ok(task)
    }

    /// Writes the files of an array of jobs for these tasks. `label` begins the name of its jobs.
    pub(super) fn write_array(&mut self, label: &str, jobs: Vec<Vec<TaskEntry>>) -> io::Result<(String, ArrayFile)> {
        self.written += 1;
        let unique = format!("{}\n{}\n{}", self.path.display(), self.nonce, self.written);
        let array = Digest::of(unique.as_bytes()).to_string()[..12].to_owned();
        let lines: String = jobs.iter().map(|tasks| list(tasks) + "\n").collect();
        fs::write(self.file(&array, "tasks"), lines)?;
        let file = ArrayFile { name: format!("{label}-{array}"), jobs };
        let temporary = self.file(&array, "array.tmp");
        fs::write(&temporary, serde_json::to_vec(&file)?)?;
        fs::rename(temporary, self.path.join(format!("{array}{ARRAY}")))?;
        Ok((array, file))
    }

    /// The answer to a task, if there is one.
    pub(super) fn answer(&self, task: &str) -> Option<Answer> {
        take_answer(&self.file(task, "json"))
    }

    /// The exit code of the task's process, if it ended without an answer.
    pub(super) fn exit_code(&self, task: &str) -> Option<i32> {
        fs::read_to_string(self.file(task, "exit")).ok()?.trim().parse().ok()
    }

    /// Whether a signal stopped the task's process.
    pub(super) fn is_stopped(&self, task: &str) -> bool {
        self.file(task, "stopped").exists()
    }

    /// The events of a task since the last call.
    pub(super) fn events(&self, task: &str, position: &mut Position) -> Vec<Event> {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(self.file(task, "events"))?;
            file.seek(SeekFrom::Start(position.bytes))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        // A job that has not begun has no events; they only inform.
        let bytes = read().unwrap_or_default();
        position.bytes += bytes.len() as u64;
        position.rest.extend(bytes);
        let Some(end) = position.rest.iter().rposition(|&byte| byte == b'\n') else { return Vec::new() };
        let complete: Vec<u8> = position.rest.drain(..=end).collect();
        complete.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// What the process of a task wrote to standard error.
    pub(super) fn log(&self, task: &str) -> String {
        let bytes = fs::read(self.file(task, "log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Path of the log of a task.
    pub(super) fn log_path(&self, task: &str) -> PathBuf {
        self.file(task, "log")
    }

    /// Path of what Slurm wrote about a job of an array.
    pub(super) fn output_path(&self, array: &str, element: usize) -> PathBuf {
        self.path.join(format!("{array}-{element}.out"))
    }

    /// Removes the files of a task that was answered.
    pub(super) fn remove_task(&self, task: &str) {
        for extension in ["json", "answer.json", "events", "log", "exit", "stopped"] {
            // What cannot be removed goes with the folder.
            let _ = fs::remove_file(self.file(task, extension));
        }
    }

    /// Removes everything but the logs, so that no later driver looks for jobs here.
    pub(super) fn retire(&self) {
        for name in self.names().unwrap_or_default() {
            if !name.ends_with(".log") && !name.ends_with(".out") && name != LOCK {
                let _ = fs::remove_file(self.path.join(name));
            }
        }
        // Last, so that the folder is locked until then.
        let _ = fs::remove_file(self.path.join(LOCK));
    }

    /// Removes the folder.
    pub(super) fn remove(&self) {
        // Under another name, nobody finds it when its lock is gone, but not yet the rest.
        let renamed = self.path.with_extension("old");
        let path = if fs::rename(&self.path, &renamed).is_ok() { &renamed } else { &self.path };
        // What is left is a few small files in a run's folder.
        let _ = fs::remove_dir_all(path);
    }

    fn file(&self, name: &str, extension: &str) -> PathBuf {
        self.path.join(format!("{name}.{extension}"))
    }
}

fn list(tasks: &[TaskEntry]) -> String {
    tasks.iter().map(|entry| entry.task.as_str()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_folder_has_one_owner_and_its_arrays_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs");
        assert!(JobFolder::take_over(&path).unwrap().is_none(), "there is none");
        let mut first = JobFolder::create(&path).unwrap();
        assert!(JobFolder::take_over(&path).unwrap().is_none(), "its driver is alive");
        let entry = |task: &str| TaskEntry { task: task.into(), key: Key::of(task) };
        let (array, file) =
            first.write_array("dnc:a", vec![vec![entry("a-1"), entry("b-2")], vec![entry("c-3")]]).unwrap();
        assert_eq!(file.name, format!("dnc:a-{array}"));
        assert_eq!(fs::read_to_string(path.join(format!("{array}.tasks"))).unwrap(), "a-1 b-2\nc-3\n");
        drop(first);
        // Between fork and exec, a program that another test starts holds this process's locks.
        let second = (0..1000).find_map(|_| {
            let folder = JobFolder::take_over(&path).unwrap();
            if folder.is_none() {
                thread::sleep(Duration::from_millis(10));
            }
            folder
        });
        let second = second.expect("its driver is gone");
        let arrays = second.arrays().unwrap();
        assert_eq!((arrays.len(), arrays[0].name.as_str(), arrays[0].jobs.len()), (1, file.name.as_str(), 2));
    }

    #[test]
    fn a_folder_is_not_taken_over_while_its_driver_removes_it() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..20 {
            for end in [JobFolder::remove as fn(&JobFolder), JobFolder::retire] {
                let run = tempfile::tempdir_in(folder.path()).unwrap();
                let path = run.path().join("jobs");
                let mut first = JobFolder::create(&path).unwrap();
                (0..30).for_each(|_| drop(first.write_array("dnc:a", Vec::new()).unwrap()));
                thread::scope(|scope| {
                    let removing = scope.spawn(move || end(&first));
                    while !removing.is_finished() {
                        if let Some(second) = JobFolder::take_over(&path).unwrap() {
                            assert!(second.arrays().unwrap().is_empty(), "round {round}");
                        }
                    }
                });
            }
        }
    }

    /// What the script of a job makes of one task, whose program is this line for the shell: its exit code, and that of the program if
    /// it noted one.
    fn run_script(program: &str) -> (Option<i32>, Option<i32>) {
        let folder = tempfile::tempdir().unwrap();
        let jobs = JobFolder::create(&folder.path().join("jobs")).unwrap();
        fs::write(jobs.file("array", "tasks"), "task\n").unwrap();
        fs::write(jobs.file("task", "json"), "").unwrap();
        let path = folder.path().join("program");
        fs::write(&path, format!("#!/bin/sh\n{program}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let mut script = std::process::Command::new("sh");
        script.arg(jobs.path().join("job.sh")).args([&path, jobs.path()]).arg("array").env("SLURM_ARRAY_TASK_ID", "0");
        let code = script.status().unwrap().code();
        (code, jobs.exit_code("task"))
    }

    #[test]
    fn a_task_that_ends_well_has_answered_even_if_the_driver_has_taken_the_answer() {
        assert_eq!(run_script("exit 0"), (Some(0), None));
        assert_eq!(run_script("touch \"${3%.json}.answer.json\"; exit 3"), (Some(0), None));
        assert_eq!(run_script("exit 3"), (Some(1), Some(3)));
    }

    #[test]
    fn events_are_read_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let jobs = JobFolder::create(&folder.path().join("jobs")).unwrap();
        let mut position = Position::default();
        assert!(jobs.events("a", &mut position).is_empty());
        let line = r#"{"event":"node_log","node":"a","line":"x"}"#;
        fs::write(jobs.file("a", "events"), format!("{line}\n{}", &line[..9])).unwrap();
        assert_eq!(jobs.events("a", &mut position).len(), 1);
        fs::write(jobs.file("a", "events"), format!("{line}\n{line}\n")).unwrap();
        assert_eq!(jobs.events("a", &mut position).len(), 1);
        assert!(jobs.events("a", &mut position).is_empty());
    }
}
