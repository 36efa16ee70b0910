//! Section 6: what each learner sees.

use maud::{Markup, html};

use super::parts::{NO_EMBEDDINGS, legend, missing, neighbour};
use crate::pages::analysis::clusters::Clusters;
use crate::pages::analysis::subspaces::{Masks, Subspaces};
use crate::pages::charts::heat_map::{self, HeatMap};
use crate::pages::evidence::Catalogue;
use crate::pages::format::{count, percent};
use crate::pages::page::Section;
use crate::pages::pictures::Pictures;
use crate::report::answers::Answer;

/// What the section is made from.
pub(in crate::pages) struct SubspaceData<'a> {
    pub(in crate::pages) answers: &'a [Answer],
    pub(in crate::pages) catalogue: &'a Catalogue,
    pub(in crate::pages) masks: Option<&'a Masks>,
    pub(in crate::pages) subspaces: Option<&'a Subspaces>,
    /// Queries that are shown: position among the answers, position in `subspaces`, the learner that alone answers it.
    pub(in crate::pages) examples: &'a [Example],
    pub(in crate::pages) found_by_one: usize,
    pub(in crate::pages) clusters: Option<&'a Clusters>,
}

/// A query that one learner alone answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pages) struct Example {
    /// Position among the answers.
    pub(in crate::pages) answer: usize,
    /// Position among the queries of the subspaces.
    pub(in crate::pages) query: usize,
    pub(in crate::pages) learner: usize,
}

/// The section.
pub(in crate::pages) fn section(data: &SubspaceData<'_>, pictures: &Pictures<'_>) -> Section {
    let body = html! {
        @match (data.masks, data.subspaces) {
            (None, _) => (missing("The chosen round has a single learner, or its model is no longer in the store: there are no subspaces to compare.")),
            (Some(_), None) => (missing(NO_EMBEDDINGS)),
            (Some(_), Some(subspaces)) => {
                (table(data, subspaces))
                h3 { "What only one learner finds" }
                p.caption { "Queries whose nearest image is right in the subspace of one learner and wrong in those of all others: "
                    (count(data.found_by_one)) " of " (count(subspaces.queries.len())) ". First row: the whole embedding." }
                (legend(false, false))
                @for example in data.examples { (comparison(data, subspaces, pictures, example)) }
            }
        }
        @if let Some(masks) = data.masks { (heat(masks)) }
        @if let Some(clusters) = data.clusters { (montages(clusters, pictures)) }
    };
    let lead = html! { "The subspace of a learner is the embedding times the learner's mask, normalised." };
    Section { id: "subspaces", title: "Subspaces", lead, body }
}

fn table(data: &SubspaceData<'_>, subspaces: &Subspaces) -> Markup {
    let (recall, any) = subspaces.recall(|id| data.catalogue.label(id));
    let overlap = subspaces.overlap();
    let learners = subspaces.learners();
    let dimensions: Vec<usize> =
        subspaces.masks.iter().map(|mask| mask.iter().filter(|weight| **weight > 0.0).count()).collect();
    let whole =
        data.answers.iter().filter(|answer| answer.is_right()).count() as f64 / data.answers.len().max(1) as f64;
    html! {
        table {
            thead { tr {
                th {} th.n title="share of queries whose nearest image is of their class" { "R@1, %" } th.n title="coordinates with a positive weight" { "coordinates" }
                @for other in 0..learners { th.n title="mean share of the ten nearest that both have" { "overlap with " (other) } }
            } }
            tbody {
                tr.chosen { td { "whole embedding" } td.n { (percent(whole)) } td.n { (subspaces.masks[0].len()) } @for _ in 0..learners { td {} } }
                @for learner in 0..learners {
                    tr {
                        td { "learner " (learner) } td.n { (percent(recall[learner])) } td.n { (dimensions[learner]) }
                        @for other in 0..learners { td.n { @if other != learner { (percent(overlap[learner * learners + other])) " %" } } }
                    }
                }
                tr { td { "at least one learner" } td.n { (percent(any)) } td {} @for _ in 0..learners { td {} } }
            }
        }
        p.caption { "Overlap: mean share of the ten nearest images that two learners have in common. The less they overlap, the more they add to each other." }
    }
}

fn comparison(data: &SubspaceData<'_>, subspaces: &Subspaces, pictures: &Pictures<'_>, example: &Example) -> Markup {
    let whole = &data.answers[example.answer];
    let row = |learner: usize| {
        let (ids, distances) = subspaces.of(learner, example.query);
        Answer { neighbours: ids.to_vec(), distances: distances.to_vec(), ..whole.clone() }
    };
    html! {
        div.answers {
            (answer_row(data, pictures, whole, "whole", true))
            @for learner in 0..subspaces.learners() {
                (answer_row(data, pictures, &row(learner), &format!("learner {learner}"), learner == example.learner))
            }
        }
    }
}

fn answer_row(
    data: &SubspaceData<'_>,
    pictures: &Pictures<'_>,
    answer: &Answer,
    name: &str,
    is_marked: bool,
) -> Markup {
    html! {
        div.answer {
            @if name == "whole" {
                figure.query { (pictures.show(answer.id)) figcaption { b { (data.catalogue.class(answer.label)) } br; "whole embedding" } }
            } @else {
                div.query.side { @if is_marked { b { (name) } } @else { (name) } }
            }
            @for rank in 0..answer.neighbours.len().min(10) { (neighbour(pictures, data.catalogue, answer, rank, None)) }
        }
    }
}

fn heat(masks: &Masks) -> Markup {
    let largest = masks.iter().flatten().fold(0.0f32, |largest, &weight| largest.max(weight)).max(f32::MIN_POSITIVE);
    let values: Vec<f64> = masks.iter().flatten().map(|&weight| f64::from(weight.max(0.0) / largest)).collect();
    let rows: Vec<String> = (0..masks.len()).map(|learner| format!("learner {learner}")).collect();
    let dim = masks[0].len();
    let columns: Vec<String> = (0..dim).map(|coordinate| format!("coordinate {coordinate}")).collect();
    let width = (900.0 / dim as f64).clamp(1.0, 12.0);
    html! {
        h3 { "Masks" }
        (heat_map::draw(&HeatMap { title: "Masks of the learners", rows: &rows, columns: &columns, values: &values, cell: (width, 22.0) }))
        p.caption { "Weight of each of the " (dim) " coordinates in each learner's subspace, relative to the largest weight. Point at a cell for its value." }
    }
}

fn montages(clusters: &Clusters, pictures: &Pictures<'_>) -> Markup {
    html! {
        h3 { "Clusters" }
        p.caption {
            "The training images of each learner, by " code { (clusters.node) } ": some of them, from the nearest to the centroid to the farthest."
            @if let Some(nmi) = clusters.nmi { " Agreement with the clusters of the round before (NMI): " (format!("{nmi:.2}")) "." }
            @if clusters.pruned > 0 { " " (count(clusters.pruned)) " images were pruned." }
        }
        div.row {
            @for (learner, (size, images)) in clusters.clusters.iter().enumerate() {
                div { p { "learner " (learner) " · " (count(*size as usize)) " images" } div.montage { @for &id in images { (pictures.show(id)) } } }
            }
        }
    }
}
