//! Section 2: metrics against the round.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::parts::{definition, metric_name, over_seeds};
use crate::pages::charts::lines::{LineChart, Point, Series, Unit, draw};
use crate::pages::evidence::{Evaluated, Evidence, Subject};
use crate::pages::format::{decimal, percent};
use crate::pages::page::Section;
use crate::report::difference::comparison::MeanInterval;

/// A metric with its k.
type MetricKey = (String, Option<i32>);

/// The section.
pub(in crate::pages) fn section(runs: &[Evidence], subject: &Subject) -> Section {
    let nodes: BTreeSet<&str> = subject.rounds.iter().map(|round| round.node.as_str()).collect();
    let rows = || runs[0].metrics.iter().filter(|row| nodes.contains(row.node.as_str()));
    let mut metrics: Vec<MetricKey> = Vec::new();
    for row in rows().filter(|row| row.metric != "subspace_recall" && !row.metric.starts_with("drop_")) {
        let key = (row.metric.clone(), row.k);
        if !metrics.contains(&key) {
            metrics.push(key);
        }
    }
    // The headline first.
    let rank =
        |key: &MetricKey| subject.headline.iter().position(|known| (known.0, known.1) == (key.0.as_str(), key.1));
    metrics.sort_by_key(|key| rank(key).unwrap_or(subject.headline.len()));
    let splits: BTreeSet<&str> = rows().map(|row| row.split.as_str()).collect();
    let body = html! {
        div.small {
            @for (metric, k) in metrics.iter().take(6) {
                div {
                    (chart(runs, subject, &splits, (metric, *k)))
                    p.caption { (metric_name(metric, *k)) @if !definition(metric).is_empty() { ": " (definition(metric)) } "." }
                }
            }
        }
        (learners(runs, subject))
        h3 { "All values" }
        (table(runs, subject, &metrics))
    };
    let lead = html! {
        "Metrics against the round; K is the number of learners. Dashed lines are baselines. "
        @if runs.len() > 1 { "Points are means over " (runs.len()) " seeds with 95 % intervals." } @else { "One seed: no intervals." }
    };
    Section { id: "rounds", title: "Rounds", lead, body }
}

/// A point of a chart at a round.
fn point(round: &Evaluated, (y, interval): (f64, Option<MeanInterval>), title: String) -> Point {
    let interval = interval.map(|interval| (interval.low, interval.high));
    Point { x: f64::from(round.round), y, interval, title }
}

/// A value as its unit says.
fn text(value: f64, unit: Unit) -> String {
    if unit == Unit::Percent { format!("{} %", percent(value)) } else { decimal(value, 3) }
}

fn tick(round: &Evaluated) -> (f64, String) {
    (f64::from(round.round), format!("{} · K={}", round.round, round.learners))
}

fn chart(runs: &[Evidence], subject: &Subject, splits: &BTreeSet<&str>, (metric, k): (&str, Option<i32>)) -> Markup {
    let series = |split: &&str| {
        let at = |round: &Evaluated| {
            let found = over_seeds(runs, &round.node, split, (metric, k))?;
            let value = text(found.0, unit_of(metric));
            Some(point(round, found, format!("{split}, round {} (K = {}): {value}", round.round, round.learners)))
        };
        let points = subject.rounds.iter().filter_map(at).collect();
        Series { name: (*split).to_owned(), class: class_of(split).to_owned(), points }
    };
    let references = subject.references.iter();
    let value = |node: &String| Some((node.clone(), over_seeds(runs, node, &subject.split, (metric, k))?.0));
    let name = metric_name(metric, k);
    let chosen = subject.chosen();
    draw(&LineChart {
        title: &format!("{name} against the round"),
        x_label: "round · number of learners",
        y_label: &if unit_of(metric) == Unit::Percent { format!("{name}, %") } else { name.clone() },
        x_ticks: subject.rounds.iter().map(tick).collect(),
        series: splits.iter().map(series).filter(|series| !series.points.is_empty()).collect(),
        references: references.filter_map(value).collect(),
        marked: (subject.rounds.len() > 1).then_some((f64::from(chosen.round), "chosen")),
        dividers: Vec::new(),
        unit: unit_of(metric),
        size: (340.0, 250.0),
        dots: true,
    })
}

/// The class of a split in the style sheet.
fn class_of(split: &str) -> &'static str {
    match split {
        "validation" => "validation",
        "train" => "train",
        _ => "test",
    }
}

fn unit_of(metric: &str) -> Unit {
    let is_plain = ["alignment", "uniformity", "spectral_decay", "effective_rank"].contains(&metric);
    if is_plain { Unit::Plain } else { Unit::Percent }
}

/// Recall@1 of each learner in its own subspace.
fn learners(runs: &[Evidence], subject: &Subject) -> Markup {
    let mut by_learner: BTreeMap<i32, Vec<Point>> = BTreeMap::new();
    for round in &subject.rounds {
        for learner in 0..round.learners {
            if let Some(found) = over_seeds(runs, &round.node, &subject.split, ("subspace_recall", Some(learner))) {
                let title = format!("learner {learner}, round {}: {} %", round.round, percent(found.0));
                by_learner.entry(learner).or_default().push(point(round, found, title));
            }
        }
    }
    if by_learner.is_empty() {
        return html! {};
    }
    let series = by_learner.into_iter().map(|(learner, points)| Series {
        name: format!("learner {learner}"),
        class: format!("s{}", learner % 8),
        points,
    });
    let whole = subject.rounds.iter().filter_map(|round| {
        let found = over_seeds(runs, &round.node, &subject.split, ("recall", Some(1)))?;
        Some(point(round, found, format!("whole embedding: {} %", percent(found.0))))
    });
    let whole = Series { name: "whole".to_owned(), class: "whole".to_owned(), points: whole.collect() };
    html! {
        h3 { "Each learner in its own subspace" }
        (draw(&LineChart {
            title: "R@1 of each learner in its own subspace",
            x_label: "round · number of learners",
            y_label: "R@1, %",
            x_ticks: subject.rounds.iter().map(tick).collect(),
            series: series.chain([whole]).collect(),
            references: Vec::new(),
            marked: None,
            dividers: Vec::new(),
            unit: Unit::Percent,
            size: (480.0, 280.0),
            dots: true,
        }))
        p.caption { "R@1 when only the coordinates of one learner are used: its embedding times its mask, normalised." }
    }
}

fn table(runs: &[Evidence], subject: &Subject, metrics: &[MetricKey]) -> Markup {
    let mut rows: Vec<(&str, String, bool)> =
        subject.references.iter().map(|node| (node.as_str(), node.clone(), false)).collect();
    rows.extend(subject.rounds.iter().map(|round| {
        (round.node.as_str(), format!("round {}, K = {}", round.round, round.learners), round == subject.chosen())
    }));
    html! {
        table {
            thead {
                tr {
                    th {}
                    @for (metric, k) in metrics { th.n title=(definition(metric)) { (metric_name(metric, *k)) } }
                }
            }
            tbody {
                @for (node, name, is_chosen) in rows {
                    tr.chosen[is_chosen] {
                        td { (name) @if is_chosen { " — chosen" } }
                        @for (metric, k) in metrics {
                            td.n {
                                @if let Some((mean, interval)) = over_seeds(runs, node, &subject.split, (metric, *k)) {
                                    @if unit_of(metric) == Unit::Percent { (super::parts::with_interval(mean, interval)) }
                                    @else { (decimal(mean, 3)) }
                                }
                            }
                        }
                    }
                }
            }
        }
        p.caption { "Split " (subject.split) "; fractions in percent." }
    }
}
