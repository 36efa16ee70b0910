//! The frame of a chart: its size, axes and grid.

use maud::{Markup, html};

use super::scale::Scale;
use crate::pages::format::decimal;

/// How numbers on an axis are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pages) enum Unit {
    /// As they are.
    Plain,
    /// Fractions as percent.
    Percent,
}

impl Unit {
    /// A number with so many decimals.
    pub(super) fn text(self, value: f64, decimals: usize) -> String {
        let (value, decimals) = match self {
            Unit::Plain => (value, decimals),
            Unit::Percent => (value * 100.0, decimals.saturating_sub(2)),
        };
        decimal(value, decimals)
    }
}

/// A frame with the area that is drawn in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl Frame {
    pub(super) fn x(&self, range: (f64, f64)) -> Scale {
        Scale::new(range, (self.left, self.width - self.right))
    }

    pub(super) fn y(&self, range: (f64, f64)) -> Scale {
        Scale::new(range, (self.height - self.bottom, self.top))
    }

    /// The drawing: `inside`, with a title that screen readers read.
    pub(super) fn svg(&self, title: &str, inside: &Markup) -> Markup {
        let view_box = format!("0 0 {} {}", self.width, self.height);
        html! {
            svg.chart viewBox=(view_box) width=(self.width) height=(self.height) role="img" aria-label=(title) { (inside) }
        }
    }

    /// Horizontal grid lines with their numbers, and the label of the axis above them.
    pub(super) fn y_axis(&self, scale: &Scale, unit: Unit, label: &str) -> Markup {
        let (ticks, decimals) = scale.ticks(5);
        html! {
            @for tick in ticks {
                @let y = px(scale.at(tick));
                line.grid x1=(self.left) x2=(self.width - self.right) y1=(y) y2=(y) {}
                text.tick x=(self.left - 6.0) y=(y) dy="0.32em" text-anchor="end" { (unit.text(tick, decimals)) }
            }
            text.axis x=(0) y=(10) { (label) }
        }
    }

    /// Numbers along the horizontal axis, and its label below them.
    pub(super) fn x_axis(&self, scale: &Scale, unit: Unit, label: &str) -> Markup {
        let (ticks, decimals) = scale.ticks(6);
        let named: Vec<(f64, String)> = ticks.into_iter().map(|tick| (tick, unit.text(tick, decimals))).collect();
        self.x_labels(scale, &named, label)
    }

    /// Named places along the horizontal axis, as many as fit beside each other, and its label below them.
    pub(super) fn x_labels(&self, scale: &Scale, ticks: &[(f64, String)], label: &str) -> Markup {
        let base = self.height - self.bottom;
        let mut end = f64::NEG_INFINITY;
        let mut fitting: Vec<&(f64, String)> = Vec::new();
        for tick in ticks {
            let (middle, half) = (scale.at(tick.0), text_width(&tick.1) / 2.0);
            if middle - half >= end {
                end = middle + half + 4.0;
                fitting.push(tick);
            }
        }
        html! {
            line.base x1=(self.left) x2=(self.width - self.right) y1=(base) y2=(base) {}
            @for (tick, text) in fitting {
                text.tick x=(px(scale.at(*tick))) y=(base + 15.0) text-anchor="middle" { (text) }
            }
            text.axis x=(px((self.left + self.width - self.right) / 2.0)) y=(self.height - 3.0) text-anchor="middle" { (label) }
        }
    }
}

/// Width of the space that the numbers along a vertical axis need at its left.
pub(super) fn y_width(scale: &Scale, unit: Unit) -> f64 {
    let (ticks, decimals) = scale.ticks(5);
    ticks.into_iter().map(|tick| text_width(&unit.text(tick, decimals))).fold(0.0, f64::max) + 8.0
}

/// About the width of a text beside an axis.
pub(super) fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * 6.2
}

/// A coordinate with one decimal.
pub(super) fn px(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_would_cover_each_other_are_left_out() {
        let frame = Frame { width: 340.0, height: 250.0, left: 38.0, right: 62.0, top: 24.0, bottom: 38.0 };
        let check = |rounds: u32, expected: &[&str]| {
            let ticks: Vec<(f64, String)> =
                (0..rounds).map(|round| (f64::from(round), format!("{round} · K=8"))).collect();
            let drawn = frame.x_labels(&frame.x((0.0, f64::from(rounds - 1))), &ticks, "round").into_string();
            let shown: Vec<&str> =
                drawn.split("class=\"tick\"").skip(1).filter_map(|rest| rest.split(['>', '<']).nth(1)).collect();
            assert_eq!(shown, expected);
        };
        check(3, &["0 · K=8", "1 · K=8", "2 · K=8"]);
        check(81, &["0 · K=8", "17 · K=8", "35 · K=8", "53 · K=8", "71 · K=8"]);
    }

    #[test]
    fn small_numbers_need_a_wider_margin() {
        let scale = |low: f64, high: f64| Scale::new((low, high), (100.0, 0.0));
        assert!(y_width(&scale(0.0, 1.0), Unit::Percent) < 38.0);
        // 0.0000105 has nine characters.
        assert!(y_width(&scale(0.9e-5, 1.1e-5), Unit::Plain) > 9.0 * 6.0);
    }
}
