//! The comparison of runs, which comes first in a report of several.

use dnc_learn::statistics::Verdict;
use maud::{Markup, html};

use super::parts::{legend, metric_name, neighbour, with_interval};
use crate::pages::analysis::comparison::{Flips, Parameter, matched};
use crate::pages::charts::intervals::{self, Row};
use crate::pages::charts::lines::Unit;
use crate::pages::evidence::Catalogue;
use crate::pages::format::{count, decimal, p_value, percent, points};
use crate::pages::page::Section;
use crate::pages::pictures::Pictures;
use crate::report::answers::Answer;
use crate::report::difference::comparison::{Basis, ComparedMetric, Comparison};

/// Number of gained and of lost queries that are shown.
pub(in crate::pages) const FLIPS: usize = 5;

/// What the section is made from.
pub(in crate::pages) struct ComparisonData<'a> {
    /// Names of the groups; every other one is compared with the first.
    pub(in crate::pages) names: &'a [String],
    pub(in crate::pages) metrics: &'a [ComparedMetric],
    pub(in crate::pages) parameters: &'a [Parameter],
    /// Answers of the chosen round in the first run of each group.
    pub(in crate::pages) answers: &'a [Vec<Answer>],
    /// From the first group to each other one; empty if they did not read the same images.
    pub(in crate::pages) flips: &'a [Flips],
    pub(in crate::pages) catalogue: &'a Catalogue,
}

/// The section.
pub(in crate::pages) fn section(data: &ComparisonData<'_>, pictures: &Pictures<'_>) -> Section {
    let body = html! {
        @for (number, name) in data.names.iter().enumerate().skip(1) {
            h3 { (name) " − " (data.names[0]) }
            div.graph { (forest(data, number)) }
            p.caption { (basis(data, number)) }
        }
        p.caption { "Difference of the chosen rounds with its 95 % interval, in percentage points. Blue: better, orange: worse, grey: the \
            interval contains 0." }
        h3 { "All metrics" }
        (table(data))
        h3 { "Parameters that differ" }
        (parameters(data))
        @for (number, flips) in data.flips.iter().enumerate() { (self::flips(data, pictures, number + 1, flips)) }
    };
    let lead = html! { "The chosen round of each run against that of " (data.names[0]) ". The sections below are about " (data.names.last().map_or("", String::as_str)) "." };
    Section { id: "comparison", title: "Comparison", lead, body }
}

fn comparison(metric: &ComparedMetric, group: usize) -> Option<&Comparison> {
    metric.groups.get(group)?.comparison.as_ref()
}

fn is_fraction(metric: &ComparedMetric) -> bool {
    !["alignment", "uniformity", "spectral_decay", "effective_rank"].contains(&metric.metric.as_str())
}

fn forest(data: &ComparisonData<'_>, group: usize) -> Markup {
    let row = |metric: &ComparedMetric| {
        let found = comparison(metric, group)?;
        let name = format!("{} {}", metric_name(&metric.metric, metric.k), metric.split);
        let note =
            format!("{} p {} {}", points(found.difference.mean), p_value(found.difference.p), found.verdict.name());
        let class = match found.verdict {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Indistinguishable => "same",
        };
        Some(Row { name, value: found.difference.mean, interval: Some(found.difference.interval), note, class })
    };
    let rows: Vec<Row> = data.metrics.iter().filter(|metric| is_fraction(metric)).filter_map(row).collect();
    if rows.is_empty() {
        return html! { p.missing { "These differences have no interval: the runs read different images, so their queries cannot be paired, and not both have several seeds. Give \
        runs of several seeds of each." } };
    }
    intervals::draw("Differences with intervals", "difference, percentage points", Unit::Percent, &rows)
}

/// How the difference of a group to the first one was tested.
fn basis(data: &ComparisonData<'_>, group: usize) -> &'static str {
    let first = data.metrics.iter().find_map(|metric| comparison(metric, group)).map(|found| found.basis);
    match first {
        Some(Basis::PairedSeeds) => "Student's paired t-test over runs with the same seeds.",
        Some(Basis::Seeds) => "Welch's t-test over seeds.",
        Some(Basis::Queries) => {
            "Paired bootstrap over the same queries, since not both have several seeds: it says nothing about other seeds."
        }
        None => "",
    }
}

fn table(data: &ComparisonData<'_>) -> Markup {
    html! {
        table {
            thead { tr { th { "metric" } th { "split" } @for name in data.names { th.n { (name) } } } }
            tbody {
                @for metric in data.metrics {
                    tr {
                        td { (metric_name(&metric.metric, metric.k)) } td { (metric.split) }
                        @for group in &metric.groups {
                            td.n {
                                @if let Some(mean) = group.mean() {
                                    @if is_fraction(metric) { (with_interval(mean, group.interval(&metric.metric))) }
                                    @else { (decimal(mean, 3)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn parameters(data: &ComparisonData<'_>) -> Markup {
    if data.parameters.is_empty() {
        return html! { p { "None: the manifests are the same, so the code, the data or the machine differs." } };
    }
    html! {
        table {
            thead { tr { th { "key" } @for name in data.names { th { (name) } } } }
            tbody {
                @for parameter in data.parameters {
                    tr { td { code { (parameter.key) } } @for value in &parameter.values { td { code { (value.as_deref().unwrap_or("—")) } } } }
                }
            }
        }
    }
}

fn flips(data: &ComparisonData<'_>, pictures: &Pictures<'_>, group: usize, flips: &Flips) -> Markup {
    let before = matched(&data.answers[0], &data.answers[group]);
    let pair = |position: &usize| {
        let after = &data.answers[group][*position];
        html! {
            div.answers {
                @if let Some(before) = before[*position] { (row(data, pictures, before, &data.names[0])) }
                (row(data, pictures, after, &data.names[group]))
            }
        }
    };
    let total = flips.gained.len() + flips.lost.len() + flips.same[0] + flips.same[1];
    html! {
        h3 { "Queries that changed: " (data.names[group]) " against " (data.names[0]) }
        table {
            tbody {
                tr { th { "right in both" } td.n { (count(flips.same[0])) } th { "gained" } td.n { (count(flips.gained.len())) } }
                tr { th { "wrong in both" } td.n { (count(flips.same[1])) } th { "lost" } td.n { (count(flips.lost.len())) } }
            }
        }
        p.caption { "Nearest image right or wrong, for " (count(total)) " queries that both runs answered. McNemar's exact test on gained and lost: p "
            (p_value(flips.p)) "." }
        (legend(false, false))
        @if !flips.gained.is_empty() { p { b { "Gained" } ", largest gain in average precision first" } @for position in flips.gained.iter().take(FLIPS) { (pair(position)) } }
        @if !flips.lost.is_empty() { p { b { "Lost" } ", largest loss first" } @for position in flips.lost.iter().take(FLIPS) { (pair(position)) } }
    }
}

fn row(data: &ComparisonData<'_>, pictures: &Pictures<'_>, answer: &Answer, name: &str) -> Markup {
    html! {
        div.answer {
            figure.query {
                (pictures.show(answer.id))
                figcaption { b { (data.catalogue.class(answer.label)) } br; (name) br; "AP " (percent(answer.average_precision)) " %" }
            }
            @for rank in 0..answer.neighbours.len().min(10) { (neighbour(pictures, data.catalogue, answer, rank, None)) }
        }
    }
}
