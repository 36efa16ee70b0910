//! `--progress json`: an event a line, for programs that watch a run.

use crate::report::event::{Event, Sink};

/// Writes every event as a JSON object on its own line.
pub struct Json;

impl Sink for Json {
    fn tell(&mut self, event: &Event) {
        eprintln!("{}", serde_json::to_string(event).expect("events have string keys"));
    }
}
