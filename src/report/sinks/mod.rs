//! How a run is told: bars on a terminal, plain lines elsewhere, JSON for programs, or not at all. All of it goes to
//! standard error: standard output is for results.

pub(crate) mod bar;
mod json;
mod plain;

use std::io::IsTerminal;

pub use bar::Bar;
use clap::ValueEnum;
pub use json::Json;
pub use plain::Plain;

use super::event::{Event, Sink};

/// What `--progress` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// A line an event.
    Plain,
    /// Bars that are redrawn.
    Bar,
    /// A JSON object an event.
    Json,
}

/// The sink that the user chose; without a choice, bars on a terminal and lines elsewhere.
pub fn choose(progress: Option<Progress>, quiet: bool) -> Box<dyn Sink> {
    if quiet {
        return Box::new(Quiet);
    }
    match progress {
        Some(Progress::Json) => Box::new(Json),
        Some(Progress::Bar) => Box::new(Bar::new()),
        Some(Progress::Plain) => Box::new(Plain::default()),
        None if std::io::stderr().is_terminal() => Box::new(Bar::new()),
        None => Box::new(Plain::default()),
    }
}

/// Tells nothing but failures and notices.
struct Quiet;

impl Sink for Quiet {
    fn tell(&mut self, event: &Event) {
        match event {
            Event::NodeFinished { node, error: Some(error), .. } => eprintln!("{node} failed: {error}"),
            Event::Notice { .. } => eprintln!("{}", plain::notice(event)),
            _ => {}
        }
    }
}
