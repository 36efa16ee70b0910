//! Runs one piece of work in this process and answers for it, whatever happens.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use dnc_stages::api::{DeviceChoice, Stage as _};
use dnc_stages::command::Command;

use super::attempt::attempt;
use super::event::Event;
use super::host::Host;
use super::memory::MemoryWatch;
use super::observer::NodeObserver;
use super::panics;
use super::thread_share::ThreadShare;
use super::usage::Usage;
use super::work::{Answer, Attempt, Work};
use super::workers::NodePool;

/// Runs one piece of work on the current thread and the threads of `share`.
pub(super) fn run_work(work: &Work, share: &Arc<ThreadShare>, pool: &mut NodePool, host: &Host) -> Answer {
    let index = work.index;
    let listener = host.listener.as_ref();
    if host.stop.load(Ordering::Relaxed) {
        return Answer { index, attempt: Attempt::Cancelled, usage: Usage::default(), warnings: Vec::new() };
    }
    let observer = NodeObserver::new(listener, &work.node);
    let begin = || listener.event(&Event::NodeStarted { node: work.node.clone(), why: work.why.clone() });
    let begun = Instant::now();
    // What a program uses is not in this process.
    let memory = (work.task.fingerprint.stage != Command::NAME).then(MemoryWatch::start);
    // The driver waits for an answer, whatever happens here.
    let ended = panic::catch_unwind(AssertUnwindSafe(|| attempt(work, share, host, &observer, pool, &begin)));
    let attempt = ended.unwrap_or_else(|payload| {
        let message = panics::text_of(payload.as_ref());
        Attempt::Failed {
            message: format!("It panicked outside of its stage (this is a bug, please report it): {message}"),
        }
    });
    let (measured, warnings) = observer.into_parts();
    let usage = Usage {
        took: begun.elapsed(),
        threads: share.most(),
        gpu: match work.device {
            DeviceChoice::Cuda(gpu) if work.needs.device => Some(gpu),
            _ => None,
        },
        peak_memory: memory.and_then(|memory| memory.peak()),
        measured,
    };
    Answer { index, attempt, usage, warnings }
}
