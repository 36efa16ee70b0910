//! Rows of estimates with their intervals: a forest plot.

use maud::{Markup, html};

use super::frame::{Frame, Unit, px};
use super::scale::range;

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pages) struct Row {
    pub(in crate::pages) name: String,
    pub(in crate::pages) value: f64,
    /// Its interval, if it has one.
    pub(in crate::pages) interval: Option<(f64, f64)>,
    /// Text at the right.
    pub(in crate::pages) note: String,
    /// Its class in the style sheet: `better`, `worse` or `same`.
    pub(in crate::pages) class: &'static str,
}

/// Draws the rows above an axis with 0 on it.
pub(in crate::pages) fn draw(title: &str, label: &str, unit: Unit, rows: &[Row]) -> Markup {
    let longest = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0) as f64;
    let note = rows.iter().map(|row| row.note.chars().count()).max().unwrap_or(0) as f64;
    let left = (longest * 6.4 + 16.0).min(230.0);
    let (top, bottom, step) = (6.0, 38.0, 24.0);
    let height = rows.len() as f64 * step + top + bottom;
    let right = note * 6.2 + 16.0;
    let frame = Frame { width: left + right + 320.0, height, left, right, top, bottom };
    let ends = rows.iter().flat_map(|row| {
        let (low, high) = row.interval.unwrap_or((row.value, row.value));
        [low, high, row.value]
    });
    let x = frame.x(range(ends.chain([0.0]), false));
    let inside = html! {
        (frame.x_axis(&x, unit, label))
        line.zero x1=(px(x.at(0.0))) x2=(px(x.at(0.0))) y1=(top) y2=(height - bottom) {}
        @for (number, row) in rows.iter().enumerate() {
            @let y = top + step * (number as f64 + 0.5);
            g.estimate.(row.class) {
                text.name x=(left - 10.0) y=(px(y)) dy="0.32em" text-anchor="end" { (row.name) }
                @if let Some((low, high)) = row.interval {
                    line.whisker x1=(px(x.at(low))) x2=(px(x.at(high))) y1=(px(y)) y2=(px(y)) {}
                }
                circle cx=(px(x.at(row.value))) cy=(px(y)) r="4.5" { title { (row.name) ": " (row.note) } }
                text.note x=(px(frame.width - right + 10.0)) y=(px(y)) dy="0.32em" { (row.note) }
            }
        }
    };
    frame.svg(title, &inside)
}
