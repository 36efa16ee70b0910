//! `--progress plain`: one line per event, readable in a log file. [`Plain::line`] is also for programs that print by themselves.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::HumanBytes;

use super::sink::Sink;
use crate::execute::{Event, Outcome, Outcomes};

/// Prints lines. Progress is shown per tenth of a node, to keep logs short.
#[derive(Default)]
pub struct Plain {
    tenths: HashMap<String, u64>,
}

impl Plain {
    /// The line for an event; `None` for one that is not shown.
    pub fn line(&mut self, event: &Event) -> Option<String> {
        Some(match event {
            Event::RunStarted { run, nodes } => format!("Run {run}: {nodes} nodes"),
            Event::NodeStarted { node, why } => format!("{node}: started ({why})"),
            Event::NodeWaits { node, holder } => format!("{node}: waiting for {holder}"),
            Event::NodeProgress { node, done, total, unit } => {
                let is_next = self.is_next_tenth(node, *done, *total);
                return is_next.then(|| format!("{node}: {done} of {total} {unit}"));
            }
            Event::SourceProgress { stage, param, done, total } => {
                let source = format!("`{param}` of `{stage}`");
                let is_next = self.is_next_tenth(&source, *done, *total);
                return is_next.then(|| format!("{source}: hashed {} of {}", HumanBytes(*done), HumanBytes(*total)));
            }
            Event::RemoteProgress { sends, done, total } => {
                let what = remote_progress(*sends);
                let is_next = self.is_next_tenth(what, *done, *total);
                if done >= total {
                    self.tenths.remove(what);
                }
                return is_next.then(|| format!("{what}: {} of {}", HumanBytes(*done), HumanBytes(*total)));
            }
            Event::NodeFinished { outcome: Outcome::Hit | Outcome::Cancelled, .. } | Event::NodeLog { .. } => {
                return None;
            }
            Event::NodeFinished { node, outcome, took, error, finished, nodes } => {
                self.tenths.remove(node);
                finished_line(node, *outcome, *took, error.as_deref(), *finished, *nodes)
            }
            Event::Warning { node, message } => warning(node, message),
            Event::Notice { node, message } => notice(node.as_deref(), message),
            Event::RunFinished { outcomes, took } => summary(*outcomes, *took),
        })
    }

    /// Whether another tenth is done, but not everything.
    fn is_next_tenth(&mut self, of: &str, done: u64, total: u64) -> bool {
        let tenth = (done * 10).checked_div(total).unwrap_or(0);
        let shown = self.tenths.entry(of.to_owned()).or_default();
        let is_next = tenth > *shown && done < total;
        *shown = tenth.max(*shown);
        is_next
    }
}

impl Sink for Plain {
    fn event(&mut self, event: &Event) {
        if let Some(line) = self.line(event) {
            eprintln!("{line}");
        }
    }
}

/// The line for a node that finished.
pub(super) fn finished_line(
    node: &str,
    outcome: Outcome,
    took: Duration,
    error: Option<&str>,
    finished: usize,
    nodes: usize,
) -> String {
    let what = match (outcome, error) {
        (Outcome::Failed, Some(error)) => format!("failed after {:.1} s: {error}", took.as_secs_f64()),
        (Outcome::Ran, _) => format!("done in {:.1} s", took.as_secs_f64()),
        (outcome, _) => outcome.to_string(),
    };
    format!("[{finished}/{nodes}] {node}: {what}")
}

/// What is copied from or to the remote.
pub(super) fn remote_progress(sends: bool) -> &'static str {
    if sends { "sent to the remote" } else { "fetched from the remote" }
}

/// The line for a notice.
pub(super) fn notice(node: Option<&str>, message: &str) -> String {
    node.map_or_else(|| format!("note: {message}"), |node| format!("note: {node}: {message}"))
}

/// The line for a warning. Names of files and classes may hold line breaks and what steers a terminal, which are written as in Rust.
pub(super) fn warning(node: &str, message: &str) -> String {
    let mut line = format!("warning: {node}: ");
    for symbol in message.chars() {
        match symbol.is_control() {
            true => line.extend(symbol.escape_default()),
            false => line.push(symbol),
        }
    }
    line
}

/// The last line of a run.
pub(super) fn summary(outcomes: Outcomes, took: Duration) -> String {
    let Outcomes { hit, ran, failed, skipped, cancelled } = outcomes;
    let mut parts = vec![format!("{hit} hit"), format!("{ran} ran")];
    for (count, what) in [(failed, "failed"), (skipped, "skipped"), (cancelled, "cancelled")] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    format!("{} in {:.2} s", parts.join(", "), took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transfer_is_shown_per_tenth() {
        let mut plain = Plain::default();
        for _ in 0..2 {
            let lines: Vec<String> = [99, 100, 199, 650, 1000]
                .into_iter()
                .filter_map(|done| plain.line(&Event::RemoteProgress { sends: false, done, total: 1000 }))
                .collect();
            let expected = ["fetched from the remote: 100 B of 1000 B", "fetched from the remote: 650 B of 1000 B"];
            assert_eq!(lines, expected);
        }
    }

    #[test]
    fn a_warning_is_one_line_whatever_files_are_called() {
        assert_eq!(warning("decode", "`a\nb\u{1b}[2J` is ß"), "warning: decode: `a\\nb\\u{1b}[2J` is ß");
    }
}
