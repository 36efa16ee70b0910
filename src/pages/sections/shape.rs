//! Section 9: the shape of the embedding.

use maud::{Markup, html};

use super::parts::missing;
use crate::pages::analysis::calibration::Calibration;
use crate::pages::analysis::shape::{Shape, recall_by_size};
use crate::pages::charts::dots::{self, Axes, Dot};
use crate::pages::charts::histogram::{self, Distribution};
use crate::pages::charts::lines::{LineChart, Point, Series, Unit, draw};
use crate::pages::evidence::{Catalogue, Evaluated, Evidence, Subject};
use crate::pages::format::{counted, decimal, percent};
use crate::pages::page::Section;
use crate::report::answers::Answer;

/// What the section is made from.
pub(in crate::pages) struct ShapeData<'a> {
    pub(in crate::pages) run: &'a Evidence,
    pub(in crate::pages) subject: &'a Subject,
    pub(in crate::pages) answers: &'a [Answer],
    pub(in crate::pages) catalogue: &'a Catalogue,
    pub(in crate::pages) calibration: &'a Calibration,
    pub(in crate::pages) shape: Option<&'a Shape>,
}

/// The section.
pub(in crate::pages) fn section(data: &ShapeData<'_>) -> Section {
    let body = html! {
        div.small {
            @match data.shape {
                Some(shape) => {
                    div {
                        (histogram::draw("Distances within and between classes", "Euclidean distance", &[
                            Distribution { name: "different classes".into(), class: "negative", values: shape.negative.clone() },
                            Distribution { name: "same class".into(), class: "positive", values: shape.positive.clone() },
                        ]))
                        p.caption { "Distances of " (counted(shape.positive.len(), "pair", "pairs")) " of one class and "
                            (counted(shape.negative.len(), "pair", "pairs")) " of different classes. The less they overlap, the better." }
                    }
                    div { (spectrum(shape)) p.caption { "Singular values of the centred embeddings, each as a share of their sum. Effective rank "
                        (format!("{:.1}", shape.effective_rank)) " of " (shape.spectrum.len()) ": exp of the entropy of these shares." } }
                }
                None => {
                    div {
                        (neighbour_distances(data))
                        p.caption { "Distances of the ten nearest images of all queries."
                            @if data.answers.len() > 1 { " Distances of all pairs need the embeddings, which this run has not kept." } }
                    }
                }
            }
            div { (calibration(data.calibration)) p.caption { "Share of right ones among all neighbours at a distance: what a distance is worth in this \
                run. The percentages below the pictures are read from this curve." } }
            (alignment(data))
            (sizes(data))
        }
        @if data.shape.is_none() && data.answers.len() > 1 { (missing(super::parts::NO_EMBEDDINGS)) }
    };
    let lead = html! { "How the embedding of the chosen round fills its space." };
    Section { id: "shape", title: "Shape", lead, body }
}

fn neighbour_distances(data: &ShapeData<'_>) -> Markup {
    let mut sides = [Vec::new(), Vec::new()];
    for answer in data.answers {
        for (&neighbour, &distance) in answer.neighbours.iter().zip(&answer.distances) {
            if let Some(label) = data.catalogue.label(neighbour) {
                sides[usize::from(label == answer.label)].push(f64::from(distance));
            }
        }
    }
    let [negative, positive] = sides;
    histogram::draw(
        "Distances of neighbours",
        "Euclidean distance",
        &[
            Distribution { name: "another class".into(), class: "negative", values: negative },
            Distribution { name: "same class".into(), class: "positive", values: positive },
        ],
    )
}

fn line(title: &str, x_label: &str, y_label: &str, points: Vec<Point>, unit: Unit) -> Markup {
    draw(&LineChart {
        title,
        x_label,
        y_label,
        x_ticks: Vec::new(),
        series: vec![Series { name: String::new(), class: "test".into(), points }],
        references: Vec::new(),
        marked: None,
        dividers: Vec::new(),
        unit,
        size: (340.0, 230.0),
        dots: false,
    })
}

fn spectrum(shape: &Shape) -> Markup {
    let point = |(number, &share): (usize, &f64)| Point {
        x: (number + 1) as f64,
        y: share,
        interval: None,
        title: String::new(),
    };
    let points = shape.spectrum.iter().enumerate().map(point).collect();
    line("Spectrum", "singular value", "share, %", points, Unit::Percent)
}

fn calibration(calibration: &Calibration) -> Markup {
    let point = |&(x, y): &(f64, f64)| Point { x, y, interval: None, title: String::new() };
    let points = calibration.points().iter().map(point).collect();
    line("Share right against distance", "Euclidean distance", "right, %", points, Unit::Percent)
}

/// Alignment against uniformity of each round, if the run measured them, and of the chosen round otherwise.
fn alignment(data: &ShapeData<'_>) -> Markup {
    let measured = |metric: &str, node: &str| data.run.value(node, &data.subject.split, metric, None);
    let rounds =
        data.subject.rounds.iter().filter_map(|round| {
            Some((round, measured("uniformity", &round.node)?, measured("alignment", &round.node)?))
        });
    let mut found: Vec<(&Evaluated, f64, f64)> = rounds.collect();
    if let Some(shape) = data.shape.filter(|_| found.is_empty()) {
        found.push((data.subject.chosen(), shape.uniformity, shape.alignment));
    }
    if found.is_empty() {
        return html! {};
    }
    // The first round with each number of learners has a name; those of all rounds would cover each other.
    let is_first = |at: usize| at == 0 || found[at - 1].0.learners != found[at].0.learners;
    let dot = |(at, &(round, x, y)): (usize, &(&Evaluated, f64, f64))| {
        let Evaluated { round, learners, .. } = round;
        Dot {
            x,
            y,
            radius: 5.0,
            title: format!("round {round}, K = {learners}: alignment {}, uniformity {}", decimal(y, 3), decimal(x, 3)),
            name: if is_first(at) { format!("K = {learners}") } else { String::new() },
        }
    };
    let one = match found.as_slice() {
        [(_, uniformity, alignment)] => Some((*uniformity, *alignment)),
        _ => None,
    };
    let dots: Vec<Dot> = found.iter().enumerate().map(dot).collect();
    html! {
        div {
            @match one {
                // A single dot shows nothing.
                Some((uniformity, alignment)) => p { "Alignment " b { (decimal(alignment, 3)) } ", uniformity " b { (decimal(uniformity, 3)) } "." },
                None => (dots::draw("Alignment against uniformity", &Axes { x: ("uniformity", Unit::Plain), y: ("alignment", Unit::Plain) }, &dots)),
            }
            p.caption { "Alignment: mean squared distance within classes. Uniformity: logarithm of the mean of exp(−2 d²) over all pairs. Lower is better \
                for both (Wang and Isola 2020)." @if one.is_some() { " To compare all rounds, set " code { "shape = true" } " in the stage " code { "evaluate" } "." } }
        }
    }
}

fn sizes(data: &ShapeData<'_>) -> Markup {
    let sizes = recall_by_size(data.answers);
    if sizes.len() < 2 {
        let only = sizes.first().map(|(size, ..)| *size).unwrap_or(0);
        return html! {
            @if only > 0 { div { p { "All classes have " (counted(only, "image", "images")) ", so Recall@1 cannot depend on the size of the class." } } }
        };
    }
    let most = sizes.iter().map(|size| size.1).max().unwrap_or(1) as f64;
    let dot = |&(size, classes, recall): &(usize, usize, f64)| Dot {
        x: size as f64,
        y: recall,
        radius: 3.0 + 9.0 * (classes as f64 / most).sqrt(),
        name: String::new(),
        title: format!("{classes} classes of {size} images: {} %", percent(recall)),
    };
    let dots: Vec<Dot> = sizes.iter().map(dot).collect();
    html! {
        div {
            (dots::draw("R@1 against class size", &Axes { x: ("images per class", Unit::Plain), y: ("R@1, %", Unit::Percent) }, &dots))
            p.caption { "R@1 of the classes of each size; the area of a dot is the number of classes." }
        }
    }
}
