use super::*;
use crate::report::queries::Queries;

const RESAMPLING: Resampling = Resampling { draws: 2000, seed: 0 };

fn metric(node: &str, metric: &str, k: Option<i32>, value: f64) -> Metric {
    let (run, split) = ("r/1".to_owned(), "test".to_owned());
    Metric { run, node: node.to_owned(), round: 0, learners: 1, split, metric: metric.to_owned(), k, value }
}

fn group(metrics: Vec<Vec<Metric>>) -> Group {
    let queries = metrics.iter().map(|_| Queries::new()).collect();
    Group { seeds: (0..).take(metrics.len()).collect(), metrics, queries, ..Group::default() }
}

/// A run whose first `right` of 100 queries find their like at once, and the others in the third place.
fn answered(node: &str, right: u32) -> Group {
    let query = |id: u32| {
        let first_hit = Some(if id < right { 1 } else { 3 });
        Query { id, label: id % 9, first_hit, r_precision: 0.5, average_precision: f64::from(id % 4) }
    };
    let place = (node.to_owned(), "test".to_owned());
    let measured = vec![
        metric(node, "recall", Some(1), f64::from(right) / 100.0),
        metric(node, "recall", Some(3), 1.0),
        metric(node, "map_at_r", None, 1.5),
        metric(node, "nmi", None, 0.5),
    ];
    Group {
        seeds: vec![0],
        metrics: vec![measured],
        queries: vec![Queries::from([(place, (0..100).map(query).collect())])],
        ..Group::default()
    }
}

fn comparison(lines: &[Line], label: &str) -> Option<Comparison> {
    lines.iter().find(|line| line.label() == label).expect("the metric is there").cells[1].comparison
}

#[test]
fn metrics_meet_by_node_split_and_k() {
    let first = vec![metric("a", "recall", Some(1), 0.25), metric("a", "recall", Some(10), 0.5)];
    let second = vec![metric("a", "recall", Some(10), 0.75), metric("b", "recall", Some(1), 1.0)];
    let lines = side_by_side(&[group(vec![first]), group(vec![second])], RESAMPLING);
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line.node.as_str(), line.label(), line.cells.iter().map(Cell::mean).collect::<Vec<_>>()))
        .collect();
    assert_eq!(
        told,
        [
            ("a", "recall@1".to_owned(), vec![Some(0.25), None]),
            ("a", "recall@10".to_owned(), vec![Some(0.5), Some(0.75)]),
            ("b", "recall@1".to_owned(), vec![None, Some(1.0)]),
        ]
    );
    assert!(lines.iter().all(|line| line.cells[1].comparison.is_none()), "there are neither seeds nor queries");
}

#[test]
fn two_runs_are_compared_over_queries() {
    let lines = side_by_side(&[answered("a", 40), answered("a", 60)], RESAMPLING);
    let recall = comparison(&lines, "recall@1").expect("both have queries");
    assert_eq!((recall.over, recall.verdict), (Over::Queries, Verdict::Better));
    assert!((recall.difference.mean - 0.2).abs() < 1e-12, "{recall:?}");
    // 1.96 standard errors of a fifth in a hundred.
    let half_width = 1.96 * (0.2 * 0.8 / 100.0_f64).sqrt();
    assert!((recall.difference.interval.0 - (0.2 - half_width)).abs() < 0.02, "{recall:?}");
    assert!(recall.sign_flip.is_some_and(|p| p < 0.001), "{recall:?}");
    for label in ["recall@3", "map_at_r"] {
        let same = comparison(&lines, label).expect("both have queries");
        assert_eq!((same.verdict, same.difference.p), (Verdict::Indistinguishable, 1.0), "{label}");
    }
    assert_eq!(comparison(&lines, "nmi"), None, "it is no mean over queries");
}

#[test]
fn a_few_queries_do_not_tell_runs_apart() {
    let lines = side_by_side(&[answered("a", 50), answered("a", 52)], RESAMPLING);
    assert_eq!(comparison(&lines, "recall@1").map(|found| found.verdict), Some(Verdict::Indistinguishable));
    let lines = side_by_side(&[answered("a", 60), answered("a", 40)], RESAMPLING);
    assert_eq!(comparison(&lines, "recall@1").map(|found| found.verdict), Some(Verdict::Worse));
}

#[test]
fn queries_of_other_images_are_not_compared() {
    let mut other = answered("a", 60);
    other.queries[0].values_mut().flatten().for_each(|query| query.label += 1);
    let lines = side_by_side(&[answered("a", 40), other], RESAMPLING);
    assert_eq!(comparison(&lines, "recall@1"), None);
}

#[test]
fn several_seeds_are_compared_over_seeds() {
    let seeds = |metric_of: &str, values: [f64; 3]| {
        group(values.map(|value| vec![metric("a", metric_of, Some(1), value)]).into())
    };
    let check = |name: &str, expected| {
        let mut others = seeds(name, [0.80, 0.81, 0.82]);
        others.seeds = vec![1, 2, 3];
        let lines = side_by_side(&[seeds(name, [0.70, 0.71, 0.72]), others], RESAMPLING);
        let found = lines[0].cells[1].comparison.expect("there are three seeds of each");
        assert_eq!((found.over, found.verdict), (Over::Seeds, expected), "{name}");
        let spread = lines[0].cells[0].spread().expect("there are three");
        assert!((spread.mean - 0.71).abs() < 1e-12 && (spread.half_width - 0.0248).abs() < 1e-4, "{spread:?}");
    };
    check("recall", Verdict::Better);
    check("drop_jpeg", Verdict::Worse);
}

#[test]
fn the_same_seeds_are_compared_in_pairs() {
    // Seeds differ by more than the settings do, and each by about as much under both.
    let (first, second) = ([0.70, 0.60, 0.80], [0.83, 0.72, 0.62]);
    let runs = |values: [f64; 3], seeds: [i64; 3]| {
        let group = group(values.map(|value| vec![metric("a", "recall", Some(1), value)]).into());
        Group { seeds: seeds.into(), ..group }
    };
    let check = |seeds: [i64; 3], expected: (Over, Verdict)| {
        let lines = side_by_side(&[runs(first, [0, 1, 2]), runs(second, seeds)], RESAMPLING);
        let found = lines[0].cells[1].comparison.expect("there are three seeds of each");
        assert_eq!((found.over, found.verdict), expected, "{found:?}");
        (found.difference.mean - 0.07 / 3.0, lines)
    };
    // The differences by seed are 0.02, 0.02 and 0.03, whatever the order of the runs.
    let (rest, lines) = check([2, 0, 1], (Over::PairedSeeds, Verdict::Better));
    assert!(rest.abs() < 1e-12);
    let interval = lines[0].cells[1].comparison.expect("it was compared").difference.interval;
    // Their standard error is a third of a hundredth.
    assert!((interval.0 - (0.07 / 3.0 - 4.302_652_7 / 300.0)).abs() < 1e-8, "{interval:?}");
    check([2, 0, 3], (Over::Seeds, Verdict::Indistinguishable));

    let mut table = Vec::new();
    let groups = [runs(first, [0, 1, 2]), runs(second, [2, 0, 1]), runs(second, [4, 5, 6])];
    forms::table(&groups, &side_by_side(&groups, RESAMPLING), &mut table).expect("it can be written");
    let table = String::from_utf8(table).expect("it is text");
    assert!(table.contains("+0.0233 (+0.0090 … +0.0377)"), "{table}");
    assert!(table.contains("better, paired over seeds") && table.contains("distinguishable, over seeds"), "{table}");
}
