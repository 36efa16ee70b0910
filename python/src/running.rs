//! A run in progress. It runs on a thread of its own; Python takes its events one after the other, and so hears of Ctrl-C in between.

use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dnc_run::execute::{Event, Outcome};
use dnc_run::manifest::Override;
use dnc_run::plan::Plan;
use dnc_run::project::{Folders, Project};
use dnc_run::report::sinks::{Plain, Sink};
use dnc_run::session::{FinishedRun, RunOptions, Session, SessionError};
use dnc_stages::api::DeviceChoice;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::boundary::{Problem, free, handle, panic_message, parsed, text};

/// What is run, and how.
#[derive(Deserialize)]
struct Request {
    manifest: PathBuf,
    /// Overrides, such as `stage.train.epochs=2`.
    set: Vec<String>,
    device: String,
    store: Option<PathBuf>,
    runs: Option<PathBuf>,
    from: Option<String>,
    until: Option<String>,
    threads: Option<usize>,
}

/// A run in progress; [`dnc_free_running`] frees it.
pub struct Running {
    events: Mutex<Receiver<Value>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic was reported as an event.
            drop(thread.join());
        }
    }
}

/// Starts a run. An error of the manifest is the first event.
///
/// # Safety
/// `request` is JSON that ends with a zero, and `error` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_start(request: *const c_char, error: *mut *mut c_char) -> *mut Running {
    // SAFETY: by the caller's promise.
    unsafe {
        handle(error, || {
            let request: Request = parsed(request)?;
            let (sender, receiver) = channel();
            let stop = Arc::new(AtomicBool::new(false));
            let asked = Arc::clone(&stop);
            let thread = thread::Builder::new().name("dnc-run".to_owned()).spawn(move || {
                let ended = catch_unwind(AssertUnwindSafe(|| run(&request, &sender, &asked)));
                let last = match ended {
                    Ok(Ok(ended)) => ended,
                    Ok(Err(Problem(message))) => json!({ "event": "error", "message": message }),
                    Err(panic) => json!({ "event": "error", "message": panic_message(panic.as_ref()) }),
                };
                // Nobody listens any more if the handle was freed.
                drop(sender.send(last));
            })?;
            Ok(Running { events: Mutex::new(receiver), stop, thread: Some(thread) })
        })
    }
}

/// The next event as JSON, which is that of `--progress json` with its plain line as `line`. The last one is `ended` or `error`; after it
/// there are only events `closed`. Null if none comes within this time.
///
/// # Safety
/// `running` is a handle of this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_next_event(running: *const Running, milliseconds: u64) -> *mut c_char {
    // SAFETY: by the caller's promise.
    let running = unsafe { &*running };
    let events = running.events.lock().unwrap_or_else(PoisonError::into_inner);
    match events.recv_timeout(Duration::from_millis(milliseconds)) {
        Ok(event) => text(&event.to_string()),
        Err(RecvTimeoutError::Timeout) => ptr::null_mut(),
        Err(RecvTimeoutError::Disconnected) => text(&json!({ "event": "closed" }).to_string()),
    }
}

/// Asks the run to stop. It ends soon after, with an event.
///
/// # Safety
/// `running` is a handle of this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_stop(running: *const Running) {
    // SAFETY: by the caller's promise.
    unsafe { &*running }.stop.store(true, Ordering::Relaxed);
}

/// Stops the run if it goes on, waits for its end, and frees it.
///
/// # Safety
/// `running` is null or a handle of this library that is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_free_running(running: *mut Running) {
    // SAFETY: by the caller's promise.
    unsafe { free(running) };
}

/// Passes events on.
struct Channel {
    sender: Sender<Value>,
    plain: Plain,
}

impl Sink for Channel {
    fn event(&mut self, event: &Event) {
        if matches!(event, Event::NodeLog { .. }) {
            return;
        }
        let Ok(mut value) = serde_json::to_value(event) else { return };
        value["line"] = self.plain.line(event).into();
        drop(self.sender.send(value));
    }
}

fn run(request: &Request, sender: &Sender<Value>, stop: &Arc<AtomicBool>) -> Result<Value, Problem> {
    let folders = Folders { store: request.store.clone(), runs: request.runs.clone() };
    let project = Project::containing(&request.manifest, &folders)?;
    let device: DeviceChoice = request.device.parse().map_err(Problem)?;
    let overrides: Result<Vec<Override>, _> = request.set.iter().map(|text| Override::set(text)).collect();
    let overrides = overrides.map_err(SessionError::from)?;
    let session = Session::new(request.manifest.clone(), project, device).with(overrides);
    let plan = session.plan()?;
    let mut options = RunOptions::new(&plan, device);
    if let Some(selection) = &request.until {
        options = options.until(&plan, selection)?;
    }
    if let Some(selection) = &request.from {
        options = options.from(&plan, selection)?;
    }
    if let Some(threads) = request.threads {
        if threads == 0 {
            return Err(Problem("`threads` is 0, but must be at least 1".to_owned()));
        }
        (options.limits.threads, options.limits.jobs) = (threads, threads);
    }
    let sink = Box::new(Channel { sender: sender.clone(), plain: Plain::default() });
    Ok(ended(&plan, &session.run(&plan, &options, sink, stop)?))
}

fn ended(plan: &Plan, run: &FinishedRun) -> Value {
    let failed: Vec<Value> = plan
        .nodes
        .iter()
        .zip(&run.results)
        .filter(|(_, result)| result.outcome == Outcome::Failed)
        .map(|(node, result)| json!({ "node": node.name, "error": result.error }))
        .collect();
    json!({
        "event": "ended",
        "path": run.folder.path,
        "outcomes": run.outcomes,
        "interrupted": run.interrupted,
        "failed": failed,
    })
}
