//! The frame of a chart: its size, axes and grid.

use maud::{Markup, html};

use super::scale::Scale;

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
        let text = format!("{value:.decimals$}");
        if text.starts_with('-') { text.replacen('-', "−", 1) } else { text }
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

    /// Named places along the horizontal axis, and its label below them.
    pub(super) fn x_labels(&self, scale: &Scale, ticks: &[(f64, String)], label: &str) -> Markup {
        let base = self.height - self.bottom;
        html! {
            line.base x1=(self.left) x2=(self.width - self.right) y1=(base) y2=(base) {}
            @for (tick, text) in ticks {
                text.tick x=(px(scale.at(*tick))) y=(base + 15.0) text-anchor="middle" { (text) }
            }
            text.axis x=(px((self.left + self.width - self.right) / 2.0)) y=(self.height - 3.0) text-anchor="middle" { (label) }
        }
    }
}

/// A coordinate with one decimal.
pub(super) fn px(value: f64) -> String {
    format!("{value:.1}")
}
