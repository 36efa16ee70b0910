use std::collections::BTreeSet;

use dnc_cache::Digest;

use super::super::side_by_side;
use super::super::text_form::TextForm;
use super::*;
use crate::report::queries::Queries;

const RESAMPLING: Resampling = Resampling { draws: 2000, seed: 0 };

fn metric(node: &str, metric: &str, k: Option<i32>, value: f64) -> Metric {
    let (run, split) = ("r/1".to_owned(), "test".to_owned());
    Metric { run, node: node.to_owned(), round: 0, learners: 1, split, metric: metric.to_owned(), k, value }
}

/// The table of images with these bytes, evaluated by `node`.
fn images(node: &str, table: &[u8]) -> BTreeMap<String, BTreeSet<Digest>> {
    [(node.to_owned(), [Digest::of(table)].into())].into()
}

fn group(metrics: Vec<Vec<Metric>>) -> Group {
    let queries = metrics.iter().map(|_| Queries::new()).collect();
    Group {
        seeds: (0..).take(metrics.len()).collect(),
        metrics,
        queries,
        images: images("a", b"images"),
        ..Group::default()
    }
}

/// A run with 100 queries. For the first `correct`, the nearest image has the same class; for the others, the third nearest.
fn run_with_queries(node: &str, correct: u32) -> Group {
    let query = |id: u32| {
        let first_hit = Some(if id < correct { 1 } else { 3 });
        Query { id, label: id % 9, first_hit, r_precision: 0.5, average_precision: f64::from(id % 4) }
    };
    let node_split = NodeSplit { node: node.to_owned(), split: "test".to_owned() };
    let metrics = vec![
        metric(node, "recall", Some(1), f64::from(correct) / 100.0),
        metric(node, "recall", Some(3), 1.0),
        metric(node, "map_at_r", None, 1.5),
        metric(node, "nmi", None, 0.5),
    ];
    Group {
        seeds: vec![0],
        metrics: vec![metrics],
        queries: vec![Queries::from([(node_split, (0..100).map(query).collect())])],
        images: images(node, b"images"),
        ..Group::default()
    }
}

fn comparison(metrics: &[ComparedMetric], label: &str) -> Option<Comparison> {
    metrics.iter().find(|metric| metric.label() == label).expect("the metric was measured").groups[1].comparison
}

#[test]
fn metrics_are_matched_by_node_split_and_k() {
    let first = vec![metric("a", "recall", Some(1), 0.25), metric("a", "recall", Some(10), 0.5)];
    let second = vec![metric("a", "recall", Some(10), 0.75), metric("b", "recall", Some(1), 1.0)];
    let metrics = compare_groups(&[group(vec![first]), group(vec![second])], RESAMPLING);
    let found: Vec<_> = metrics
        .iter()
        .map(|metric| {
            let means: Vec<_> = metric.groups.iter().map(GroupValues::mean).collect();
            (metric.node.as_str(), metric.label(), means)
        })
        .collect();
    assert_eq!(
        found,
        [
            ("a", "recall@1".to_owned(), vec![Some(0.25), None]),
            ("a", "recall@10".to_owned(), vec![Some(0.5), Some(0.75)]),
            ("b", "recall@1".to_owned(), vec![None, Some(1.0)]),
        ]
    );
    assert!(metrics.iter().all(|metric| metric.groups[1].comparison.is_none()), "there are neither seeds nor queries");
}

#[test]
fn two_runs_are_compared_over_queries() {
    let metrics = compare_groups(&[run_with_queries("a", 40), run_with_queries("a", 60)], RESAMPLING);
    let recall = comparison(&metrics, "recall@1").expect("both have queries");
    assert_eq!((recall.basis, recall.verdict), (Basis::Queries, Verdict::Better));
    assert!((recall.difference.mean - 0.2).abs() < 1e-12, "{recall:?}");
    // 1.96 standard errors of a fifth in a hundred.
    let half_width = 1.96 * (0.2 * 0.8 / 100.0_f64).sqrt();
    assert!((recall.difference.interval.0 - (0.2 - half_width)).abs() < 0.02, "{recall:?}");
    assert!(recall.sign_flip.is_some_and(|p| p < 0.001), "{recall:?}");
    for label in ["recall@3", "map_at_r"] {
        let same = comparison(&metrics, label).expect("both have queries");
        assert_eq!((same.verdict, same.difference.p), (Verdict::Indistinguishable, 1.0), "{label}");
    }
    assert_eq!(comparison(&metrics, "nmi"), None, "it is not a mean over queries");
}

#[test]
fn small_differences_over_few_queries_are_not_distinguishable() {
    let metrics = compare_groups(&[run_with_queries("a", 50), run_with_queries("a", 52)], RESAMPLING);
    assert_eq!(comparison(&metrics, "recall@1").map(|found| found.verdict), Some(Verdict::Indistinguishable));
    let metrics = compare_groups(&[run_with_queries("a", 60), run_with_queries("a", 40)], RESAMPLING);
    assert_eq!(comparison(&metrics, "recall@1").map(|found| found.verdict), Some(Verdict::Worse));
}

#[test]
fn queries_of_other_images_are_not_compared() {
    let mut other = run_with_queries("a", 60);
    other.queries[0].values_mut().flatten().for_each(|query| query.label += 1);
    let metrics = compare_groups(&[run_with_queries("a", 40), other], RESAMPLING);
    assert_eq!(comparison(&metrics, "recall@1"), None);
    // Another table, and a table that is not known.
    for images in [images("a", b"other images"), BTreeMap::new(), [("a".to_owned(), BTreeSet::new())].into()] {
        let runs = [40, 60].map(|correct| Group { images: images.clone(), ..run_with_queries("a", correct) });
        let [unknown, other] = runs;
        let metrics = compare_groups(&[run_with_queries("a", 40), other], RESAMPLING);
        assert_eq!(comparison(&metrics, "recall@1"), None, "{images:?}");
        let metrics = compare_groups(&[unknown, run_with_queries("a", 60)], RESAMPLING);
        assert_eq!(comparison(&metrics, "recall@1"), None, "{images:?}");
    }
    let unknown = [40, 60].map(|correct| Group { images: BTreeMap::new(), ..run_with_queries("a", correct) });
    assert_eq!(comparison(&compare_groups(&unknown, RESAMPLING), "recall@1"), None);
}

#[test]
fn several_seeds_are_compared_over_seeds() {
    let seeds = |metric_of: &str, values: [f64; 3]| {
        group(values.map(|value| vec![metric("a", metric_of, Some(1), value)]).into())
    };
    let check = |name: &str, expected| {
        let mut others = seeds(name, [0.80, 0.81, 0.82]);
        others.seeds = vec![1, 2, 3];
        let metrics = compare_groups(&[seeds(name, [0.70, 0.71, 0.72]), others], RESAMPLING);
        let found = metrics[0].groups[1].comparison.expect("there are three seeds of each");
        assert_eq!((found.basis, found.verdict), (Basis::Seeds, expected), "{name}");
        let interval = metrics[0].groups[0].interval("recall").expect("there are three");
        let half_width = interval.half_width.expect("it is within 0 and 1");
        assert!((interval.mean - 0.71).abs() < 1e-12 && (half_width - 0.0248).abs() < 1e-4, "{interval:?}");
    };
    check("recall", Verdict::Better);
    check("drop_jpeg", Verdict::Worse);
}

#[test]
fn runs_with_the_same_seeds_are_compared_in_pairs() {
    // The values vary more between seeds than between the groups, but about equally in both.
    let (first, second) = ([0.70, 0.60, 0.80], [0.83, 0.72, 0.62]);
    let runs = |values: [f64; 3], seeds: [i64; 3]| {
        let group = group(values.map(|value| vec![metric("a", "recall", Some(1), value)]).into());
        Group { seeds: seeds.into(), ..group }
    };
    let check = |seeds: [i64; 3], expected: (Basis, Verdict)| {
        let metrics = compare_groups(&[runs(first, [0, 1, 2]), runs(second, seeds)], RESAMPLING);
        let found = metrics[0].groups[1].comparison.expect("there are three seeds of each");
        assert_eq!((found.basis, found.verdict), expected, "{found:?}");
        (found.difference.mean - 0.07 / 3.0, metrics)
    };
    // The differences by seed are 0.02, 0.02 and 0.03, in any order of the runs.
    let (rest, metrics) = check([2, 0, 1], (Basis::PairedSeeds, Verdict::Better));
    assert!(rest.abs() < 1e-12);
    let interval = metrics[0].groups[1].comparison.expect("it was compared").difference.interval;
    // Their standard error is a third of a hundredth.
    assert!((interval.0 - (0.07 / 3.0 - 4.302_652_7 / 300.0)).abs() < 1e-8, "{interval:?}");
    check([2, 0, 3], (Basis::Seeds, Verdict::Indistinguishable));
    let elsewhere = Group { images: images("a", b"other images"), ..runs(second, [2, 0, 1]) };
    let found = compare_groups(&[runs(first, [0, 1, 2]), elsewhere], RESAMPLING);
    let found = found[0].groups[1].comparison.expect("there are three seeds of each");
    assert_eq!(found.basis, Basis::Seeds, "seeds of other images are not paired");

    let mut table = Vec::new();
    let groups = [runs(first, [0, 1, 2]), runs(second, [2, 0, 1]), runs(second, [4, 5, 6])];
    side_by_side::write(&groups, &compare_groups(&groups, RESAMPLING), TextForm::Terminal, &mut table)
        .expect("memory can be written");
    let table = String::from_utf8(table).expect("it is text");
    assert!(table.contains("+0.0233 (+0.0090 … +0.0377)"), "{table}");
    assert!(table.contains("better, paired over seeds") && table.contains("distinguishable, over seeds"), "{table}");
}

/// Two seeds that differ much have an interval of Student's that is wider than the metric can be.
#[test]
fn intervals_of_shares_stay_within_0_and_1() {
    let interval = |metric: &str, values: &[f64]| {
        let values = GroupValues { values: values.to_vec(), seeds: vec![0, 1], comparison: None };
        values.interval(metric).expect("there are two")
    };
    let wide = interval("map_at_r", &[0.2, 1.0]);
    assert_eq!((wide.low, wide.high, wide.half_width), (0.0, 1.0, None));
    assert!((wide.mean - 0.6).abs() < 1e-12);
    assert_eq!(interval("drop_blur", &[-0.9, 0.9]).low, -1.0);
    let unbounded = interval("effective_rank", &[0.2, 1.0]);
    assert!(unbounded.low < 0.0 && unbounded.half_width.is_some());
    let [first, other] = [[0.1, 0.9], [0.9, 0.8]].map(|values| GroupValues {
        values: values.to_vec(),
        seeds: vec![0, 1],
        comparison: None,
    });
    let difference = compare_over_seeds("recall", &first, &other, true).expect("there are two seeds").difference;
    assert_eq!(difference.interval, (-1.0, 1.0));
}
