//! `--quiet`: only failures, warnings and notices.

use super::plain::{notice, warning};
use super::sink::Sink;
use crate::execute::Event;

/// Prints failures, warnings and notices, and nothing else.
pub struct Quiet;

impl Sink for Quiet {
    fn event(&mut self, event: &Event) {
        match event {
            Event::NodeFinished { node, error: Some(error), .. } => eprintln!("{node} failed: {error}"),
            Event::Warning { node, message } => eprintln!("{}", warning(node, message)),
            Event::Notice { node, message } => eprintln!("{}", notice(node.as_deref(), message)),
            _ => {}
        }
    }
}
