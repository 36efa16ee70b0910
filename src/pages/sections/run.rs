//! Section 10: the graph of nodes, when they ran, what they took.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use maud::{Markup, html};
use serde_json::Value;

use super::parts::missing;
use crate::execute::{Outcome, Outcomes};
use crate::graph::svg::{self, NodeState};
use crate::pages::analysis::timeline::Timeline;
use crate::pages::charts::gantt;
use crate::pages::error::PagesError;
use crate::pages::evidence::Evidence;
use crate::pages::format::{count, counted, seconds};
use crate::pages::page::Section;
use crate::report::run_folder::NodeJson;

/// Nodes above which the drawing and the list are left out.
const MOST_NODES: usize = 4_000;
/// Bytes at the end of a log that are shown.
const LOG_END: u64 = 4_000;

/// The section.
///
/// # Errors
/// The store cannot be read.
pub(in crate::pages) fn section(run: &Evidence) -> Result<Section, PagesError> {
    let nodes = &run.json.nodes;
    let outcomes: Outcomes = nodes.iter().map(|node| node.outcome).collect();
    let body = html! {
        @if nodes.len() > MOST_NODES {
            (missing(&format!("The drawing and the list of {} nodes are left out; `dnc-run graph` and `run.json` have them.", count(nodes.len()))))
        } @else {
            (graph(run))
            (timeline(run))
            (table(run)?)
        }
        @for node in nodes.iter().filter(|node| node.outcome == Outcome::Failed).take(20) { (failure(run, node)) }
    };
    let lead = html! {
        (count(nodes.len())) " nodes: " (outcomes.ran) " ran, " (outcomes.hit) " were hits"
        @if outcomes.failed > 0 { ", " (outcomes.failed) " failed" }
        @if outcomes.skipped > 0 { ", " (outcomes.skipped) " were skipped" }
        @if outcomes.cancelled > 0 { ", " (outcomes.cancelled) " were cancelled" }
        ". " (seconds(run.json.seconds)) " on " (counted(run.json.threads, "thread", "threads")) ", at most "
        (counted(run.json.jobs, "node", "nodes")) " at a time."
    };
    Ok(Section { id: "run", title: "Run", lead, body })
}

fn graph(run: &Evidence) -> Markup {
    let Some(plan) = &run.plan else {
        return missing("The graph cannot be drawn: this version of dnc-run no longer reads the manifest of this run.");
    };
    let known: BTreeMap<&str, &NodeJson> = run.json.nodes.iter().map(|node| (node.node.as_str(), node)).collect();
    let state = |index: usize| {
        let node = known.get(plan.nodes[index].name.as_str())?;
        Some(NodeState { outcome: node.outcome.to_string(), seconds: node.seconds, reason: reason(node) })
    };
    html! {
        h3 { "Graph" }
        div.graph { (svg::markup(plan, &state)) }
        p.caption { "A column per round, a row per stage; the learners of a round are one box. Paler: found in the store. Point at a box for its \
            nodes, their seconds and why they ran, and at a line for the ports." }
    }
}

/// Why a node ran or failed, in words.
fn reason(node: &NodeJson) -> String {
    if let Some(error) = &node.error {
        return error.clone();
    }
    let Some(reason) = &node.reason else { return String::new() };
    match reason.get("reason").and_then(Value::as_str).unwrap_or_default() {
        "new" => "new".to_owned(),
        "no_record" => "not in the store".to_owned(),
        "lost" => "its outputs were missing from the store or damaged".to_owned(),
        "forced" => "requested with --from".to_owned(),
        "changed" => {
            let changes = reason.get("changes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            changes.iter().map(change).collect::<Vec<_>>().join("; ")
        }
        other => other.to_owned(),
    }
}

fn change(change: &Value) -> String {
    let text = |key: &str| match change.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let name = ["key", "name", "param", "port"].into_iter().map(text).find(|name| !name.is_empty()).unwrap_or_default();
    match (text("old"), text("new")) {
        (old, new) if old.is_empty() && new.is_empty() => format!("{name} changed"),
        (old, new) => format!("{name}: {old} → {new}"),
    }
}

fn timeline(run: &Evidence) -> Markup {
    html! {
        h3 { "Timeline" }
        @match Timeline::new(run) {
            Some(timeline) => {
                @if timeline.spans.is_empty() { p { "No node ran." } }
                @else {
                    div.graph { (gantt::draw(&timeline)) }
                    p.caption {
                        "When each node ran; nodes on the critical path are outlined: the chain of nodes, each waiting for the one before, \
                         that took longest (" (seconds(timeline.critical)) ")."
                    }
                }
                @if timeline.saved > 0.0 { p.caption { "Hits saved " (seconds(timeline.saved)) ": what their records once took." } }
            }
            None => {
                (missing("This run does not say when its nodes began, since it was made before dnc-run recorded it. Run the manifest again \
                    with `--from` a stage, and report that run."))
            }
        }
    }
}

fn table(run: &Evidence) -> Result<Markup, PagesError> {
    let mut rows = Vec::new();
    for node in &run.json.nodes {
        let mut size = None;
        for output in node.outputs.keys() {
            if let Some(artifact) = run.artifact(&node.node, output)? {
                size = Some(size.unwrap_or(0) + artifact.size());
            }
        }
        rows.push((node, size));
    }
    Ok(html! {
        details {
            summary { "All nodes, with what they left in the store" }
            table {
                thead { tr { th { "node" } th { "outcome" } th.n { "seconds" } th.n { "size" } th { "why" } } }
                tbody {
                    @for (node, size) in rows {
                        tr {
                            td { code { (node.node) } } td { (node.outcome) } td.n { (format!("{:.2}", node.seconds)) }
                            td.n { @if let Some(size) = size { (bytes(size)) } }
                            td { (reason(node)) }
                        }
                    }
                }
            }
        }
    })
}

fn bytes(size: u64) -> String {
    super::super::budget::Budget(size as usize).to_string()
}

fn failure(run: &Evidence, node: &NodeJson) -> Markup {
    let log = run.folder.path.join("logs").join(format!("{}.log", node.node));
    html! {
        h3 { "Failed: " code { (node.node) } }
        p { (node.error.as_deref().unwrap_or("no message")) }
        @if let Some(end) = end_of(&log) { pre { (end) } }
    }
}

/// The end of a file, from the start of a line.
fn end_of(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_END))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Some(if length > LOG_END { text.split_once('\n').map_or(text.clone(), |(_, rest)| rest.to_owned()) } else { text })
}
