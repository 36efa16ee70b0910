//! `--progress json`: one JSON object per event, for programs that watch a run.

use super::sink::Sink;
use crate::execute::Event;

/// Prints every event as a JSON object on a line of its own.
pub struct Json;

impl Sink for Json {
    fn event(&mut self, event: &Event) {
        eprintln!("{}", serde_json::to_string(event).expect("events have string keys"));
    }
}
