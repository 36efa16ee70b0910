//! Section 4: queries with their neighbours.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, PreEscaped, html};

use super::parts::{legend, missing, neighbour, prose};
use crate::pages::analysis::calibration::Calibration;
use crate::pages::analysis::gallery::GalleryList;
use crate::pages::evidence::Catalogue;
use crate::pages::format::{count, percent};
use crate::pages::page::Section;
use crate::pages::pictures::Pictures;
use crate::report::answers::Answer;

/// What the gallery is made from.
pub(in crate::pages) struct Gallery<'a> {
    pub(in crate::pages) answers: &'a [Answer],
    pub(in crate::pages) catalogue: &'a Catalogue,
    pub(in crate::pages) calibration: &'a Calibration,
    pub(in crate::pages) lists: &'a [GalleryList],
    /// For each query by position, the learners that alone find an image of its class first.
    pub(in crate::pages) learners: &'a BTreeMap<usize, Vec<usize>>,
    /// Bytes that the gallery may take.
    pub(in crate::pages) budget: usize,
}

/// The section, and a statement of what was left out.
pub(in crate::pages) fn section(gallery: &Gallery<'_>, pictures: &Pictures<'_>) -> (Section, Option<String>) {
    let has_cameras = gallery.answers.iter().any(|answer| camera(gallery, answer).is_some());
    let (panels, left_out) = panels(gallery, pictures);
    let cameras: BTreeSet<u16> = gallery.answers.iter().filter_map(|answer| camera(gallery, answer)).collect();
    let learners: BTreeSet<usize> = gallery.learners.values().flatten().copied().collect();
    let body = html! {
        @if !pictures.are_there() {
            (missing("The pictures are no longer in the store, so images are shown by number. Run the manifest again to restore them."))
        }
        @if !gallery.catalogue.is_complete {
            (missing("The table of images is no longer in the store, so classes are shown by number; whether a neighbour is right is \
                      known only for neighbours that are queries themselves. Run the manifest again to restore it."))
        }
        @if gallery.lists.is_empty() { (missing("There are no queries to show.")) }
        @else {
            (legend(has_cameras, true))
            div.filters {
                input name="words" type="search" placeholder="class or image number" aria-label="Filter by class or image number";
                @if !cameras.is_empty() {
                    select name="camera" aria-label="Camera" {
                        option value="" { "all cameras" }
                        @for camera in cameras { option value=(camera) { "camera " (camera) } }
                    }
                }
                @if !learners.is_empty() {
                    select name="learner" aria-label="Learner" {
                        option value="" { "all learners" }
                        @for learner in learners { option value=(learner) { "found by learner " (learner) " alone" } }
                    }
                }
                span { "keys: 1 to " (gallery.lists.len()) " for a list, j and k for the next and previous query" }
                output name="shown" {}
            }
            (tabs(gallery.lists, &panels))
            @if let Some(left_out) = &left_out { p.caption { (prose(left_out)) } }
        }
    };
    let lead = html! { "Queries with their ten nearest images, out of " (count(gallery.answers.len())) " queries." };
    (Section { id: "gallery", title: "Gallery", lead, body }, left_out)
}

fn camera(gallery: &Gallery<'_>, answer: &Answer) -> Option<u16> {
    gallery.catalogue.find(answer.id).and_then(|entry| entry.camera)
}

/// The HTML of each list. Rows are added list by list in turn until the budget is used up.
fn panels(gallery: &Gallery<'_>, pictures: &Pictures<'_>) -> (Vec<String>, Option<String>) {
    let mut panels = vec![String::new(); gallery.lists.len()];
    let (mut used, mut shown, mut wanted) = (0, 0, 0);
    let longest = gallery.lists.iter().map(|list| list.queries.len()).max().unwrap_or(0);
    let mut is_full = false;
    for row in 0..longest {
        for (panel, list) in panels.iter_mut().zip(gallery.lists) {
            let Some(&query) = list.queries.get(row) else { continue };
            wanted += 1;
            let answer = &gallery.answers[query];
            let cost = pictures.cost(answer.neighbours.iter().copied().chain([answer.id]));
            // A row without its pictures takes about 300 bytes a picture.
            let text = 300 * (answer.neighbours.len() + 1);
            is_full |= used + cost + text > gallery.budget;
            if is_full {
                continue;
            }
            let html = answer_row(gallery, pictures, query, list.name).into_string();
            used += cost + html.len();
            shown += 1;
            panel.push_str(&html);
        }
    }
    let left_out = (shown < wanted).then(|| {
        format!(
            "{} of {} rows are left out to keep the size of this page; `--budget` raises it.",
            wanted - shown,
            wanted
        )
    });
    (panels, left_out)
}

fn tabs(lists: &[GalleryList], panels: &[String]) -> Markup {
    html! {
        // Which panel is shown follows from the chosen radio button, without a script.
        style {
            @for list in lists {
                (PreEscaped(format!("#tab-{0}:checked~.panel[data-tab=tab-{0}]{{display:block}}", list.name)))
            }
        }
        div.tabs {
            @for (number, list) in lists.iter().enumerate() {
                input type="radio" name="gallery" id=(format!("tab-{}", list.name)) checked[number == 0];
                label for=(format!("tab-{}", list.name)) { (list.title) }
            }
            @for (list, panel) in lists.iter().zip(panels) {
                div.panel data-tab=(format!("tab-{}", list.name)) {
                    p.caption { (list.definition) }
                    (PreEscaped(panel))
                }
            }
        }
    }
}

fn answer_row(gallery: &Gallery<'_>, pictures: &Pictures<'_>, query: usize, list: &str) -> Markup {
    let (answer, catalogue) = (&gallery.answers[query], gallery.catalogue);
    let class = catalogue.class(answer.label);
    let learners = gallery.learners.get(&query);
    let learners = learners.map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    html! {
        div.answer id=(format!("{list}-{}", answer.id)) data-class=(class) data-query=(answer.id)
            data-camera=[camera(gallery, answer)] data-learners=[learners] {
            figure.query title=(format!("image {} {}", answer.id, catalogue.source(answer.id))) {
                (pictures.show(answer.id))
                figcaption {
                    b { (class) } br;
                    "AP " (percent(answer.average_precision)) " % · "
                    @match answer.first_hit { Some(rank) => { "first right: " (rank) }, None => "none right" }
                }
            }
            @for (rank, &distance) in answer.distances.iter().enumerate().take(10) {
                (neighbour(pictures, catalogue, answer, rank, gallery.calibration.share_at(distance)))
            }
        }
    }
}
