//! A Gantt chart: when each node ran, in lanes.

use maud::{Markup, html};

use super::frame::{Frame, Unit, px};
use crate::pages::analysis::timeline::Timeline;
use crate::pages::format::seconds;

const LANE: f64 = 22.0;

/// Draws a timeline.
pub(in crate::pages) fn draw(timeline: &Timeline) -> Markup {
    let end = timeline.spans.iter().map(|span| span.begin + span.seconds).fold(0.0, f64::max);
    let (top, bottom) = (4.0, 34.0);
    let height = top + LANE * timeline.lanes as f64 + bottom;
    let frame = Frame { width: 960.0, height, left: 4.0, right: 8.0, top, bottom };
    let x = frame.x((0.0, end.max(0.001)));
    let inside = html! {
        (frame.x_axis(&x, Unit::Plain, "seconds since the start of the run"))
        @for span in &timeline.spans {
            @let (left, right) = (x.at(span.begin), x.at(span.begin + span.seconds));
            @let width = (right - left).max(1.0);
            g.span.(format!("h{}", span.stage % 8)).critical[span.is_critical] {
                title { (span.node) ": " (seconds(span.seconds)) ", from " (seconds(span.begin)) (span.note) }
                rect x=(px(left)) y=(px(top + LANE * span.lane as f64)) width=(px(width)) height=(LANE - 3.0) rx="3" {}
                @if width > span.node.len() as f64 * 6.2 + 8.0 {
                    text x=(px(left + 5.0)) y=(px(top + LANE * span.lane as f64 + 13.5)) { (span.node) }
                }
            }
        }
    };
    frame.svg("Timeline of the nodes", &inside)
}
