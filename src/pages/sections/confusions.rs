//! Section 5: confused classes, hubs, probable label errors.

use maud::{Markup, html};

use super::parts::{missing, neighbour, plain};
use crate::pages::analysis::calibration::Calibration;
use crate::pages::analysis::confusions::{ConfusedPair, ConfusionMatrix};
use crate::pages::analysis::hubs::Hubs;
use crate::pages::analysis::label_errors::Suspect;
use crate::pages::analysis::leaks::{ALIKE, Leak};
use crate::pages::charts::heat_map::{self, HeatMap};
use crate::pages::evidence::Catalogue;
use crate::pages::format::{count, percent};
use crate::pages::page::Section;
use crate::pages::pictures::Pictures;
use crate::report::answers::Answer;

/// Number of pairs, hubs and suspects that are shown.
pub(in crate::pages) const PAIRS: usize = 15;
pub(in crate::pages) const HUBS: usize = 12;
pub(in crate::pages) const SUSPECTS: usize = 10;
pub(in crate::pages) const LEAKS: usize = 10;

/// What the section is made from.
pub(in crate::pages) struct Confusions<'a> {
    pub(in crate::pages) answers: &'a [Answer],
    pub(in crate::pages) catalogue: &'a Catalogue,
    pub(in crate::pages) calibration: &'a Calibration,
    pub(in crate::pages) pairs: &'a [ConfusedPair],
    pub(in crate::pages) matrix: &'a ConfusionMatrix,
    pub(in crate::pages) hubs: &'a Hubs,
    pub(in crate::pages) suspects: &'a [Suspect],
    pub(in crate::pages) leaks: Leaks<'a>,
}

/// The section.
pub(in crate::pages) fn section(data: &Confusions<'_>, pictures: &Pictures<'_>) -> Section {
    let body = html! {
        h3 #pairs { "Strongest confused pairs" }
        p.caption { "A confusion is a query whose nearest image is of another class. “3 × a → b”: three queries of class a have an image of \
            class b nearest. The example is the confusion with the smallest distance, with that distance and the share of right neighbours there." }
        div.cards { @for pair in data.pairs.iter().take(PAIRS) { (pair_card(data, pictures, pair)) } }
        (matrix(data))
        h3 #label-errors { "Probable label errors" }
        p.caption { "Images whose neighbours speak for another class. Support of a class: the sum over its images among the neighbours of the \
            share of right neighbours at their distance, divided by how many of its images could be there. Suspicion: support of the proposed \
            class minus support of the image's own. Underlined: neighbours of the proposed class." }
        @if data.suspects.is_empty() { p { "None." } }
        @for suspect in data.suspects.iter().take(SUSPECTS) { (suspect_row(data, pictures, suspect)) }
        (leaks(data, pictures))
        h3 #hubs { "Hubs" }
        (hubs(data, pictures))
    };
    let wrong = data.answers.iter().filter(|answer| !answer.is_right()).count();
    let lead = html! {
        (count(wrong)) " of " (count(data.answers.len())) " queries have an image of another class nearest; they are spread over "
        (count(data.pairs.len())) " pairs of classes."
    };
    Section { id: "confusions", title: "Confusions", lead, body }
}

fn pair_card(data: &Confusions<'_>, pictures: &Pictures<'_>, pair: &ConfusedPair) -> Markup {
    let answer = &data.answers[pair.example];
    let share = answer.distances.first().and_then(|&distance| data.calibration.share_at(distance));
    let [first, second] = pair.labels.map(|label| data.catalogue.class(label));
    html! {
        div.card {
            div.pair { (plain(pictures, data.catalogue, answer.id)) (neighbour(pictures, data.catalogue, answer, 0, share)) }
            p { b { (first) } " and " b { (second) } }
            p.caption { (pair.counts[0]) " × " (first) " → " (second) ", " (pair.counts[1]) " × " (second) " → " (first) "; " (percent(pair.rate))
                " % of their queries" }
        }
    }
}

fn matrix(data: &Confusions<'_>) -> Markup {
    let names: Vec<String> = data.matrix.labels.iter().map(|&label| data.catalogue.class(label)).collect();
    if names.len() < 2 {
        return html! {};
    }
    let cell = if names.len() > 40 { 10.0 } else { 14.0 };
    let title = format!("Confusions among {} classes", names.len());
    html! {
        h3 { (title) }
        (heat_map::draw(&HeatMap { title: &title, rows: &names, columns: &names, values: &data.matrix.shares, cell: (cell, cell) }))
        p.caption { "The classes of the strongest pairs, confused ones side by side. Darkness: square root of the share of the row's queries \
            whose nearest image is of the column's class; the diagonal is R@1. Point at a cell for names and value." }
    }
}

fn suspect_row(data: &Confusions<'_>, pictures: &Pictures<'_>, suspect: &Suspect) -> Markup {
    let answer = &data.answers[suspect.query];
    html! {
        div.answer {
            figure.query title=(format!("image {} {}", answer.id, data.catalogue.source(answer.id))) {
                (pictures.show(answer.id))
                figcaption {
                    "labelled " b { (data.catalogue.class(answer.label)) } br; "looks like " b { (data.catalogue.class(suspect.proposed)) } br;
                    "suspicion " (format!("{:.2}", suspect.suspicion))
                }
            }
            @for (rank, &distance) in answer.distances.iter().enumerate().take(10) {
                @let is_proposed = data.catalogue.label(answer.neighbours[rank]) == Some(suspect.proposed);
                div.proposed[is_proposed] { (neighbour(pictures, data.catalogue, answer, rank, data.calibration.share_at(distance))) }
            }
        }
    }
}

fn hubs(data: &Confusions<'_>, pictures: &Pictures<'_>) -> Markup {
    let hubs = data.hubs;
    html! {
        p.caption {
            "Images that are among the " (hubs.k) " nearest of many queries; the mean is " (hubs.k) " queries. Skewness of that number: "
            (format!("{:.2}", hubs.skewness)) " (0: no hubs, above 1: strong ones). " (count(hubs.never)) " images are a neighbour of no query."
        }
        div.cards {
            @for hub in hubs.images.iter().take(HUBS) {
                figure.query title=(format!("image {} {}", hub.id, data.catalogue.source(hub.id))) {
                    (pictures.show(hub.id))
                    figcaption { (data.catalogue.class_of(hub.id)) br; "near " b { (hub.occurrences) } " queries," br; "of " (hub.right) " the right class" }
                }
            }
        }
    }
}

/// Near-duplicates across training and evaluation: those that are shown, or why there are none.
pub(in crate::pages) enum Leaks<'a> {
    /// The pairs.
    Found(&'a [Leak]),
    /// The pixels are gone.
    Lost,
    /// There are too many images to look without being asked to.
    NotSought,
}

fn leaks(data: &Confusions<'_>, pictures: &Pictures<'_>) -> Markup {
    html! {
        h3 #leaks { "Near-duplicates across training and evaluation" }
        @match data.leaks {
            Leaks::Lost => (missing("The pixels are no longer in the store, so near-duplicates cannot be searched for.")),
            Leaks::NotSought => (missing("Not searched, because the data set is large: `--leaks` compares every evaluated image with every training image.")),
            Leaks::Found([]) => p { "None." },
            Leaks::Found(found) => {
                p.caption { (count(found.len())) " evaluated images (left) correlate with a training image (right) by at least " (ALIKE)
                    ", at 12 × 12 pixels. Copies among them make the metrics too good." }
                div.cards {
                    @for leak in found.iter().take(LEAKS) {
                        div.card {
                            div.pair { (plain(pictures, data.catalogue, leak.evaluated)) (plain(pictures, data.catalogue, leak.training)) }
                            p.caption { "correlation " (format!("{:.3}", leak.correlation)) }
                        }
                    }
                }
            }
        }
    }
}
