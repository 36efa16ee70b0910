//! Two or more distributions over one axis, each as an outline with a filled area.

use maud::{Markup, html};

use super::frame::{Frame, Unit, px, text_width};
use super::scale::range;

/// One distribution.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pages) struct Distribution {
    pub(in crate::pages) name: String,
    pub(in crate::pages) class: &'static str,
    pub(in crate::pages) values: Vec<f64>,
}

const BINS: usize = 60;

/// Draws the distributions, each with area 1.
pub(in crate::pages) fn draw(title: &str, label: &str, distributions: &[Distribution]) -> Markup {
    let (low, high) = range(distributions.iter().flat_map(|one| one.values.iter().copied()), false);
    let counts = |values: &[f64]| {
        let mut counts = [0.0; BINS];
        for value in values {
            let bin = ((value - low) / (high - low) * BINS as f64) as usize;
            counts[bin.min(BINS - 1)] += 1.0 / values.len().max(1) as f64;
        }
        counts
    };
    let all: Vec<[f64; BINS]> = distributions.iter().map(|one| counts(&one.values)).collect();
    let frame = Frame { width: 340.0, height: 230.0, left: 38.0, right: 12.0, top: 24.0, bottom: 38.0 };
    let x = frame.x((low, high));
    let y = frame.y(range(all.iter().flatten().copied(), true));
    let outline = |counts: &[f64; BINS]| {
        let base = y.at(0.0);
        let mut path = format!("M{:.1} {base:.1}", x.at(low));
        for (bin, count) in counts.iter().enumerate() {
            let edge = x.at(low + (high - low) * (bin + 1) as f64 / BINS as f64);
            path += &format!("V{:.1}H{edge:.1}", y.at(*count));
        }
        format!("{path}V{base:.1}Z")
    };
    // The names stand side by side above the chart, where nothing is drawn.
    let mut end = frame.width - frame.right;
    let ends: Vec<f64> = distributions
        .iter()
        .map(|one| {
            let here = end;
            end -= text_width(&one.name) + 16.0;
            here
        })
        .collect();
    let inside = html! {
        (frame.y_axis(&y, Unit::Percent, "% of pairs"))
        (frame.x_axis(&x, Unit::Plain, label))
        @for (one, counts) in distributions.iter().zip(&all) {
            path.area.(one.class) d=(outline(counts)) { title { (one.name) } }
        }
        @for (one, end) in distributions.iter().zip(ends) {
            text.name.(one.class) x=(px(end)) y="10" text-anchor="end" { (one.name) }
        }
    };
    frame.svg(title, &inside)
}
