//! What becomes of a task whose job ended without an answer.

use std::path::Path;

use super::queue::Ending;
use super::request::Request;

/// How often a task is tried again whose job vanished through no fault of its own.
const LOST_AT_MOST: u32 = 3;

/// What is known of a task whose job ended without an answer.
pub(super) struct Death<'a> {
    /// Id of the job.
    pub(super) job: &'a str,
    /// Stage of the node.
    pub(super) stage: &'a str,
    /// How the job ended; `None` if Slurm no longer knows it.
    pub(super) ending: Option<Ending>,
    /// Exit code of the task's process, if it is known.
    pub(super) exit: Option<i32>,
    /// Exit code and signal of the job by Slurm's account, if there is one.
    pub(super) accounted: Option<&'a str>,
    /// Whether a signal stopped the process.
    pub(super) is_stopped: bool,
    /// Whether the process has begun.
    pub(super) has_begun: bool,
    /// Whether the node saved some of its work that a further attempt will use.
    pub(super) has_progressed: bool,
    /// How often the task was lost before.
    pub(super) lost: u32,
    /// What the job asked for.
    pub(super) request: &'a Request,
    /// Log of the task.
    pub(super) log: &'a Path,
    /// Output of the job.
    pub(super) output: &'a Path,
    /// The last lines of both.
    pub(super) last_lines: &'a str,
}

/// What becomes of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is submitted again, and does not count as lost.
    GoOn,
    /// It is submitted again, and counts as lost.
    Retry,
    /// Its node has failed, for this reason.
    Failed(String),
}

impl Death<'_> {
    pub(super) fn verdict(&self) -> Verdict {
        let stopped = self.is_stopped || self.ending == Some(Ending::TimeLimit);
        match self.ending {
            Some(Ending::OutOfMemory) => {
                self.fail("ran out of memory", Some(self.request.remedy("memory", self.stage)))
            }
            Some(Ending::Cancelled) => self.fail("was cancelled by somebody else than this run", None),
            _ if self.exit == Some(137) => self.fail(
                "was killed (signal 9), probably because it ran out of memory",
                Some(self.request.remedy("memory", self.stage)),
            ),
            _ if self.exit.is_some() => self.fail("ended without an answer", None),
            // It waited in a group behind a task that was stopped.
            _ if stopped && !self.has_begun => Verdict::GoOn,
            _ if stopped && self.has_progressed => Verdict::GoOn,
            _ if stopped => self.fail(
                "reached its time limit before the node saved any work to go on from",
                Some(self.request.remedy("time", self.stage)),
            ),
            _ if self.lost < LOST_AT_MOST => Verdict::Retry,
            Some(Ending::Failed) => self.fail("failed before the node could answer", None),
            _ => self.fail(&format!("was lost {} times in a row", self.lost + 1), None),
        }
    }

    fn fail(&self, what: &str, remedy: Option<String>) -> Verdict {
        let exit = match (self.exit, self.accounted) {
            (Some(code), _) => format!(" (exit code {code})"),
            (None, Some(exit)) => format!(" (exit code {exit})"),
            (None, None) => String::new(),
        };
        let remedy = remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
        let (log, output) = (self.log.display(), self.output.display());
        let last = match self.last_lines {
            "" => String::new(),
            lines => format!("; last lines: {lines}"),
        };
        Verdict::Failed(format!("Slurm job {} {what}{exit}{remedy}; see `{log}` and `{output}`{last}", self.job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request { options: Vec::new(), cpus: 1, group: 1, memory: Some("4G".into()), time: None }
    }

    fn death(request: &Request) -> Death<'_> {
        Death {
            job: "12_3",
            stage: "train",
            ending: None,
            exit: None,
            accounted: None,
            is_stopped: false,
            has_begun: true,
            has_progressed: false,
            lost: 0,
            request,
            log: Path::new("a.log"),
            output: Path::new("b-3.out"),
            last_lines: "",
        }
    }

    #[test]
    fn messages_say_what_to_raise() {
        let request = request();
        let check = |death: Death<'_>, expected: &str| match death.verdict() {
            Verdict::Failed(message) => assert!(message.contains(expected), "{message}"),
            other => panic!("{expected}: {other:?}"),
        };
        let memory = "raise `memory`, now 4G, in `[executor.slurm.stage.train]`";
        check(Death { ending: Some(Ending::OutOfMemory), ..death(&request) }, memory);
        check(Death { exit: Some(137), ..death(&request) }, memory);
        check(Death { ending: Some(Ending::TimeLimit), ..death(&request) }, "raise `time`, which is not set");
        check(Death { ending: Some(Ending::Cancelled), ..death(&request) }, "cancelled by somebody else");
        let failed = Death { exit: Some(101), last_lines: "boom", ..death(&request) };
        check(
            failed,
            "Slurm job 12_3 ended without an answer (exit code 101); see `a.log` and `b-3.out`; last lines: boom",
        );
        check(Death { ending: Some(Ending::Lost), lost: 3, ..death(&request) }, "was lost 4 times in a row");
    }

    #[test]
    fn what_can_go_on_goes_on() {
        let request = request();
        let check = |death: Death<'_>, expected| assert_eq!(death.verdict(), expected);
        check(Death { ending: Some(Ending::TimeLimit), has_progressed: true, ..death(&request) }, Verdict::GoOn);
        check(
            Death { ending: Some(Ending::Failed), is_stopped: true, has_begun: false, ..death(&request) },
            Verdict::GoOn,
        );
        check(Death { ending: Some(Ending::Lost), ..death(&request) }, Verdict::Retry);
        check(Death { lost: 2, ..death(&request) }, Verdict::Retry);
    }
}
