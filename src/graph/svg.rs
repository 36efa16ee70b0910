//! SVG: the [`drawing`](super::drawing) of a plan, alone or with what became of each node.

use std::collections::BTreeSet;

use maud::{Markup, PreEscaped, html};

use super::drawing::{Drawing, DrawnBox, DrawnLine};
use crate::plan::{NodeIndex, Plan};

/// What became of a node in a run.
#[derive(Clone, Debug, Default)]
pub struct NodeState {
    /// How it ended: `hit`, `ran`, `failed`, `skipped` or `cancelled`.
    pub outcome: String,
    /// Its seconds.
    pub seconds: f64,
    /// Why it ran or failed.
    pub reason: String,
}

const BOX: (f64, f64) = (176.0, 40.0);
const STEP: (f64, f64) = (230.0, 58.0);
const LEFT: f64 = 8.0;
const TOP: f64 = 34.0;
/// Number of colours for stages.
const HUES: usize = 8;

const STYLE: &str = "
.dag{color-scheme:light dark;--dag-ink:#1b1f24;--dag-soft:#5b6672;--dag-line:#b4bdc7;--dag-paper:#fff;--dag-bad:#c2410c}
@media(prefers-color-scheme:dark){.dag{--dag-ink:#e6eaee;--dag-soft:#a3adb8;--dag-line:#56606b;--dag-paper:#1b1f25;--dag-bad:#ffa04d}}
.dag text{font:12px system-ui,sans-serif;fill:var(--dag-ink)}.dag .soft{font-size:10.5px;fill:var(--dag-soft)}
.dag .column{font-size:12px;font-weight:600}.dag .box{fill:var(--dag-paper);stroke:var(--dag-line)}
.dag .edge{fill:none;stroke:var(--dag-line);stroke-width:1.2}.dag .edge:hover{stroke:var(--dag-ink);stroke-width:2.2}
.dag .hit .box,.dag .hit .hue{opacity:.65}.dag .failed .box{stroke:var(--dag-bad);stroke-width:2.2}
.dag .skipped .box,.dag .cancelled .box{stroke-dasharray:4 3}.dag .failed .soft{fill:var(--dag-bad)}
.dag .h0{fill:#1f6feb}.dag .h1{fill:#15803d}.dag .h2{fill:#9333ea}.dag .h3{fill:#0e7490}.dag .h4{fill:#a16207}.dag .h5{fill:#be185d}
.dag .h6{fill:#64748b}.dag .h7{fill:#b45309}";

/// Draws the plan as SVG.
pub fn draw(plan: &Plan) -> String {
    markup(plan, &|_| None).into_string()
}

/// Draws the plan with the state of each node, for a page or a file.
pub fn markup(plan: &Plan, state: &dyn Fn(NodeIndex) -> Option<NodeState>) -> Markup {
    let drawing = Drawing::new(plan);
    let width = LEFT * 2.0 + STEP.0 * (drawing.columns.len().max(1) - 1) as f64 + BOX.0 + 24.0;
    let height = TOP + STEP.1 * drawing.rows.max(1) as f64;
    html! {
        svg.dag xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height)
            role="img" aria-label="Graph of nodes" {
            style { (PreEscaped(STYLE)) }
            @for (column, heading) in drawing.columns.iter().enumerate() {
                text.column x=(LEFT + STEP.0 * column as f64) y="16" { (heading) }
            }
            @for line in &drawing.lines {
                path.edge d=(route(&drawing, line)) {
                    title { (drawing.boxes[line.from].name) " → " (drawing.boxes[line.to].name) ": " (joined(&line.ports)) }
                }
            }
            @for one in &drawing.boxes { (node(plan, one, state)) }
        }
    }
}

fn joined(ports: &BTreeSet<String>) -> String {
    ports.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn corner(one: &DrawnBox) -> (f64, f64) {
    (LEFT + STEP.0 * one.column as f64, TOP + STEP.1 * one.row as f64)
}

/// From column to column, from the right side to the left side; within a column, an arc at the right side.
fn route(drawing: &Drawing, line: &DrawnLine) -> String {
    let (from, to) = (&drawing.boxes[line.from], &drawing.boxes[line.to]);
    let ((fx, fy), (tx, ty)) = (corner(from), corner(to));
    let (start, end) = ((fx + BOX.0, fy + BOX.1 / 2.0), (tx, ty + BOX.1 / 2.0));
    if from.column == to.column {
        let reach = 10.0 + 5.0 * to.row.abs_diff(from.row) as f64;
        let (x, y) = (tx + BOX.0, end.1);
        return format!(
            "M{:.0} {:.0}C{:.0} {:.0} {:.0} {:.0} {x:.0} {y:.0}",
            start.0,
            start.1,
            start.0 + reach,
            start.1,
            x + reach,
            y
        );
    }
    let middle = (start.0 + end.0) / 2.0;
    format!(
        "M{:.0} {:.0}C{middle:.0} {:.0} {middle:.0} {:.0} {:.0} {:.0}",
        start.0, start.1, start.1, end.1, end.0, end.1
    )
}

fn node(plan: &Plan, one: &DrawnBox, state: &dyn Fn(NodeIndex) -> Option<NodeState>) -> Markup {
    let (x, y) = corner(one);
    let stage = &plan.manifest.stages[one.stage];
    let states: Vec<(NodeIndex, NodeState)> =
        one.nodes.iter().filter_map(|&index| Some((index, state(index)?))).collect();
    let worst = ["failed", "skipped", "cancelled", "ran", "hit"]
        .into_iter()
        .find(|outcome| states.iter().any(|(_, state)| state.outcome == *outcome))
        .unwrap_or("planned");
    let seconds: f64 = states.iter().map(|(_, state)| state.seconds).sum();
    let names: BTreeSet<String> = one.far.iter().map(|(name, _)| name.clone()).collect();
    let mut note = Vec::new();
    if !states.is_empty() {
        note.push(if seconds > 0.0 { format!("{worst}, {seconds:.1} s") } else { worst.to_owned() });
    }
    if !names.is_empty() {
        note.push(format!("reads {}", joined(&names)));
    }
    let count = if one.nodes.len() > 1 { format!(" × {}", one.nodes.len()) } else { String::new() };
    html! {
        g.(worst) {
            title {
                (one.name) " (" (stage.kind.name) ")"
                @for (name, port) in &one.far { "\n" (port) " ← " (name) }
                @for (index, state) in states.iter().take(40) {
                    "\n" (plan.nodes[*index].name) ": " (state.outcome) @if state.seconds > 0.0 { ", " (format!("{:.2} s", state.seconds)) }
                    @if !state.reason.is_empty() { ", " (state.reason) }
                }
            }
            rect.box x=(x) y=(y) width=(BOX.0) height=(BOX.1) rx="6" {}
            rect.hue.(format!("h{}", one.stage % HUES)) x=(x) y=(y) width="5" height=(BOX.1) rx="2" {}
            @let centre = if note.is_empty() { y + 25.0 } else { y + 17.0 };
            text x=(x + 13.0) y=(centre) { (short(&format!("{}{count}", one.name), 24)) }
            @if !note.is_empty() { text.soft x=(x + 13.0) y=(y + 32.0) { (short(&note.join(" · "), 29)) } }
        }
    }
}

fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.to_owned() } else { text.chars().take(most - 1).chain(['…']).collect() }
}
