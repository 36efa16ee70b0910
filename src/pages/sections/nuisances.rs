//! Section 8: robustness against changes of the image that are unrelated to its class.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::parts::{frame_of, legend, missing, over_seeds};
use crate::pages::analysis::nuisance_examples::{self, Examples, UNCHANGED};
use crate::pages::analysis::nuisance_flips::{Flip, NuisanceFlips};
use crate::pages::charts::intervals::{Row, draw};
use crate::pages::charts::lines::Unit;
use crate::pages::error::PagesError;
use crate::pages::evidence::{Catalogue, Evidence, Subject};
use crate::pages::format::{base64, count, p_value, points};
use crate::pages::page::Section;
use crate::pages::pictures::Pictures;
use crate::report::answers::Answer;
use crate::report::difference::comparison::MeanInterval;

/// Number of images that show what nuisances look like.
const EXAMPLES: usize = 8;
/// Number of flipped queries that are shown per nuisance: right to wrong, and wrong to right.
const LOST: usize = 3;
const GAINED: usize = 1;

/// What each nuisance does.
const KNOWN: [(&str, &str); 6] = [
    ("aberration", "red and blue scaled by up to 3 % in either direction"),
    ("blur", "Gaussian blur of 0.5 to 2 % of the side"),
    ("jpeg", "JPEG of quality 10 to 50"),
    ("grey", "half of the images in grey"),
    ("colour_cast", "red, green and blue each times 0.7 to 1.3"),
    ("noise", "Gaussian noise of up to 30 grey levels"),
];

/// What the section is made from.
pub(in crate::pages) struct NuisanceData<'a> {
    pub(in crate::pages) runs: &'a [Evidence],
    pub(in crate::pages) subject: &'a Subject,
    pub(in crate::pages) answers: &'a [Answer],
    pub(in crate::pages) catalogue: &'a Catalogue,
    /// The flips of the first run, by nuisance.
    pub(in crate::pages) flips: &'a BTreeMap<String, NuisanceFlips>,
}

/// The flips of a nuisance that are shown.
pub(in crate::pages) fn shown(flips: &NuisanceFlips) -> impl Iterator<Item = &Flip> {
    flips.lost.iter().take(LOST).chain(flips.gained.iter().take(GAINED))
}

/// The section.
///
/// # Errors
/// The pictures cannot be derived.
pub(in crate::pages) fn section(data: &NuisanceData<'_>, pictures: &Pictures<'_>) -> Result<Section, PagesError> {
    let measured: Vec<(&str, &str)> = KNOWN.into_iter().filter(|(name, _)| drop_of(data, name).is_some()).collect();
    let row = |(name, meaning): &(&str, &str)| {
        let (mean, interval) = drop_of(data, name)?;
        let interval = interval.map(|found| (found.low, found.high));
        let class = match interval {
            Some((low, _)) if low > 0.0 => "worse",
            Some((_, high)) if high < 0.0 => "better",
            Some(_) => "same",
            None => "single",
        };
        let seeds = if interval.is_none() { ", one seed" } else { "" };
        let note = format!("{}{seeds} — {meaning}", points(mean));
        Some(Row { name: name.replace('_', " "), value: mean, interval, note, class })
    };
    let rows: Vec<Row> = measured.iter().filter_map(row).collect();
    let right: Vec<u32> = data.answers.iter().filter(|answer| answer.is_right()).map(|answer| answer.id).collect();
    let ids: Vec<u32> = right.iter().step_by(right.len().div_ceil(EXAMPLES).max(1)).copied().collect();
    let examples = nuisance_examples::examples(&data.runs[0], &wanted(data, &measured, &ids))?;
    let body = html! {
        @if rows.is_empty() {
            (missing("This run measured no nuisances. Add `nuisances = [\"aberration\", \"blur\", \"jpeg\", \"grey\", \"colour_cast\", \"noise\"]` to the \
                stage `evaluate` and run again; only the evaluations run."))
        } @else {
            div.graph { (draw("Drop of R@1 per nuisance", "drop of R@1, percentage points", Unit::Percent, &rows)) }
            p.caption { "R@1 on the unchanged images minus R@1 with every image changed in its own way, in percentage points; above 0: the \
                model depends on what has nothing to do with the class. " @if data.runs.len() > 1 { "Intervals: 95 %, over seeds." } }
            (looks(&measured, &ids, &examples))
            h3 #flips { "Queries that flip" }
            @if data.flips.is_empty() { (missing("The table of flips is not in the store: run the manifest again to see which queries flip.")) }
            @else {
                (flip_table(data, &measured))
                (legend(false, false))
                @for (name, flips) in measured.iter().filter_map(|(name, _)| Some((*name, data.flips.get(*name)?))) {
                    (flip_cards(data, pictures, &examples, name, flips))
                }
            }
        }
    };
    let lead = html! { "How much R@1 drops if images are changed in ways that are unrelated to their class." };
    Ok(Section { id: "nuisances", title: "Nuisances", lead, body })
}

/// The drop over the runs that measured it.
fn drop_of(data: &NuisanceData<'_>, name: &str) -> Option<(f64, Option<MeanInterval>)> {
    over_seeds(data.runs, &data.subject.chosen().node, &data.subject.split, (&format!("drop_{name}"), Some(1)))
}

/// The pictures that are shown: examples unchanged and changed, and changed queries that flip with what they then find.
fn wanted(data: &NuisanceData<'_>, measured: &[(&str, &str)], ids: &[u32]) -> BTreeSet<(String, u32)> {
    let mut wanted = BTreeSet::new();
    for &(name, _) in measured {
        wanted.extend(ids.iter().flat_map(|&id| [(UNCHANGED.to_owned(), id), (name.to_owned(), id)]));
        for flip in data.flips.get(name).into_iter().flat_map(shown) {
            wanted.extend([data.answers[flip.query].id, flip.nearest.0].map(|id| (name.to_owned(), id)));
        }
    }
    wanted
}

fn picture(examples: &Examples, name: &str, id: u32) -> Markup {
    let jpeg = examples.get(&(name.to_owned(), id));
    html! {
        @match jpeg {
            Some(jpeg) => i.p role="img" aria-label=(name) style=(format!("background-image:url(data:image/jpeg;base64,{})", base64(jpeg))) {},
            None => i.p.none role="img" aria-label=(name) { (id) },
        }
    }
}

/// A row of pictures per nuisance.
fn looks(measured: &[(&str, &str)], ids: &[u32], examples: &Examples) -> Markup {
    if examples.is_empty() {
        return html! {};
    }
    html! {
        h3 { "What they look like" }
        @for name in [UNCHANGED].into_iter().chain(measured.iter().map(|known| known.0)) {
            div.answer {
                div.side { (name.replace('_', " ")) }
                @for &id in ids { figure.query { (picture(examples, name, id)) } }
            }
        }
        p.caption { "Queries whose nearest image is right without changes, each changed as in the evaluation." }
    }
}

fn flip_table(data: &NuisanceData<'_>, measured: &[(&str, &str)]) -> Markup {
    html! {
        table {
            thead { tr { th { "nuisance" } th.n { "right → wrong" } th.n { "wrong → right" } th.n { "queries" } th.n { "p" } } }
            tbody {
                @for (name, flips) in measured.iter().filter_map(|(name, _)| Some((name, data.flips.get(*name)?))) {
                    tr {
                        td { (name.replace('_', " ")) } td.n { (count(flips.lost.len())) } td.n { (count(flips.gained.len())) }
                        td.n { (count(flips.queries)) } td.n { (p_value(flips.p)) }
                    }
                }
            }
        }
        p.caption { "Queries whose nearest image is right without the nuisance and wrong with it, and the reverse"
            @if data.runs.len() > 1 { ", in " (data.runs[0].folder.id()) } "; p of McNemar's exact test on the two." }
    }
}

fn flip_cards(
    data: &NuisanceData<'_>,
    pictures: &Pictures<'_>,
    examples: &Examples,
    name: &str,
    flips: &NuisanceFlips,
) -> Markup {
    html! {
        @if shown(flips).next().is_some() {
            p { b { (name.replace('_', " ")) } }
            div.cards { @for flip in shown(flips) { (flip_card(data, pictures, examples, name, flip)) } }
        }
    }
}

/// A query with its nearest image, both unchanged, and the changed query with what it then finds.
fn flip_card(data: &NuisanceData<'_>, pictures: &Pictures<'_>, examples: &Examples, name: &str, flip: &Flip) -> Markup {
    let answer = &data.answers[flip.query];
    let (nearest, distance) = flip.nearest;
    let before = answer.neighbours.first().zip(answer.distances.first());
    let found = |id: u32, distance: f32, shown: Markup| {
        html! {
            figure.(frame_of(answer, id, data.catalogue)) title=(format!("{} · image {id}", data.catalogue.class_of(id))) {
                (shown) figcaption { b { (format!("{distance:.2}")) } " · " (data.catalogue.class_of(id)) }
            }
        }
    };
    html! {
        div.flip {
            figure.query title=(format!("image {}", answer.id)) { (pictures.show(answer.id)) figcaption { (data.catalogue.class(answer.label)) } }
            @if let Some((&id, &distance)) = before { (found(id, distance, pictures.show(id))) }
            span.arrow aria-label="with the nuisance" { "→" }
            figure.query { (picture(examples, name, answer.id)) figcaption { "changed" } }
            (found(nearest, distance, picture(examples, name, nearest)))
        }
    }
}
