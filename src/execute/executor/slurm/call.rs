//! Calls of Slurm's programs. Each ends within a time limit, since a controller that is down can keep them waiting.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, io, thread};

use rustix::process::{Pid, Signal, kill_process};

/// How long a call may take. `sbatch` itself tries again for a while when the controller is busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The program cannot be started.
    #[error("Cannot start `{program}`: {message}; load Slurm's programs, as in `module load slurm`")]
    NotStarted {
        /// The program.
        program: String,
        /// Why.
        message: String,
    },
    /// Slurm does not answer at present, or takes no more jobs for now.
    #[error("`{program}` failed: {message}")]
    Unavailable {
        /// The program.
        program: String,
        /// What it wrote.
        message: String,
    },
    /// Slurm refuses, and would again.
    #[error("`{program}` failed: {message}")]
    Refused {
        /// The program.
        program: String,
        /// What it wrote.
        message: String,
    },
}

impl CallError {
    fn program(&self) -> &str {
        let (Self::NotStarted { program, .. } | Self::Unavailable { program, .. } | Self::Refused { program, .. }) =
            self;
        program
    }
}

/// The programs that fail at present. Each is reported once, until it works again.
#[derive(Debug, Default)]
pub(super) struct FailingPrograms(HashSet<String>);

impl FailingPrograms {
    /// Notes a failure. Returns whether the program worked before.
    pub(super) fn add(&mut self, error: &CallError) -> bool {
        self.0.insert(error.program().to_owned())
    }

    /// Notes that a program works.
    pub(super) fn remove(&mut self, program: &str) {
        self.0.remove(program);
    }
}

/// What Slurm's programs write when a later call may succeed.
const PASSING: [&str; 14] = [
    "unable to contact",
    "timed out",
    "connection refused",
    "connection reset",
    "temporarily",
    "standby mode",
    "zero bytes",
    "communication",
    "unexpected message",
    "submit limit",
    "submitjoblimit",
    "job count limit",
    "maxsubmitjob",
    "try again",
];

/// Variables with which a user configures every call of Slurm's programs, inside a job as well.
const OF_USER: [&str; 7] = [
    "SLURM_CONF",
    "SLURM_CLUSTERS",
    "SLURM_JWT",
    "SLURM_UMASK",
    "SLURM_TIME_FORMAT",
    "SLURM_DEBUG_FLAGS",
    "SLURM_EXIT_ERROR",
];

/// Whether a variable describes the job that this process may run in, or would change what `sbatch` does here. `sbatch` reads some of them
/// as options, and passes all on to the next job.
fn is_of_a_job(name: &str, is_in_job: bool) -> bool {
    let is_set_by_slurm = name.starts_with("SLURM_") || name.starts_with("SLURMD_");
    let binds = name.starts_with("SBATCH_CPU_BIND") || name.starts_with("SBATCH_MEM_BIND");
    let is_set_in_job = (is_set_by_slurm && !OF_USER.contains(&name)) || binds;
    (is_in_job && is_set_in_job) || ["SBATCH_ARRAY_INX", "SBATCH_WAIT"].contains(&name)
}

/// Runs `program` and returns what it wrote to standard output.
pub(super) fn call<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Result<String, CallError> {
    let not_started = |error: io::Error| CallError::NotStarted { program: program.into(), message: error.to_string() };
    let is_in_job = env::var_os("SLURM_JOB_ID").is_some();
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut command = Command::new(program);
    for name in names.filter(|name| is_of_a_job(name, is_in_job)) {
        command.env_remove(name);
    }
    let child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal reaches a whole process group, and a submission must not be cut off half-way.
        .process_group(0)
        .spawn()
        .map_err(not_started)?;
    let process = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    let waiting = thread::spawn(move || drop(sender.send(child.wait_with_output())));
    let output: Output = match receiver.recv_timeout(PATIENCE) {
        Ok(output) => output.map_err(not_started)?,
        Err(_) => {
            // It may have ended meanwhile.
            let _ = kill_process(process, Signal::KILL);
            let message = format!("it gave no answer within {} s", PATIENCE.as_secs());
            return Err(CallError::Unavailable { program: program.into(), message });
        }
    };
    // It has sent its last message.
    let _ = waiting.join();
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(refusal(program, &lines.join("; ")))
}

fn refusal(program: &str, message: &str) -> CallError {
    let (program, message) = (program.to_owned(), message.to_owned());
    let lower = message.to_lowercase();
    match PASSING.iter().any(|passing| lower.contains(passing)) {
        true => CallError::Unavailable { program, message },
        false => CallError::Refused { program, message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        let check = |message: &str, passes: bool| {
            assert_eq!(matches!(refusal("sbatch", message), CallError::Unavailable { .. }), passes, "{message}");
        };
        check("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", true);
        check("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", true);
        check("sbatch: error: QOSMaxSubmitJobPerUserLimit", true);
        check("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", true);
        check("sbatch: error: invalid partition specified: gpu", false);
        check("sbatch: error: Batch job submission failed: Requested node configuration is not available", false);
    }

    #[test]
    fn a_program_that_keeps_failing_is_reported_once_although_others_work() {
        let mut failing = FailingPrograms::default();
        let error = refusal("sbatch", "sbatch: error: QOSMaxSubmitJobPerUserLimit");
        assert!(failing.add(&error));
        failing.remove("squeue");
        assert!(!failing.add(&error) && failing.add(&refusal("squeue", "")));
        failing.remove("sbatch");
        assert!(failing.add(&error));
    }

    #[test]
    fn variables_of_a_job_are_told_from_those_of_its_user() {
        let check = |name: &str, outside: bool, inside: bool| {
            assert_eq!((is_of_a_job(name, false), is_of_a_job(name, true)), (outside, inside), "{name}");
        };
        check("SLURM_CPUS_PER_TASK", false, true);
        check("SLURMD_NODENAME", false, true);
        check("SBATCH_MEM_BIND_LIST", false, true);
        check("SBATCH_ARRAY_INX", true, true);
        check("SLURM_CONF", false, false);
        check("SBATCH_ACCOUNT", false, false);
        check("PATH", false, false);
    }

    #[test]
    fn output_and_failure_are_returned() {
        assert_eq!(call("echo", ["a"]), Ok("a\n".to_owned()));
        let failed = call("sh", ["-c", "echo 'no such partition' >&2; exit 3"]);
        assert_eq!(failed, Err(CallError::Refused { program: "sh".into(), message: "no such partition".into() }));
        assert!(matches!(call("no-such-program", [""; 0]), Err(CallError::NotStarted { .. })));
    }
}
