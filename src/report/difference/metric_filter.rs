//! Choice of the metrics that are shown.

use super::comparison::ComparedMetric;

/// The metrics that papers report, as labels.
pub const MAIN_METRICS: [&str; 4] = ["map_at_r", "recall@1", "map", "cmc@1"];

/// Keeps the metrics with one of these names: a label such as `recall@1`, or a metric without its k such as `recall`.
///
/// # Errors
/// A name fits no metric. The message lists the metrics that there are.
pub fn keep_named(metrics: &mut Vec<ComparedMetric>, names: &[String]) -> Result<(), String> {
    for name in names {
        if !metrics.iter().any(|metric| is_named(metric, name)) {
            let mut labels: Vec<String> = Vec::new();
            for label in metrics.iter().map(ComparedMetric::label) {
                if !labels.contains(&label) {
                    labels.push(label);
                }
            }
            return Err(format!("None of the runs has metric `{name}`; they have {}", labels.join(", ")));
        }
    }
    metrics.retain(|metric| names.iter().any(|name| is_named(metric, name)));
    Ok(())
}

/// Keeps the [`MAIN_METRICS`], or all metrics if none of them was measured.
pub fn keep_main(metrics: &mut Vec<ComparedMetric>) {
    let is_main = |metric: &ComparedMetric| MAIN_METRICS.contains(&metric.label().as_str());
    if metrics.iter().any(is_main) {
        metrics.retain(is_main);
    }
}

fn is_named(metric: &ComparedMetric, name: &str) -> bool {
    metric.metric == name || metric.label() == name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Vec<ComparedMetric> {
        let metric = |metric: &str, k| {
            let (node, split) = (String::new(), "test".to_owned());
            ComparedMetric { node, split, metric: metric.to_owned(), k, groups: Vec::new() }
        };
        vec![metric("nmi", None), metric("recall", Some(1)), metric("recall", Some(10)), metric("map_at_r", None)]
    }

    fn labels(metrics: &[ComparedMetric]) -> Vec<String> {
        metrics.iter().map(ComparedMetric::label).collect()
    }

    #[test]
    fn named_metrics_are_kept_in_their_order() {
        let check = |names: &[&str], expected: &[&str]| {
            let mut metrics = metrics();
            let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
            keep_named(&mut metrics, &names).expect("the metrics are there");
            assert_eq!(labels(&metrics), expected);
        };
        check(&["map_at_r", "recall@10"], &["recall@10", "map_at_r"]);
        check(&["recall"], &["recall@1", "recall@10"]);
        let message = keep_named(&mut metrics(), &["ami".to_owned()]).expect_err("there is no such metric");
        assert_eq!(message, "None of the runs has metric `ami`; they have nmi, recall@1, recall@10, map_at_r");
    }

    #[test]
    fn main_metrics_are_kept_if_there_are_any() {
        let mut all = metrics();
        keep_main(&mut all);
        assert_eq!(labels(&all), ["recall@1", "map_at_r"]);
        let mut others = metrics()[..1].to_vec();
        keep_main(&mut others);
        assert_eq!(labels(&others), ["nmi"]);
    }
}
