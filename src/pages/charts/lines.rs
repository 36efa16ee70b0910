//! A line chart: series with intervals, references as horizontal lines, names at the ends of the lines.

use std::fmt::Write as _;

use maud::{Markup, html};

pub(in crate::pages) use super::frame::Unit;
use super::frame::{Frame, px, text_width, y_width};
use super::scale::range;

/// One point of a series.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pages) struct Point {
    pub(in crate::pages) x: f64,
    pub(in crate::pages) y: f64,
    /// The ends of its interval, if it has one.
    pub(in crate::pages) interval: Option<(f64, f64)>,
    /// What it is, shown under the pointer.
    pub(in crate::pages) title: String,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pages) struct Series {
    /// Its name, at the end of the line; empty for none.
    pub(in crate::pages) name: String,
    /// Its class in the style sheet.
    pub(in crate::pages) class: String,
    pub(in crate::pages) points: Vec<Point>,
}

/// A line chart.
#[derive(Clone, Debug)]
pub(in crate::pages) struct LineChart<'a> {
    pub(in crate::pages) title: &'a str,
    pub(in crate::pages) x_label: &'a str,
    pub(in crate::pages) y_label: &'a str,
    /// Named places along the horizontal axis; empty for round numbers.
    pub(in crate::pages) x_ticks: Vec<(f64, String)>,
    pub(in crate::pages) series: Vec<Series>,
    /// Horizontal lines with their names.
    pub(in crate::pages) references: Vec<(String, f64)>,
    /// A place along the horizontal axis that is marked, with its name.
    pub(in crate::pages) marked: Option<(f64, &'a str)>,
    /// Vertical lines.
    pub(in crate::pages) dividers: Vec<f64>,
    pub(in crate::pages) unit: Unit,
    pub(in crate::pages) size: (f64, f64),
    /// Whether dots mark the points; a point alone always has one.
    pub(in crate::pages) dots: bool,
}

/// Space for names at the right.
fn name_width(chart: &LineChart<'_>) -> f64 {
    let names = chart.series.iter().map(|series| &series.name).chain(chart.references.iter().map(|(name, _)| name));
    names.map(|name| text_width(name) + 14.0).fold(8.0, f64::max).min(150.0)
}

/// Draws the chart.
pub(in crate::pages) fn draw(chart: &LineChart<'_>) -> Markup {
    let (width, height) = chart.size;
    let mut frame = Frame { width, height, left: 38.0, right: name_width(chart), top: 24.0, bottom: 38.0 };
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let ends = points().flat_map(|point| {
        let (low, high) = point.interval.unwrap_or((point.y, point.y));
        [low, point.y, high]
    });
    let y = frame.y(range(ends.chain(chart.references.iter().map(|reference| reference.1)), false));
    frame.left = frame.left.max(y_width(&y, chart.unit));
    let named = chart.x_ticks.iter().map(|tick| tick.0);
    let x = frame.x(range(points().map(|point| point.x).chain(named), false));
    let inside = html! {
        (frame.y_axis(&y, chart.unit, chart.y_label))
        @if chart.x_ticks.is_empty() { (frame.x_axis(&x, Unit::Plain, chart.x_label)) }
        @else { (frame.x_labels(&x, &chart.x_ticks, chart.x_label)) }
        @for divider in &chart.dividers {
            line.divider x1=(px(x.at(*divider))) x2=(px(x.at(*divider))) y1=(frame.top) y2=(height - frame.bottom) {}
        }
        @if let Some((at, name)) = chart.marked {
            line.marked x1=(px(x.at(at))) x2=(px(x.at(at))) y1=(frame.top) y2=(height - frame.bottom) {}
            text.tick x=(px(x.at(at))) y=(frame.top - 4.0) text-anchor="middle" { (name) }
        }
        @for (name, value) in &chart.references {
            line.reference x1=(frame.left) x2=(px(width - frame.right)) y1=(px(y.at(*value))) y2=(px(y.at(*value))) {
                title { (name) ": " (chart.unit.text(*value, 3)) }
            }
        }
        @for series in &chart.series {
            g.series.(series.class) {
                @for point in &series.points {
                    @if let Some((low, high)) = point.interval {
                        line.whisker x1=(px(x.at(point.x))) x2=(px(x.at(point.x))) y1=(px(y.at(low))) y2=(px(y.at(high))) {}
                    }
                }
                path d=(path(series.points.iter().map(|point| (x.at(point.x), y.at(point.y))))) {}
                // A line through one point is invisible.
                @if chart.dots || series.points.len() == 1 {
                    @for point in &series.points {
                        circle cx=(px(x.at(point.x))) cy=(px(y.at(point.y))) r="3.5" { title { (point.title) } }
                    }
                }
            }
        }
        @for (name, class, at) in names(chart, &y) {
            text.name.(class) x=(px(width - frame.right + 8.0)) y=(px(at)) dy="0.32em" { (name) }
        }
    };
    frame.svg(chart.title, &inside)
}

/// The names at the right, moved apart so that none covers another: name, class, height.
fn names(chart: &LineChart<'_>, y: &super::scale::Scale) -> Vec<(String, String, f64)> {
    let of_series = chart.series.iter().filter(|series| !series.name.is_empty()).filter_map(|series| {
        series.points.last().map(|point| (series.name.clone(), series.class.clone(), y.at(point.y)))
    });
    let of_references =
        chart.references.iter().map(|(name, value)| (name.clone(), "reference".to_owned(), y.at(*value)));
    let mut names: Vec<(String, String, f64)> = of_series.chain(of_references).collect();
    // Of more than fit, the last ones: those of the references, and before them of the last series.
    let most = ((chart.size.1 - 58.0) / 13.0) as usize;
    names.drain(..names.len().saturating_sub(most));
    names.sort_by(|a, b| a.2.total_cmp(&b.2));
    for at in 1..names.len() {
        names[at].2 = names[at].2.max(names[at - 1].2 + 13.0);
    }
    // What was pushed below the axis moves back up.
    let mut limit = chart.size.1 - 34.0;
    for name in names.iter_mut().rev() {
        name.2 = name.2.min(limit);
        limit = name.2 - 13.0;
    }
    names
}

fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (number, (x, y)) in points.enumerate() {
        let command = if number == 0 { 'M' } else { 'L' };
        write!(path, "{command}{x:.1} {y:.1}").expect("writing to a string cannot fail");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_alone_and_the_ends_of_its_interval_are_drawn() {
        let point = |x: f64, y: f64| Point { x, y, interval: Some((0.0, 1.0)), title: String::new() };
        let circles = |points: Vec<Point>| {
            let series = vec![Series { name: String::new(), class: "s0".to_owned(), points }];
            let drawn = draw(&LineChart {
                title: "Loss",
                x_label: "epoch",
                y_label: "Loss",
                x_ticks: Vec::new(),
                series,
                references: Vec::new(),
                marked: None,
                dividers: Vec::new(),
                unit: Unit::Percent,
                size: (320.0, 210.0),
                dots: false,
            });
            let drawn = drawn.into_string();
            assert!(drawn.contains(">100<") && !drawn.contains(">120<"), "the axis ends with the interval: {drawn}");
            drawn.matches("<circle").count()
        };
        assert_eq!(circles(vec![point(0.0, 0.5)]), 1, "one epoch");
        assert_eq!(circles(vec![point(0.0, 0.5), point(1.0, 0.4)]), 0);
    }
}
