//! Ctrl-C, SIGTERM and SIGHUP: the first signal stops the run cleanly, the second kills it at once, with the programs that it started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io, thread};

use dnc_stages::command;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

/// Exit code of an interrupted run.
pub const INTERRUPTED: u8 = 130;

/// Installs the signal handlers and returns the flag that they set.
///
/// # Errors
/// A signal handler or the thread that waits for signals cannot be installed.
pub fn on_signals() -> io::Result<Arc<AtomicBool>> {
    handle(true)
}

/// As [`on_signals`], but no signal kills: a batch system sends several, and kills what does not stop in time.
///
/// # Errors
/// A signal handler or the thread that waits for signals cannot be installed.
pub fn on_signals_of_a_batch_system() -> io::Result<Arc<AtomicBool>> {
    handle(false)
}

fn handle(second_kills: bool) -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    // Started with `nohup`, the process keeps ignoring SIGHUP.
    let hang_up = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    let mut signals = Signals::new([SIGINT, SIGTERM].into_iter().chain(hang_up))?;
    let asked = Arc::clone(&stop);
    thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            if asked.swap(true, Ordering::Relaxed) && second_kills {
                command::kill_all();
                low_level::exit(INTERRUPTED.into());
            }
        }
    })?;
    Ok(stop)
}

/// Whether this process was started with the signal ignored; assumed where the system does not say.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_none_or(|ignored| ignored & (1 << (signal - 1)) != 0)
}
