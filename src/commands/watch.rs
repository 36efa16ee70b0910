//! `dnc-run watch MANIFEST`: runs the manifest whenever it or its data change.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use dnc_cache::Digest;

use super::failure::Failure;
use super::run::RunArgs;
use crate::execute::stop;
use crate::session::Session;

/// Shortest time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A look at many files takes longer; it may take this part of the time.
const PART: u32 = 20;

/// How often Ctrl-C is noticed while nothing is looked at.
const NOTICE_EVERY: Duration = Duration::from_millis(50);

/// Arguments of `watch`: those of a run.
#[derive(Args)]
pub struct WatchArgs {
    #[command(flatten)]
    run: RunArgs,
}

impl WatchArgs {
    /// Runs until the user stops it. Runs that fail are reported, and the next change is waited for.
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.run.detach {
            return Err(Failure::Call("`watch` runs until it is stopped, so it has no `--detach`; use `nohup`".into()));
        }
        if let Some(missing) = self.run.manifest_path().filter(|manifest| !manifest.exists()) {
            return Err(Failure::Call(format!("There is no manifest `{}` to watch", missing.display())));
        }
        let session = self.run.session()?;
        let stop = stop::on_signals().context("Cannot listen to signals")?;
        loop {
            // Taken before the run, so that a change meanwhile starts another one.
            let inputs = self.run.inputs(&session, &stop)?;
            match self.run.run_in(&session, &stop) {
                Err(Failure::Interrupted) => return Err(Failure::Interrupted),
                Err(failure) => drop(failure.report()),
                Ok(()) => {}
            }
            eprintln!("Waiting for a change of the manifest or of the files that it names; Ctrl-C ends");
            self.wait_for_change(&session, inputs.as_deref(), &stop)?;
        }
    }

    fn wait_for_change(&self, session: &Session, inputs: Option<&[Digest]>, stop: &AtomicBool) -> Result<(), Failure> {
        let mut pause = LOOK_EVERY;
        loop {
            let until = Instant::now() + pause;
            while Instant::now() < until {
                if stop.load(Ordering::Relaxed) {
                    return Err(Failure::Interrupted);
                }
                thread::sleep(NOTICE_EVERY);
            }
            let begun = Instant::now();
            // Some editors remove the file before they write it again.
            if let Some(now) = self.run.inputs(session, stop)?
                && inputs != Some(now.as_slice())
            {
                return Ok(());
            }
            pause = LOOK_EVERY.max(PART * begun.elapsed());
        }
    }
}
