//! Parts that several sections share: framed pictures, names of metrics with their definitions.

use maud::{Markup, html};

use crate::pages::evidence::{Catalogue, Evidence};
use crate::pages::format::percent;
use crate::pages::pictures::Pictures;
use crate::report::answers::Answer;
use crate::report::difference::comparison::{GroupValues, MeanInterval};

/// What is said where embeddings are needed and a run has none.
pub(in crate::pages) const NO_EMBEDDINGS: &str = "The embeddings of the evaluated images are not in the store: this run was made before \
    `evaluate` kept them, or they were dropped. Run the manifest again to see this part.";

/// Whether a neighbour is right, wrong, or does not count.
pub(in crate::pages) fn frame_of(answer: &Answer, neighbour: u32, catalogue: &Catalogue) -> &'static str {
    match catalogue.label(neighbour) {
        None => "junk",
        Some(label) if label != answer.label => "wrong",
        Some(_) if catalogue.have_same_camera(answer.id, neighbour) => "junk",
        Some(_) => "right",
    }
}

/// A neighbour in its frame, with distance and, if known, the share of right ones at that distance.
pub(in crate::pages) fn neighbour(
    pictures: &Pictures<'_>,
    catalogue: &Catalogue,
    answer: &Answer,
    rank: usize,
    share: Option<f64>,
) -> Markup {
    let id = answer.neighbours[rank];
    let distance = answer.distances.get(rank).copied().unwrap_or(f32::NAN);
    let source = catalogue.source(id);
    html! {
        figure.(frame_of(answer, id, catalogue)) title=(format!("{} · image {id} {source}", catalogue.class_of(id))) {
            (pictures.show(id))
            figcaption { b { (format!("{distance:.2}")) } @if let Some(share) = share { " · " (format!("{:.0} %", share * 100.0)) } }
        }
    }
}

/// An image without a frame, with its class below.
pub(in crate::pages) fn plain(pictures: &Pictures<'_>, catalogue: &Catalogue, id: u32) -> Markup {
    html! {
        figure.query title=(format!("image {id} {}", catalogue.source(id))) {
            (pictures.show(id)) figcaption { (catalogue.class_of(id)) }
        }
    }
}

/// What is right and wrong, in colour.
pub(in crate::pages) fn legend(has_cameras: bool, has_shares: bool) -> Markup {
    html! {
        div.legend {
            span { i.right {} "same class" }
            span { i.wrong {} "another class" }
            @if has_cameras { span { i.junk {} "same class and camera: does not count" } }
            span { "below a picture: distance" @if has_shares { " · share of right neighbours at that distance in this run" } }
        }
    }
}

/// The name of a metric as papers write it.
pub(in crate::pages) fn metric_name(metric: &str, k: Option<i32>) -> String {
    let k = k.map_or_else(String::new, |k| k.to_string());
    if let Some(nuisance) = metric.strip_prefix("drop_") {
        return format!("drop of R@{k}, {}", nuisance.replace('_', " "));
    }
    match metric {
        "recall" => format!("R@{k}"),
        "cmc" => format!("CMC@{k}"),
        "map_at_r" => "MAP@R".to_owned(),
        "map" => "mAP".to_owned(),
        "r_precision" => "R-precision".to_owned(),
        "nmi" | "ami" => metric.to_uppercase(),
        other if k.is_empty() => other.replace('_', " "),
        other => format!("{}@{k}", other.replace('_', " ")),
    }
}

/// The definition of a metric.
pub(in crate::pages) fn definition(metric: &str) -> &'static str {
    match metric {
        "recall" => "share of queries with an image of their class among the k nearest",
        "cmc" => "share of queries with an image of their class from another camera among the k nearest",
        "map_at_r" => {
            "mean over queries of the average precision among the R nearest, R the number of other images of the class"
        }
        "map" => "mean over queries of the average precision over the whole ranking",
        "r_precision" => "mean share of right images among the R nearest, R the number of other images of the class",
        "nmi" => "normalised mutual information of k-means clusters and classes",
        "ami" => "mutual information of k-means clusters and classes, adjusted for chance",
        "subspace_recall" => "share of queries whose nearest image in this learner's subspace is of their class",
        "alignment" => "mean squared distance within classes; lower is better",
        "uniformity" => "logarithm of the mean of exp(−2 d²) over all pairs; lower is better",
        "effective_rank" => {
            "exp of the entropy of the singular values as shares of their sum: how many directions are used"
        }
        "spectral_decay" => "distance of the spectrum from a flat one; lower is better",
        _ if metric.starts_with("drop_") => "R@1 on the unchanged images minus R@1 on the changed ones",
        _ if metric.starts_with("few_shot") => "accuracy of the nearest class mean, from k labelled images per class",
        _ => "",
    }
}

/// Mean and 95 % interval of a metric over those of the runs that have it.
pub(in crate::pages) fn over_seeds(
    runs: &[Evidence],
    node: &str,
    split: &str,
    (metric, k): (&str, Option<i32>),
) -> Option<(f64, Option<MeanInterval>)> {
    estimate(metric, runs.iter().filter_map(|run| run.value(node, split, metric, k)).collect())
}

/// Mean of a metric over runs, and its 95 % interval if there are several, as far as the metric can reach.
pub(in crate::pages) fn estimate(metric: &str, values: Vec<f64>) -> Option<(f64, Option<MeanInterval>)> {
    let values = GroupValues { values, ..GroupValues::default() };
    Some((values.mean()?, values.interval(metric)))
}

/// A value in percent with its interval, if it has one.
pub(in crate::pages) fn with_interval(mean: f64, interval: Option<MeanInterval>) -> Markup {
    html! {
        (percent(mean))
        @match interval {
            Some(MeanInterval { half_width: Some(half), .. }) => { " ± " (percent(half)) }
            // A share cannot be below 0 or above 1.
            Some(MeanInterval { low, high, .. }) => { " (" (percent(low)) " … " (percent(high)) ")" }
            None => {}
        }
    }
}

/// A statement that data is missing, and how to get it.
pub(in crate::pages) fn missing(text: &str) -> Markup {
    html! { p.missing { (prose(text)) } }
}

/// Text in which what stands between backticks is code.
pub(in crate::pages) fn prose(text: &str) -> Markup {
    html! {
        @for (number, part) in text.split('`').enumerate() { @if number % 2 == 1 { code { (part) } } @else { (part) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_names_of_papers() {
        let check = |metric: &str, k: Option<i32>, expected: &str| assert_eq!(metric_name(metric, k), expected);
        check("recall", Some(10), "R@10");
        check("map_at_r", None, "MAP@R");
        check("few_shot_accuracy", Some(5), "few shot accuracy@5");
        check("drop_colour_cast", Some(1), "drop of R@1, colour cast");
    }

    #[test]
    fn an_interval_ends_where_the_metric_does() {
        let text = |metric: &str, values: &[f64]| {
            estimate(metric, values.to_vec()).map(|(mean, interval)| with_interval(mean, interval).into_string())
        };
        assert_eq!(text("recall", &[]), None);
        assert_eq!(text("recall", &[0.5]).as_deref(), Some("50.0"));
        assert_eq!(text("recall", &[0.50, 0.51, 0.52]).as_deref(), Some("51.0 ± 2.5"));
        assert_eq!(text("recall", &[0.528, 0.778]).as_deref(), Some("65.3 (0.0 … 100.0)"), "not 65.3 ± 158.8");
    }
}
