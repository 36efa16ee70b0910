//! Table with a row per metric and a column per group.

use std::io::{self, Write};

use super::comparison::{ComparedMetric, GroupValues, MeanInterval};
use super::group::{Group, GroupName};
use super::text_form::{TextForm, signed_interval, verdict};

/// Writes the table.
///
/// # Errors
/// The output cannot be written.
pub fn write(groups: &[Group], metrics: &[ComparedMetric], form: TextForm, out: impl Write) -> io::Result<()> {
    form.write(&headings(groups), metrics.iter().map(|metric| row(metric, form)).collect(), out)
}

/// The headings. With two groups, the interval and p of the difference have columns of their own; with more, they would make
/// the table too wide.
fn headings(groups: &[Group]) -> Vec<String> {
    let mut headings: Vec<String> = ["node", "split", "metric"].map(str::to_owned).into();
    headings.extend(groups.iter().map(|group| group.name.to_string()));
    let short = GroupName::shortened(groups.iter().map(|group| &group.name));
    let Some((first, others)) = short.split_first() else { return headings };
    for other in others {
        headings.push(format!("{other} − {first}"));
        if others.len() == 1 {
            headings.extend(["95 % interval", "p", "p (sign flips)"].map(str::to_owned));
        }
        headings.push("verdict".to_owned());
    }
    headings
}

fn row(metric: &ComparedMetric, form: TextForm) -> Vec<String> {
    let mut cells = vec![metric.node.clone(), metric.split.clone(), metric.label()];
    cells.extend(metric.groups.iter().map(|group| match (group.mean(), group.interval(&metric.metric)) {
        (_, Some(MeanInterval { mean, half_width: Some(half_width), .. })) => format!("{mean:.4} ± {half_width:.4}"),
        // A share cannot be below 0 or above 1.
        (_, Some(MeanInterval { mean, low, high, .. })) => format!("{mean:.4} ({low:.4} … {high:.4})"),
        (Some(mean), None) => format!("{mean:.4}"),
        (None, None) => String::new(),
    }));
    let Some((first, others)) = metric.groups.split_first() else { return cells };
    for other in others {
        cells.extend(difference_cells(first, other, others.len() == 1, form));
    }
    cells
}

/// The cells of the difference `other − first`.
fn difference_cells(first: &GroupValues, other: &GroupValues, wide: bool, form: TextForm) -> Vec<String> {
    let comparison = other.comparison.as_ref();
    // That of the pairs that were compared. Without a comparison, the difference of the means is still known.
    let of_means = || first.mean().zip(other.mean()).map(|(first, other)| other - first);
    let difference = comparison.map(|comparison| comparison.difference.mean).or_else(of_means);
    let difference = difference.map_or_else(String::new, |difference| format!("{difference:+.4}"));
    let interval = comparison.map(|comparison| signed_interval(comparison.difference.interval));
    let verdict = comparison.map_or_else(String::new, verdict);
    if !wide {
        let interval = interval.map(|interval| format!(" ({interval})")).unwrap_or_default();
        return vec![form.emphasised(difference + &interval, comparison), verdict];
    }
    let p = |p: Option<f64>| p.map_or_else(String::new, |p| format!("{p:.4}"));
    vec![
        form.emphasised(difference, comparison),
        interval.map(|interval| form.emphasised(interval, comparison)).unwrap_or_default(),
        p(comparison.map(|comparison| comparison.difference.p)),
        p(comparison.and_then(|comparison| comparison.sign_flip)),
        verdict,
    ]
}
