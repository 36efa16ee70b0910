//! The queue of jobs as Slurm lists it.

use std::collections::HashMap;

use super::call::{CallError, call};

/// An element of an array of jobs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct JobId {
    /// Id of the array.
    pub(super) array: String,
    /// Position in the array.
    pub(super) element: usize,
}

impl std::fmt::Display for JobId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}_{}", self.array, self.element)
    }
}

impl JobId {
    fn parse(text: &str) -> Option<Self> {
        let (array, element) = text.split_once('_')?;
        Some(Self { array: array.to_owned(), element: element.parse().ok()? })
    }
}

/// Where a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It waits or runs. The reason says what it waits for.
    Alive {
        /// Slurm's reason.
        reason: String,
    },
    /// It has ended.
    Ended(Ending),
}

/// How a job ended, by Slurm's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Completed,
    Failed,
    Cancelled,
    TimeLimit,
    OutOfMemory,
    /// Its node failed, or it was preempted, and it was not queued again.
    Lost,
}

impl State {
    /// The state that Slurm calls `name`, which may have more words after it, as in `CANCELLED by 1000`.
    fn new(name: &str, reason: &str) -> Self {
        Self::Ended(match name.split([' ', '+']).next().unwrap_or_default() {
            "COMPLETED" => Ending::Completed,
            "FAILED" => Ending::Failed,
            "CANCELLED" => Ending::Cancelled,
            "TIMEOUT" | "DEADLINE" => Ending::TimeLimit,
            "OUT_OF_MEMORY" => Ending::OutOfMemory,
            "NODE_FAIL" | "BOOT_FAIL" | "PREEMPTED" | "REVOKED" => Ending::Lost,
            // Whatever else there is, such as `SUSPENDED`, passes.
            _ => return Self::Alive { reason: reason.to_owned() },
        })
    }
}

/// A job in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its name, which tells it from another job that got the same id after a restart of the controller.
    pub(super) name: String,
    pub(super) state: State,
}

/// All of the user's jobs that Slurm still lists, those that ended a short time ago included.
pub(super) fn list() -> Result<HashMap<JobId, Listed>, CallError> {
    let format = "--format=%i|%T|%r|%j";
    call("squeue", ["--me", "--noheader", "--array", "--states=all", format]).map(|text| parse(&text))
}

fn parse(text: &str) -> HashMap<JobId, Listed> {
    let line = |line: &str| {
        let mut fields = line.splitn(4, '|');
        let (id, state, reason, name) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        Some((JobId::parse(id.trim())?, Listed { name: name.trim().to_owned(), state: State::new(state, reason) }))
    };
    text.lines().filter_map(line).collect()
}

/// What the accounting says of an ended job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Accounted {
    pub(super) name: String,
    pub(super) state: State,
    /// Exit code and signal, as in `1:0`.
    pub(super) exit: String,
}

/// What the accounting says of these jobs; nothing where there is no accounting.
pub(super) fn accounting(ids: &[JobId]) -> HashMap<JobId, Accounted> {
    let list: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let jobs = format!("--jobs={}", list.join(","));
    let format = "--format=JobID,State,ExitCode,JobName";
    let text = call("sacct", ["--noheader", "--parsable2", "--allocations", jobs.as_str(), format]).unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.splitn(4, '|');
        let (id, state, exit, name) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let (state, name) = (State::new(state, ""), name.trim().to_owned());
        Some((JobId::parse(id.trim())?, Accounted { name, state, exit: exit.trim().to_owned() }))
    };
    text.lines().filter_map(line).collect()
}

/// Number of ids per call of `scancel`, which keeps its command line short.
const AT_ONCE: usize = 200;

/// Cancels jobs.
pub(super) fn cancel(ids: &[JobId]) -> Result<(), CallError> {
    ids.chunks(AT_ONCE).try_for_each(|ids| {
        let ids = ids.iter().map(ToString::to_string);
        call("scancel", std::iter::once("--quiet".to_owned()).chain(ids)).map(drop)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_read() {
        let text = "12_0|RUNNING|None|dnc:a:b\n12_1|PENDING|Priority|dnc:a:b\n13|RUNNING|None|other\n\
                    14_7|OUT_OF_MEMORY|OutOfMemory|dnc:x|y\n";
        let listed = parse(text);
        let id = |array: &str, element| JobId { array: array.into(), element };
        assert_eq!(listed.len(), 3, "jobs outside of arrays are not ours");
        assert_eq!(listed[&id("12", 1)].state, State::Alive { reason: "Priority".into() });
        let dead = Listed { name: "dnc:x|y".into(), state: State::Ended(Ending::OutOfMemory) };
        assert_eq!(listed[&id("14", 7)], dead);
    }

    #[test]
    fn states_have_more_words_after_them() {
        assert_eq!(State::new("CANCELLED by 1000", ""), State::Ended(Ending::Cancelled));
        assert_eq!(State::new("NODE_FAIL", ""), State::Ended(Ending::Lost));
        assert_eq!(State::new("COMPLETING", "x"), State::Alive { reason: "x".into() });
    }
}
