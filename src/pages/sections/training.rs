//! Section 3: how the learners trained.

use maud::{Markup, html};

use super::parts::missing;
use crate::pages::analysis::training::{Curve, Training};
use crate::pages::charts::lines::{LineChart, Point, Series, Unit, draw};
use crate::pages::format::count;
use crate::pages::page::Section;

/// Terms that are shown first, with their names and definitions.
const KNOWN: [(&str, &str, &str); 6] = [
    ("loss", "Loss", "mean over the steps of an epoch"),
    (
        "beta",
        "β of the margin loss",
        "the learned boundary between distances of positive and negative pairs; the mean over classes if each has its own",
    ),
    ("informative", "Informative triplets", "share of the selected triplets or pairs that have a gradient"),
    (
        "negative_distance",
        "Distance of mined negatives",
        "mean Euclidean distance from an anchor to its selected negatives",
    ),
    ("orthogonality", "Orthogonality of the masks", "mean similarity of the learners' masks, which training penalises"),
    ("lr", "Learning rate", "of the backbone, at the optimiser's steps"),
];

/// The section.
pub(in crate::pages) fn section(training: &Training) -> Section {
    let is_known = |term: &str| KNOWN.iter().any(|known| known.0 == term);
    let others = training.terms.keys().filter(|term| !is_known(term)).map(|term| (term.as_str(), term.as_str(), ""));
    let shown = KNOWN.into_iter().chain(others).filter_map(|term| Some((term, training.terms.get(term.0)?)));
    let body = html! {
        @if !training.lost.is_empty() {
            (missing(&format!("The history of {} is no longer in the store; run the manifest again to restore it.", training.lost.join(", "))))
        }
        @if training.terms.is_empty() && training.lost.is_empty() { (missing("No training of this run has finished.")) }
        div.small {
            @for ((_, name, definition), curves) in shown {
                div { (chart(name, curves, &training.starts)) p.caption { (name) @if !definition.is_empty() { ": " (definition) } "." } }
            }
        }
        @if !training.speed.is_empty() {
            h3 { "Speed" }
            p { "Median " (count(median(training).round() as usize)) " images per second and learner, forward and backward." }
            p.caption {
                @for (node, speed) in training.speed.iter().take(64) { code { (node) } " " (format!("{speed:.0}")) "  " }
                @if training.speed.len() > 64 { "and " (training.speed.len() - 64) " more" }
            }
        }
    };
    let lead = html! { "One line per learner; vertical lines separate the rounds." };
    Section { id: "training", title: "Training", lead, body }
}

fn median(training: &Training) -> f64 {
    let mut speeds: Vec<f64> = training.speed.iter().map(|speed| speed.1).collect();
    speeds.sort_by(f64::total_cmp);
    speeds.get(speeds.len() / 2).copied().unwrap_or(0.0)
}

fn chart(name: &str, curves: &[Curve], starts: &[f64]) -> Markup {
    let last = curves.iter().map(|curve| curve.round).max().unwrap_or(0);
    let series = |curve: &Curve| {
        let point = |&(x, y): &(f64, f64)| Point { x, y, interval: None, title: String::new() };
        // Names would cover each other, except in a last round of few learners.
        let is_named = curve.round == last && curves.iter().filter(|other| other.round == last).count() <= 4;
        Series {
            name: if is_named { format!("{}", curve.learner) } else { String::new() },
            class: format!("s{}", curve.learner % 8),
            points: curve.values.iter().map(point).collect(),
        }
    };
    draw(&LineChart {
        title: name,
        x_label: "epoch",
        y_label: name,
        x_ticks: Vec::new(),
        series: curves.iter().map(series).collect(),
        references: Vec::new(),
        marked: None,
        dividers: starts.iter().skip(1).map(|start| start - 0.5).collect(),
        unit: Unit::Plain,
        size: (320.0, 210.0),
        dots: false,
    })
}
