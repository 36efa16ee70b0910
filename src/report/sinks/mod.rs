//! How progress is shown: bars on a terminal, plain lines elsewhere, JSON for programs, or only failures. All of it goes to
//! standard error: standard output is for results.
//!
//! To add a style: write its file with an `impl Sink`, and add a line to [`Progress`] and [`choose`].

pub mod bar;
mod json;
mod labelled;
mod plain;
mod quiet;
mod sink;

use std::io::IsTerminal;

use clap::ValueEnum;

pub use bar::Bar;
pub use json::Json;
pub use labelled::Labelled;
pub use plain::Plain;
pub use quiet::Quiet;
pub use sink::Sink;

/// Progress style, as `--progress` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// One line per event.
    Plain,
    /// Bars that are redrawn in place.
    Bar,
    /// One JSON object per event.
    Json,
}

/// The sink for a progress style; by default bars on a terminal and lines elsewhere. `quiet` overrides the style.
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
