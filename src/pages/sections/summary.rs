//! Section 1: the result in numbers and sentences.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::parts::{definition, estimate, frame_of, metric_name, over_seeds, prose, with_interval};
use crate::execute::Outcome;
use crate::pages::analysis::confusions::ConfusedPair;
use crate::pages::analysis::gallery::GalleryList;
use crate::pages::analysis::label_errors::Suspect;
use crate::pages::analysis::rounds::Lift;
use crate::pages::evidence::{Catalogue, Choice, Evidence, Subject};
use crate::pages::format::{count, counted, p_value, percent, points};
use crate::pages::page::Section;
use crate::pages::pictures::Pictures;
use crate::report::answers::Answer;
use crate::report::difference::comparison::{Basis, Comparison};
use crate::shell::quoted;

/// What the section is made from.
pub(in crate::pages) struct Summary<'a> {
    /// Runs that differ only by their seed; the details are of the first.
    pub(in crate::pages) runs: &'a [Evidence],
    pub(in crate::pages) subject: &'a Subject,
    pub(in crate::pages) answers: &'a [Answer],
    pub(in crate::pages) catalogue: &'a Catalogue,
    pub(in crate::pages) lifts: &'a [Lift],
    pub(in crate::pages) lists: &'a [GalleryList],
    pub(in crate::pages) pairs: &'a [ConfusedPair],
    pub(in crate::pages) suspects: &'a [Suspect],
    /// A query that only one learner answers: position, learner.
    pub(in crate::pages) only: Option<(usize, usize)>,
}

/// The section of a run that evaluated nothing.
pub(in crate::pages) fn without_evaluation(run: &Evidence) -> Section {
    let lead = html! { "No evaluation of this run has finished." };
    let body = html! { @for warning in incomplete(run) { p.warning { (prose(&warning)) } } };
    Section { id: "summary", title: "Summary", lead, body }
}

/// The section.
pub(in crate::pages) fn section(data: &Summary<'_>, pictures: &Pictures<'_>) -> Section {
    let chosen = data.subject.chosen();
    let body = html! {
        div.numbers {
            @for (metric, k) in data.subject.headline {
                div.number title=(definition(metric)) {
                    @let values: Vec<f64> = data.runs.iter().filter_map(|run| run.value(&chosen.node, &data.subject.split, metric, k)).collect();
                    @let seeds = seeds(values.len());
                    @if let Some((mean, interval)) = estimate(metric, values) {
                        b { (with_interval(mean, interval)) small { " %" } }
                        span { (metric_name(metric, k)) ", " (data.subject.split) ", " (seeds) }
                    }
                }
            }
            @for (name, node) in references(data.subject) {
                @if let Some(lift) = data.lifts.iter().find(|lift| lift.node == node).and_then(|lift| lift.of(data.subject.headline[0])) {
                    div.number title=(format!("95 % interval {} to {}, p {}", points(lift.difference.interval.0), points(lift.difference.interval.1), p_value(lift.difference.p))) {
                        b { (points(lift.difference.mean)) small { " points" } }
                        span { (metric_name(data.subject.headline[0].0, data.subject.headline[0].1)) " over " (name) }
                    }
                }
            }
        }
        ul.sentences { @for sentence in sentences(data) { li { (sentence) } } }
        @for warning in warnings(data) { p.warning { (prose(&warning)) } }
        (glance(data, pictures))
        @if data.lifts.iter().any(|lift| lift.of(data.subject.headline[0]).is_some()) {
            h3 #better { "Is the chosen round better?" }
            (lift_table(data))
            (fair_comparison(data))
        }
    };
    let lead = html! {
        @if chosen.round < 0 { "Evaluated by " code { (chosen.node) } "." }
        @else {
            "Round " (chosen.round) " with " (learners(chosen.learners)) ", "
            @match &data.subject.chosen_by {
                Some(Choice { node, split }) => {
                    "chosen on " (split) " classes by " code { (node) } "."
                    @if *split == data.subject.split { " Its metrics on these classes are therefore optimistic." }
                }
                None if data.subject.rounds.len() > 1 => { "the last round: the manifest has no stage that chooses one." }
                None => { "the only one." }
            }
        }
    };
    Section { id: "summary", title: "Summary", lead, body }
}

fn learners(number: i32) -> String {
    if number == 1 { "one learner".to_owned() } else { format!("K = {number} learners") }
}

fn seeds(number: usize) -> String {
    if number == 1 { "one seed".to_owned() } else { format!("mean and 95 % interval over {number} seeds") }
}

/// What the chosen round is compared with in the headline, with its node.
fn references(subject: &Subject) -> Vec<(String, String)> {
    let single = subject.single().map(|single| ("a single metric (K = 1)".to_owned(), single.node.clone()));
    let others = subject.references.iter().map(|node| (node.clone(), node.clone()));
    single.into_iter().chain(others).take(3).collect()
}

/// In how many rounds the chosen model and that of the round with a single metric were trained, if the chosen one goes on from it.
fn longer_training(run: &Evidence, subject: &Subject) -> Option<[i32; 2]> {
    let (chosen, single) = (subject.chosen(), subject.single()?);
    let is_later = chosen.round > single.round && single.round >= 0;
    (is_later && goes_on_from(run, &chosen.node, single.round)).then_some([chosen.round + 1, single.round + 1])
}

/// Whether the model that `node` evaluates was trained from one of this round.
fn goes_on_from(run: &Evidence, node: &str, round: i32) -> bool {
    let Some(plan) = &run.plan else { return false };
    let mut open: Vec<_> = plan.nodes.iter().filter(|known| known.name == node).collect();
    let mut seen = BTreeSet::new();
    let suffix = format!("@{round}");
    while let Some(node) = open.pop() {
        if node.name.split('[').next().is_some_and(|name| name.ends_with(&suffix)) {
            return true;
        }
        let models = node.inputs.iter().filter(|wire| wire.port == "model" || wire.port == "learners");
        for feed in models.flat_map(|wire| &wire.feeds) {
            let before = &plan.nodes[feed.node];
            if seen.insert(before.name.as_str()) {
                open.push(before);
            }
        }
    }
    false
}

/// How to separate the gain from dividing from that of longer training.
fn fair_comparison(data: &Summary<'_>) -> Markup {
    let chosen = data.subject.chosen();
    if longer_training(&data.runs[0], data.subject).is_none() || chosen.learners <= 1 {
        return html! {};
    }
    let manifest = data.runs[0].json.manifest.file_name().unwrap_or_default().to_string_lossy();
    let ones = vec!["1"; chosen.round as usize + 1].join(",");
    let run = data.runs[0].folder.id();
    html! {
        p {
            "Later rounds have more learners and more training. For the gain of divide and conquer alone, train a single metric equally long, over the same seeds, and compare:"
        }
        pre {
            "dnc-run " (quoted(&manifest)) " --set name=single --set 'rounds.learners=[" (ones) "]'\n"
            "dnc-run report single " (run)
        }
    }
}

fn basis(comparison: &Comparison) -> &'static str {
    match comparison.basis {
        Basis::Seeds => "over seeds",
        Basis::PairedSeeds => "over pairs of seeds",
        Basis::Queries => "over queries, one seed",
    }
}

fn sentences(data: &Summary<'_>) -> Vec<Markup> {
    let chosen = data.subject.chosen();
    let [main, second] = data.subject.headline;
    let mean_of = |metric| over_seeds(data.runs, &chosen.node, &data.subject.split, metric).map(|(mean, _)| mean);
    let Some(mean) = mean_of(main) else {
        return vec![html! { "No query has another image of its class to find: there is nothing to measure." }];
    };
    let classes: BTreeSet<u32> = data.answers.iter().map(|answer| answer.label).collect();
    let mut sentences = vec![html! {
        "Of " (count(data.answers.len())) " " @if data.subject.split != "query" { (data.subject.split) " " }
        (if data.answers.len() == 1 { "query" } else { "queries" }) " from " (counted(classes.len(), "class", "classes"))
        @match data.catalogue.trained(&classes) {
            None => "",
            Some(0) => " that training never saw",
            Some(trained) => { ", " (count(trained)) " of which have training images" }
        }
        ", "
        (percent(mean)) " % have an image of their class nearest (" (metric_name(main.0, main.1)) "); "
        (metric_name(second.0, second.1)) " is " (percent(mean_of(second).unwrap_or_default())) " %."
    }];
    if let Some(single) = data.subject.single()
        && let Some(lift) = data.lifts.iter().find(|lift| lift.node == single.node).and_then(|lift| lift.of(main))
    {
        let (low, high) = lift.difference.interval;
        sentences.push(html! {
            "K = " (chosen.learners) " against K = 1: " (points(lift.difference.mean)) " points of " (metric_name(main.0, main.1))
            " (95 % interval " (points(low)) " to " (points(high)) ", p " (p_value(lift.difference.p)) ", " (basis(lift)) "): "
            b { (lift.verdict.name()) } "."
            @if let Some([ours, theirs]) = longer_training(&data.runs[0], data.subject) {
                " But round " (chosen.round) " goes on from the rounds before it, and has been trained for " (ours) " rounds against " (theirs)
                ": this is not the gain of divide and conquer alone. " a href="#better" { "A fair comparison" } "."
            }
        });
    }
    if let Some(pair) = data.pairs.first() {
        let [first, second] = pair.labels.map(|label| data.catalogue.class(label));
        sentences.push(html! {
            "Most often confused are " b { (first) } " and " b { (second) } ", in " (pair.counts[0] + pair.counts[1]) " of their queries ("
            (percent(pair.rate)) " %)."
        });
    }
    sentences
}

fn warnings(data: &Summary<'_>) -> Vec<String> {
    let run = &data.runs[0];
    let mut warnings = Vec::new();
    if data.runs.len() == 1 {
        warnings.push(
            "One seed. Intervals are over queries and do not include the variation between seeds; run with `--vary seed=0,1,2,3,4` and \
             report the runs together."
                .to_owned(),
        );
    }
    if !run.metrics.iter().any(|row| row.split == "validation") && data.subject.rounds.len() > 1 {
        warnings
            .push("No validation classes: the round could only be chosen by looking at the test classes.".to_owned());
    }
    warnings.extend(incomplete(run));
    warnings
}

/// Warnings about a run that is not complete.
fn incomplete(run: &Evidence) -> Vec<String> {
    let mut warnings = Vec::new();
    if run.json.unfinished {
        warnings.push("This run is unfinished: it is still going on, or was killed.".to_owned());
    }
    let failed: Vec<&str> =
        run.json.nodes.iter().filter(|node| node.outcome == Outcome::Failed).map(|node| node.node.as_str()).collect();
    if !failed.is_empty() {
        warnings
            .push(format!("Nodes that failed: {}. The end of their logs is in the section Run.", failed.join(", ")));
    }
    warnings
}

/// Links to what a reader looks for first.
fn glance(data: &Summary<'_>, pictures: &Pictures<'_>) -> Markup {
    let pair = |answer: &Answer| {
        html! {
            div.pair {
                figure.query { (pictures.show(answer.id)) }
                @for &id in answer.neighbours.iter().take(2) {
                    figure.(frame_of(answer, id, data.catalogue)) { (pictures.show(id)) }
                }
            }
        }
    };
    let worst = data.lists.iter().find(|list| list.name == "worst").and_then(|list| list.queries.first());
    html! {
        div.glance {
            @if let Some(&query) = worst {
                @let answer = &data.answers[query];
                a href=(format!("#worst-{}", answer.id)) {
                    h3 { "The worst query" } (pair(answer))
                    p { (data.catalogue.class(answer.label)) ": "
                        @match answer.first_hit { Some(rank) => { "the first right image is at rank " (rank) }, None => "no right image was found" } }
                }
            }
            @if let Some(found) = data.pairs.first() {
                a href="#pairs" {
                    h3 { "The most confused pair" } (pair(&data.answers[found.example]))
                    p { (data.catalogue.class(found.labels[0])) " and " (data.catalogue.class(found.labels[1])) }
                }
            }
            @if let Some(suspect) = data.suspects.first() {
                @let answer = &data.answers[suspect.query];
                a href="#label-errors" {
                    h3 { "A probable label error" } (pair(answer))
                    p { "labelled " (data.catalogue.class(answer.label)) ", looks like " (data.catalogue.class(suspect.proposed)) }
                }
            }
            @if let Some((query, learner)) = data.only {
                @let answer = &data.answers[query];
                a href="#subspaces" {
                    h3 { "Found by one learner alone" } (pair(answer))
                    p { (data.catalogue.class(answer.label)) ": only learner " (learner) " has it nearest" }
                }
            }
        }
    }
}

fn lift_table(data: &Summary<'_>) -> Markup {
    let name = |node: &str| {
        let round = data.subject.rounds.iter().find(|round| round.node == node);
        round.map_or_else(|| node.to_owned(), |round| format!("round {}, K = {}", round.round, round.learners))
    };
    html! {
        table {
            thead { tr {
                th { "chosen round minus" }
                @for (metric, k) in data.subject.headline { th.n { (metric_name(metric, k)) } th { "95 % interval" } th.n { "p" } th { "verdict" } }
            } }
            tbody {
                @for lift in data.lifts {
                    tr {
                        td { (name(&lift.node)) }
                        @for metric in data.subject.headline {
                            @match lift.of(metric) {
                                Some(found) => {
                                    td.n { (points(found.difference.mean)) }
                                    td { (points(found.difference.interval.0)) " … " (points(found.difference.interval.1)) }
                                    td.n { (p_value(found.difference.p)) }
                                    td.(found.verdict.name().replace(' ', "-")) { (found.verdict.name()) }
                                }
                                None => { td {} td {} td {} td {} }
                            }
                        }
                    }
                }
            }
        }
        p.caption {
            "Differences in percentage points. "
            @if data.runs.len() > 1 { "Student's paired t-test over seeds." }
            @else { "Paired bootstrap over the same queries; it says nothing about other seeds." }
            " Not distinguishable: the interval contains 0."
        }
    }
}
