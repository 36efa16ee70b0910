//! Section 8: robustness against changes of the image that are unrelated to its class.

use dnc_learn::statistics::mean_interval;
use maud::{Markup, html};

use super::parts::missing;
use crate::pages::analysis::nuisance_examples::{Examples, UNCHANGED};
use crate::pages::charts::intervals::{Row, draw};
use crate::pages::charts::lines::Unit;
use crate::pages::evidence::{Evidence, Subject};
use crate::pages::format::{base64, points};
use crate::pages::page::Section;

/// What each nuisance does.
const KNOWN: [(&str, &str); 6] = [
    ("aberration", "red and blue scaled by up to 3 % in either direction"),
    ("blur", "Gaussian blur of 0.5 to 2 % of the side"),
    ("jpeg", "JPEG of quality 10 to 50"),
    ("grey", "half of the images in grey"),
    ("colour_cast", "red, green and blue each times 0.7 to 1.3"),
    ("noise", "Gaussian noise of up to 30 grey levels"),
];

/// The section.
pub(in crate::pages) fn section(runs: &[Evidence], subject: &Subject, examples: &Examples) -> Section {
    let row = |(name, meaning): (&str, &str)| {
        let metric = format!("drop_{name}");
        let value = |run: &Evidence| run.value(&subject.chosen().node, &subject.split, &metric, Some(1));
        let drops: Vec<f64> = runs.iter().filter_map(value).collect();
        let mean = drops.iter().sum::<f64>() / drops.len() as f64;
        let interval =
            mean_interval(&drops).map(|found| (found.mean - found.half_width, found.mean + found.half_width));
        let class = match interval {
            Some((low, _)) if low > 0.0 => "worse",
            Some((_, high)) if high < 0.0 => "better",
            Some(_) => "same",
            None => "single",
        };
        let seeds = if interval.is_none() { ", one seed" } else { "" };
        let note = format!("{}{seeds} — {meaning}", points(mean));
        (!drops.is_empty()).then(|| Row { name: name.replace('_', " "), value: mean, interval, note, class })
    };
    let rows: Vec<Row> = KNOWN.into_iter().filter_map(row).collect();
    let body = html! {
        @if rows.is_empty() {
            (missing("This run measured no nuisances. Add `nuisances = [\"aberration\", \"blur\", \"jpeg\", \"grey\", \"colour_cast\", \"noise\"]` to the \
                stage `evaluate` and run again; only the evaluations run."))
        } @else {
            (draw("Drop of R@1 per nuisance", "drop of R@1, percentage points", Unit::Percent, &rows))
            p.caption { "R@1 on the unchanged images minus R@1 with every image changed in its own way, in percentage points; above 0: the \
                model depends on what has nothing to do with the class. " @if runs.len() > 1 { "Intervals: 95 %, over seeds." } }
            (pictures(examples))
            p.caption { "Which queries flip is not recorded: " code { "evaluate" } " keeps the drop alone." }
        }
    };
    let lead = html! { "How much R@1 drops if images are changed in ways that are unrelated to their class." };
    Section { id: "nuisances", title: "Nuisances", lead, body }
}

/// The nuisances that the run measured, by name.
pub(in crate::pages) fn measured(run: &Evidence, subject: &Subject) -> Vec<&'static str> {
    let value = |name: &str| run.value(&subject.chosen().node, &subject.split, &format!("drop_{name}"), Some(1));
    KNOWN.into_iter().map(|(name, _)| name).filter(|name| value(name).is_some()).collect()
}

/// A row of pictures per nuisance.
fn pictures(examples: &Examples) -> Markup {
    let row = |name: &str| examples.get(name).map(|pictures| (name.replace('_', " "), pictures));
    let rows: Vec<_> = [UNCHANGED].into_iter().chain(KNOWN.map(|(name, _)| name)).filter_map(row).collect();
    html! {
        @if !rows.is_empty() {
            h3 { "What they look like" }
            @for (name, pictures) in rows {
                div.answer {
                    div.side { (name) }
                    @for jpeg in pictures {
                        figure.query {
                            i.p role="img" aria-label=(name) style=(format!("background-image:url(data:image/jpeg;base64,{})", base64(jpeg))) {}
                        }
                    }
                }
            }
            p.caption { "Queries whose nearest image is right without changes, each changed as in the evaluation." }
        }
    }
}
