//! `--progress bar`: one bar for the run and one for each running node, redrawn in place.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::plain;
use super::sink::Sink;
use crate::execute::{Event, Outcome};

const REDRAW: Duration = Duration::from_millis(200);

/// Template of the bar for the run.
const NODES: &str = "{msg} {bar:30} {pos}/{len} nodes {elapsed}";

/// Draws bars on a terminal.
pub struct Bar {
    screen: MultiProgress,
    whole: ProgressBar,
    nodes: HashMap<String, ProgressBar>,
    /// What is sent to the remote and fetched from it.
    transfers: HashMap<bool, ProgressBar>,
}

impl Bar {
    /// Bars on standard error.
    pub fn new() -> Self {
        let screen = MultiProgress::new();
        let whole = screen.add(ProgressBar::no_length());
        whole.set_style(style(NODES));
        Self { screen, whole, nodes: HashMap::new(), transfers: HashMap::new() }
    }

    fn line(&self, line: &str) {
        // Printing above the bars fails only if standard error is closed.
        drop(self.screen.println(line));
    }
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

impl Sink for Bar {
    fn event(&mut self, event: &Event) {
        match event {
            Event::SourceProgress { stage, param, done, total } => {
                self.whole.set_length(*total);
                self.whole.set_position(*done);
                self.whole.set_message(format!("`{param}` of `{stage}`"));
                self.whole.set_style(style("{msg} {bar:30} {bytes} of {total_bytes} hashed {eta}"));
            }
            Event::RemoteProgress { sends, done, total } => {
                if done >= total {
                    self.transfers.remove(sends).iter().for_each(ProgressBar::finish_and_clear);
                    return;
                }
                let bar = self.transfers.entry(*sends).or_insert_with(|| {
                    let bar = self.screen.insert_before(&self.whole, ProgressBar::no_length());
                    bar.set_style(style("  {msg} {bar:30} {bytes} of {total_bytes} {eta}"));
                    bar.set_message(plain::remote_progress(*sends));
                    bar
                });
                bar.set_length(*total);
                bar.set_position(*done);
            }
            Event::RunStarted { run, nodes } => {
                self.whole.set_position(0);
                self.whole.set_length(*nodes as u64);
                self.whole.set_message(run.clone());
                self.whole.set_style(style(NODES));
            }
            Event::NodeStarted { node, why } => {
                let bar = self.screen.insert_before(&self.whole, ProgressBar::no_length());
                bar.set_style(style("  {prefix} {spinner} {msg}"));
                bar.set_prefix(node.clone());
                bar.set_message(why.clone());
                bar.enable_steady_tick(REDRAW);
                self.nodes.insert(node.clone(), bar);
            }
            Event::NodeWaits { node, holder } => self.line(&format!("{node}: waiting for {holder}")),
            Event::NodeProgress { node, done, total, unit } => {
                if let Some(bar) = self.nodes.get(node) {
                    if bar.length() != Some(*total) && *total > 0 {
                        bar.set_length(*total);
                        bar.set_style(style("  {prefix} {bar:30} {pos}/{len} {msg} {eta}"));
                    }
                    bar.set_message(unit.clone());
                    bar.set_position(*done);
                }
            }
            Event::NodeFinished { node, outcome, took, error, finished, nodes } => {
                if let Some(bar) = self.nodes.remove(node) {
                    bar.finish_and_clear();
                }
                if matches!(outcome, Outcome::Ran | Outcome::Failed | Outcome::Skipped) {
                    self.line(&plain::finished_line(node, *outcome, *took, error.as_deref(), *finished, *nodes));
                }
                self.whole.set_position(*finished as u64);
            }
            Event::Warning { node, message } => self.line(&plain::warning(node, message)),
            Event::Notice { node, message } => self.line(&plain::notice(node.as_deref(), message)),
            Event::NodeLog { .. } => {}
            Event::RunFinished { outcomes, took } => {
                self.transfers.drain().for_each(|(_, bar)| bar.finish_and_clear());
                self.whole.finish_and_clear();
                eprintln!("{}", plain::summary(*outcomes, *took));
            }
        }
    }
}

/// A bar with this template, which must be valid.
pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("templates are constants")
}
