//! Running a program in its own process group: its output goes to the node's log, and it is killed with everything that it
//! started if it exceeds its time limit or the run is cancelled.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use super::error::CommandError;
use super::output_lines::OutputLines;
use crate::api::{Context, StageError};

/// How often a program without output is checked for its end, its time limit and cancellation.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// First pause while waiting for a program that has closed its output. Most such programs end at once.
const MIN_PAUSE: Duration = Duration::from_micros(50);

/// Bytes of output read at a time.
const READ_BUFFER: usize = 8192;

/// Reads after the program has ended: a pipe of 64 KiB holds no more of its output.
const READS_AFTER_END: usize = (64 << 10) / READ_BUFFER + 1;

/// A program's name in messages, and how long it may run.
pub(super) struct Limits<'a> {
    pub(super) program: &'a str,
    pub(super) seconds: Option<f64>,
}

/// Runs the program to its end and returns its status and its output.
pub(super) fn run(
    mut command: Command,
    limits: &Limits<'_>,
    context: &Context<'_>,
) -> Result<(ExitStatus, OutputLines), StageError> {
    let path = PathBuf::from(command.get_program());
    let failed = |source: io::Error| StageError::file("run", &path, source);
    let (mut reader, writer) = io::pipe().map_err(failed)?;
    command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    let mut running = Running::start(&mut command).map_err(failed)?;
    // The command holds the write end of the pipe; reading ends only once all copies of it are closed.
    drop(command);
    let limit = limits.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut output = OutputLines::default();
    let (mut has_ended, mut reads_left) = (false, READS_AFTER_END);
    // Programs left running in the background may keep the pipe open and write to it forever.
    while reads_left > 0 {
        has_ended = has_ended || running.child.try_wait().map_err(failed)?.is_some();
        if is_readable(&reader).map_err(failed)? {
            let mut bytes = [0; READ_BUFFER];
            let count = reader.read(&mut bytes).map_err(failed)?;
            if count == 0 {
                break;
            }
            output.push(&bytes[..count], context);
            reads_left -= usize::from(has_ended);
        } else if has_ended {
            break;
        }
        stop_if_due(&mut running, limits, deadline, context).inspect_err(|_| output.finish(context))?;
    }
    output.finish(context);
    // A program may close its output long before it ends.
    let mut pause = MIN_PAUSE;
    loop {
        if let Some(status) = running.child.try_wait().map_err(failed)? {
            running.kill_group().map_err(|source| StageError::file("stop", limits.program, source))?;
            return Ok((status, output));
        }
        stop_if_due(&mut running, limits, deadline, context)?;
        thread::sleep(pause);
        pause = (2 * pause).min(POLL_INTERVAL);
    }
}

/// Kills the program and fails if its deadline has passed or the run is cancelled.
fn stop_if_due(
    running: &mut Running,
    limits: &Limits<'_>,
    deadline: Option<Instant>,
    context: &Context<'_>,
) -> Result<(), StageError> {
    let is_late = deadline.is_some_and(|deadline| Instant::now() > deadline);
    if !is_late && context.check_cancelled().is_ok() {
        return Ok(());
    }
    running.stop().map_err(|source| StageError::file("stop", limits.program, source))?;
    context.check_cancelled()?;
    let (program, seconds) = (limits.program.to_owned(), limits.seconds.unwrap_or_default());
    Err(CommandError::ProgramTimedOut { program, seconds }.into())
}

/// Whether there is something to read, or the end of the output; waits up to [`POLL_INTERVAL`] for it.
fn is_readable(reader: &impl AsFd) -> io::Result<bool> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: POLL_INTERVAL.subsec_nanos().into() };
    match poll(&mut [PollFd::new(reader, PollFlags::IN)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Process groups of the running programs. Global because the operating system's processes are: a second Ctrl-C ends this
/// process at once and must take its children with it.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// The running process groups. A panic cannot leave the list half-written, so a poisoned lock is used as it is.
fn groups() -> MutexGuard<'static, Vec<Pid>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills all running programs and everything that they started. Called when this process is about to end.
pub fn kill_all() {
    for &group in groups().iter() {
        // Killing fails only if the group has already ended.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// A running program, the leader of its process group.
struct Running {
    child: Child,
    group: Pid,
}

impl Running {
    fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        let group = Pid::from_child(&child);
        groups().push(group);
        Ok(Self { child, group })
    }

    /// Kills what is left of the process group.
    fn kill_group(&self) -> io::Result<()> {
        match kill_process_group(self.group, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills the program and everything that it started, and waits for its end.
    fn stop(&mut self) -> io::Result<()> {
        self.kill_group()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        groups().retain(|group| *group != self.group);
    }
}
