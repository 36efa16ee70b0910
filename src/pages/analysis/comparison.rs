//! Comparison of runs: the chosen round of each group of runs against that of the first group, parameters that differ, and queries
//! whose nearest image changed from right to wrong or back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::pages::evidence::Evidence;
use crate::report::answers::Answer;
use crate::report::difference::comparison::{ComparedMetric, Resampling, compare_groups};
use crate::report::difference::group::{Group, GroupName};
use crate::report::metrics::Metric;
use crate::report::queries::{NodeSplit, Queries};

/// Draws of the bootstrap.
const DRAWS: usize = 2_000;

/// The groups of runs that are compared; each differs only by the seed.
pub type Groups<'a> = [&'a [Evidence]];

/// A name for each group: its runs, such as `sop/2-4`.
pub fn names(groups: &Groups<'_>) -> Vec<String> {
    let name = |runs: &&[Evidence]| {
        let numbers: Vec<u32> = runs.iter().map(|run| run.folder.number).collect();
        let is_range = numbers.len() > 1 && numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        match (runs.first(), numbers.first(), numbers.last()) {
            (Some(run), Some(first), Some(last)) if is_range => format!("{}/{first}-{last}", run.folder.name),
            _ => runs.iter().map(|run| run.folder.id()).collect::<Vec<_>>().join(", "),
        }
    };
    groups.iter().map(name).collect()
}

/// The metrics of the chosen rounds, every group compared with the first.
pub fn metrics(groups: &Groups<'_>) -> Vec<ComparedMetric> {
    // Round and number of learners may differ: they say which round was chosen.
    let chosen = |runs| group(runs, |run| run.chosen_node().unwrap_or_default(), |_| true);
    let groups: Vec<Group> = groups.iter().copied().map(chosen).collect();
    let mut metrics = compare_groups(&groups, Resampling { draws: DRAWS, seed: 0 });
    metrics.retain(|metric| {
        metric.metric != "subspace_recall" && metric.groups.iter().all(|group| !group.values.is_empty())
    });
    metrics
}

/// One node of each run, with those of its metrics that are `wanted`. Its name is left empty, so that it can be compared with a node of
/// another name.
pub(super) fn group<'r>(
    runs: &'r [Evidence],
    node: impl Fn(&'r Evidence) -> &'r str,
    wanted: impl Fn(&Metric) -> bool,
) -> Group {
    let metrics = |run: &'r Evidence| {
        let rows = run.metrics.iter().filter(|row| row.node == node(run) && wanted(row));
        rows.cloned().map(|row| Metric { node: String::new(), ..row }).collect::<Vec<Metric>>()
    };
    let queries = |run: &'r Evidence| {
        let places = run.queries.iter().filter(|(place, _)| place.node == node(run));
        let unnamed = |place: &NodeSplit| NodeSplit { node: String::new(), split: place.split.clone() };
        places.map(|(place, queries)| (unnamed(place), queries.clone())).collect::<Queries>()
    };
    let images: BTreeSet<_> = runs.iter().filter_map(|run| run.json.evaluated_images(node(run))).collect();
    Group {
        name: GroupName::default(),
        runs: runs.iter().map(|run| run.folder.id()).collect(),
        seeds: runs.iter().map(|run| run.seed).collect(),
        metrics: runs.iter().map(metrics).collect(),
        queries: runs.iter().map(queries).collect(),
        images: [(String::new(), images)].into(),
    }
}

/// A parameter that is not the same in all groups: its dotted key, and its value in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The dotted key, such as `stage.train.loss.margin`.
    pub key: String,
    /// The value in each group; `None` where there is none.
    pub values: Vec<Option<String>>,
}

/// The parameters that differ between resolved manifests. Seeds and the folders of data are left out.
pub fn parameters(manifests: &[&str]) -> Vec<Parameter> {
    let flat: Vec<BTreeMap<String, String>> = manifests
        .iter()
        .map(|text| {
            let mut found = BTreeMap::new();
            if let Ok(table) = toml::from_str::<toml::Table>(text) {
                flatten("", &toml::Value::Table(table), &mut found);
            }
            found
        })
        .collect();
    let keys: BTreeSet<&String> = flat.iter().flat_map(BTreeMap::keys).collect();
    let parameter = |key: &String| {
        let values: Vec<Option<String>> = flat.iter().map(|one| one.get(key).cloned()).collect();
        let differs = values.iter().any(|value| *value != values[0]);
        (differs && key != "seed").then(|| Parameter { key: key.clone(), values })
    };
    keys.into_iter().filter_map(parameter).collect()
}

fn flatten(prefix: &str, value: &toml::Value, found: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, found);
            }
        }
        other => {
            found.insert(prefix.to_owned(), other.to_string());
        }
    }
}

/// Queries whose nearest image changed between two runs over the same images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flips {
    /// Queries that are right in both, in neither.
    pub same: [usize; 2],
    /// Positions among the answers of the second run that were wrong and are right, by decreasing gain in average precision.
    pub gained: Vec<usize>,
    /// Positions among the answers of the second run that were right and are wrong, by decreasing loss.
    pub lost: Vec<usize>,
    /// p of McNemar's exact test.
    pub p: f64,
}

/// For each answer of `after`, that of `before` to the same query, if there is one. With random galleries an image is a query
/// several times, in the same order in both.
pub fn matched<'a>(before: &'a [Answer], after: &[Answer]) -> Vec<Option<&'a Answer>> {
    let mut left: BTreeMap<u32, VecDeque<&Answer>> = BTreeMap::new();
    before.iter().for_each(|answer| left.entry(answer.id).or_default().push_back(answer));
    after.iter().map(|answer| left.get_mut(&answer.id)?.pop_front()).collect()
}

/// The flips from `before` to `after`.
pub fn flips(before: &[Answer], after: &[Answer]) -> Flips {
    let mut flips = Flips::default();
    let mut changes: BTreeMap<usize, f64> = BTreeMap::new();
    for (position, (answer, earlier)) in after.iter().zip(matched(before, after)).enumerate() {
        let Some(earlier) = earlier else { continue };
        changes.insert(position, answer.average_precision - earlier.average_precision);
        match (earlier.is_right(), answer.is_right()) {
            (true, true) => flips.same[0] += 1,
            (false, false) => flips.same[1] += 1,
            (false, true) => flips.gained.push(position),
            (true, false) => flips.lost.push(position),
        }
    }
    flips.gained.sort_by(|a, b| changes[b].total_cmp(&changes[a]).then(a.cmp(b)));
    flips.lost.sort_by(|a, b| changes[a].total_cmp(&changes[b]).then(a.cmp(b)));
    flips.p = mcnemar(flips.gained.len(), flips.lost.len());
    flips
}

/// McNemar's exact test: the two-sided p of so many gains and losses if both were equally likely.
///
/// **Source** McNemar, *Note on the sampling error of the difference between correlated proportions or percentages*, 1947; the
/// exact form uses the binomial distribution.
pub fn mcnemar(gained: usize, lost: usize) -> f64 {
    let n = gained + lost;
    if n == 0 {
        return 1.0;
    }
    // The logarithm of each term, since 2ⁿ overflows.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut sum = 0.0;
    for k in 0..=gained.min(lost) {
        sum += log_term.exp();
        log_term += (((n - k) as f64) / ((k + 1) as f64)).ln();
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mcnemar_is_the_binomial_test() {
        for (gained, lost, p) in [(0, 0, 1.0), (5, 5, 1.0), (1, 9, 0.021_484_375), (10, 2, 0.038_574_218_75)] {
            assert!((mcnemar(gained, lost) - p).abs() < 1e-9, "{gained} {lost}: {}", mcnemar(gained, lost));
        }
        assert!(mcnemar(3_000, 2_000) < 1e-40);
    }

    #[test]
    fn parameters_that_differ_are_found_by_their_dotted_keys() {
        let a = "name = \"a\"\nseed = 1\n[stage.train]\nloss = { kind = \"margin\", margin = 0.2 }\nepochs = 2\n";
        let b = "name = \"a\"\nseed = 2\n[stage.train]\nloss = { kind = \"margin\", margin = 0.1 }\nepochs = 2\nextra = true\n";
        let found = parameters(&[a, b]);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            found,
            [
                Parameter { key: "stage.train.extra".into(), values: vec![None, text("true")] },
                Parameter { key: "stage.train.loss.margin".into(), values: vec![text("0.2"), text("0.1")] },
            ]
        );
    }

    #[test]
    fn flips_are_counted_and_sorted() {
        let answer = |id, is_right: bool, average_precision| Answer {
            id,
            label: 0,
            first_hit: is_right.then_some(1),
            average_precision,
            neighbours: Vec::new(),
            distances: Vec::new(),
        };
        let before = [
            answer(0, true, 1.0),
            answer(1, false, 0.0),
            answer(2, false, 0.3),
            answer(3, true, 0.5),
            answer(4, false, 0.0),
        ];
        let after = [
            answer(0, true, 1.0),
            answer(1, true, 0.2),
            answer(2, true, 0.9),
            answer(3, false, 0.1),
            answer(4, false, 0.0),
        ];
        let found = flips(&before, &after);
        assert_eq!((found.same, found.gained, found.lost), ([1, 1], vec![2, 1], vec![3]));
        // One image that is a query in three galleries.
        let before = [answer(0, true, 1.0), answer(0, true, 1.0), answer(0, false, 0.0)];
        let after = [answer(0, true, 1.0), answer(0, false, 0.0), answer(0, false, 0.0), answer(0, true, 1.0)];
        let found = flips(&before, &after);
        assert_eq!((found.same, found.gained, found.lost), ([1, 1], vec![], vec![1]));
    }
}
