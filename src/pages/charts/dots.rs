//! A scatter plot of a few points.

use maud::{Markup, html};

use super::frame::{Frame, Unit, px};
use super::scale::range;

/// One point.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pages) struct Dot {
    pub(in crate::pages) x: f64,
    pub(in crate::pages) y: f64,
    /// Radius in pixels.
    pub(in crate::pages) radius: f64,
    /// Text beside it; empty for none.
    pub(in crate::pages) name: String,
    pub(in crate::pages) title: String,
}

/// Labels and units of both axes.
pub(in crate::pages) struct Axes<'a> {
    pub(in crate::pages) x: (&'a str, Unit),
    pub(in crate::pages) y: (&'a str, Unit),
}

/// Draws the points.
pub(in crate::pages) fn draw(title: &str, axes: &Axes<'_>, dots: &[Dot]) -> Markup {
    let frame = Frame { width: 340.0, height: 230.0, left: 42.0, right: 60.0, top: 24.0, bottom: 38.0 };
    let x = frame.x(range(dots.iter().map(|dot| dot.x), false));
    let y = frame.y(range(dots.iter().map(|dot| dot.y), false));
    let inside = html! {
        (frame.y_axis(&y, axes.y.1, axes.y.0))
        (frame.x_axis(&x, axes.x.1, axes.x.0))
        @for dot in dots {
            circle.dot cx=(px(x.at(dot.x))) cy=(px(y.at(dot.y))) r=(px(dot.radius)) { title { (dot.title) } }
            @if !dot.name.is_empty() {
                text.name x=(px(x.at(dot.x) + dot.radius + 4.0)) y=(px(y.at(dot.y))) dy="0.32em" { (dot.name) }
            }
        }
    };
    frame.svg(title, &inside)
}
