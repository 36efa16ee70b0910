//! Table with a row per metric and seed, so that any two groups can be compared pair by pair.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use super::comparison::{ComparedMetric, GroupValues};
use super::group::{Group, GroupName};
use super::text_form::{TextForm, signed_interval, verdict};

/// The metrics of groups of runs by seed.
#[derive(Debug)]
pub struct SeedTable<'a> {
    /// The groups. Differences are to the first one.
    pub groups: &'a [Group],
    /// The metrics.
    pub metrics: &'a [ComparedMetric],
    /// Training speed of each group, if it is known.
    pub images_per_second: Vec<Option<f64>>,
}

/// One metric for one seed. Both lists are in the order of the groups.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedRow {
    /// The seed.
    pub seed: i64,
    /// The value of each group that has this seed.
    pub values: Vec<Option<f64>>,
    /// The value minus that of the first group; `None` for the first group itself.
    pub differences: Vec<Option<f64>>,
}

/// What precedes the groups in a row of the text table.
struct RowLabel<'a> {
    node: &'a str,
    split: &'a str,
    metric: &'a str,
    /// The seed, or the name of a summary.
    seed: &'a str,
}

impl SeedTable<'_> {
    /// The rows of one metric, a row for each seed of any group.
    pub fn seed_rows(metric: &ComparedMetric) -> Vec<SeedRow> {
        let groups: Vec<BTreeMap<i64, f64>> =
            metric.groups.iter().map(|group| group.by_seed().unwrap_or_default()).collect();
        let seeds: BTreeSet<i64> = groups.iter().flat_map(BTreeMap::keys).copied().collect();
        let row = |seed: i64| {
            let values: Vec<Option<f64>> = groups.iter().map(|group| group.get(&seed).copied()).collect();
            let first = values.first().copied().flatten();
            let difference = |(group, value): (usize, &Option<f64>)| {
                if group == 0 { None } else { Some((*value)? - first?) }
            };
            let differences = values.iter().enumerate().map(difference).collect();
            SeedRow { seed, values, differences }
        };
        seeds.into_iter().map(row).collect()
    }

    /// Writes the table as text: for each metric its seeds, then mean, 95 % interval, p and verdict; at the end the training
    /// speed.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn write(&self, form: TextForm, out: impl Write) -> io::Result<()> {
        let with_node = self.metrics.iter().any(|metric| !metric.node.is_empty());
        let names = GroupName::shortened(self.groups.iter().map(|group| &group.name));
        let mut headings: Vec<String> = ["node", "split", "metric", "seed"].map(str::to_owned).into();
        headings.extend(names.iter().cloned());
        headings.extend(names.iter().skip(1).map(|other| format!("{other} − {}", names[0])));
        let mut rows: Vec<Vec<String>> = self.metrics.iter().flat_map(|metric| metric_rows(metric, form)).collect();
        rows.extend(self.speed_row());
        if !with_node {
            headings.remove(0);
            rows.iter_mut().for_each(|row| drop(row.remove(0)));
        }
        form.write(&headings, rows, out)
    }

    fn speed_row(&self) -> Option<Vec<String>> {
        let label = RowLabel { node: "", split: "", metric: "images per second", seed: "median" };
        let text = |speed: &Option<f64>| speed.map_or_else(String::new, |speed| format!("{speed:.0}"));
        let differences = self.groups.iter().skip(1).map(|_| String::new());
        label.row(self.images_per_second.iter().map(text).collect(), differences.collect())
    }
}

impl RowLabel<'_> {
    /// The row with these cells, or `None` if they are all empty.
    fn row(&self, values: Vec<String>, differences: Vec<String>) -> Option<Vec<String>> {
        if values.iter().chain(&differences).all(String::is_empty) {
            return None;
        }
        let label = [self.node, self.split, self.metric, self.seed].map(str::to_owned);
        Some(label.into_iter().chain(values).chain(differences).collect())
    }
}

/// The rows of one metric in the text table.
fn metric_rows(metric: &ComparedMetric, form: TextForm) -> Vec<Vec<String>> {
    let label = metric.label();
    let row = |seed: &str, values: Vec<String>, differences: Vec<String>| {
        RowLabel { node: &metric.node, split: &metric.split, metric: &label, seed }.row(values, differences)
    };
    let value = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.4}"));
    let difference = |difference: Option<f64>| difference.map_or_else(String::new, |value| format!("{value:+.4}"));
    let Some((first, others)) = metric.groups.split_first() else { return Vec::new() };
    let of_groups = |cell: &dyn Fn(&GroupValues) -> String| metric.groups.iter().map(cell).collect::<Vec<_>>();
    let of_others = |cell: &dyn Fn(&GroupValues) -> String| others.iter().map(cell).collect::<Vec<_>>();
    let nothing = vec![String::new(); metric.groups.len()];

    let mut rows: Vec<Option<Vec<String>>> = Vec::new();
    for seed in SeedTable::seed_rows(metric) {
        let values = seed.values.iter().copied().map(value).collect();
        let differences = seed.differences.iter().skip(1).copied().map(difference).collect();
        rows.push(row(&seed.seed.to_string(), values, differences));
    }
    let mean_difference = |other: &GroupValues| {
        let text = difference(first.mean().zip(other.mean()).map(|(first, other)| other - first));
        form.emphasised(text, other.comparison.as_ref())
    };
    rows.push(row("mean", of_groups(&|group| value(group.mean())), of_others(&mean_difference)));
    let interval = |group: &GroupValues| {
        let interval = group.interval(&metric.metric);
        interval.map_or_else(String::new, |interval| format!("{:.4} … {:.4}", interval.low, interval.high))
    };
    let difference_interval = |other: &GroupValues| {
        let comparison = other.comparison.as_ref();
        let text = comparison.map(|comparison| signed_interval(comparison.difference.interval));
        text.map_or_else(String::new, |text| form.emphasised(text, comparison))
    };
    rows.push(row("95 % interval", of_groups(&interval), of_others(&difference_interval)));
    let p = |other: &GroupValues| value(other.comparison.map(|comparison| comparison.difference.p));
    rows.push(row("p", nothing.clone(), of_others(&p)));
    let verdict = |other: &GroupValues| other.comparison.as_ref().map_or_else(String::new, verdict);
    rows.push(row("verdict", nothing, of_others(&verdict)));
    rows.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::super::comparison::{Resampling, compare_groups};
    use super::super::json;
    use super::*;
    use crate::report::metrics::Metric;
    use crate::report::queries::Queries;

    fn group(runs: &str, values: [f64; 3], seeds: [i64; 3]) -> Group {
        let name = GroupName { runs: runs.to_owned(), numbers: "1-3".to_owned(), node: Some("end".to_owned()) };
        let metric = |value| Metric {
            run: String::new(),
            node: String::new(),
            round: 0,
            learners: 1,
            split: "test".to_owned(),
            metric: "recall".to_owned(),
            k: Some(1),
            value,
        };
        Group {
            name,
            runs: [1, 2, 3].map(|number| format!("{runs}/{number}")).into(),
            seeds: seeds.into(),
            metrics: values.map(|value| vec![metric(value)]).into(),
            queries: vec![Queries::new(); 3],
            images: [(String::new(), [dnc_cache::Digest::of(b"images")].into())].into(),
        }
    }

    fn check(groups: &[Group], images_per_second: &[Option<f64>], form: TextForm, expected: &str) {
        let metrics = compare_groups(groups, Resampling { draws: 100, seed: 0 });
        let table = SeedTable { groups, metrics: &metrics, images_per_second: images_per_second.into() };
        let mut text = Vec::new();
        table.write(form, &mut text).expect("memory can be written");
        assert_eq!(String::from_utf8(text).expect("the table is text"), expected);
    }

    #[test]
    fn differences_whose_interval_excludes_zero_are_bold_in_markdown() {
        let groups = [
            group("single", [0.70, 0.60, 0.80], [0, 1, 2]),
            group("learned", [0.83, 0.72, 0.62], [2, 0, 1]),
            group("slices", [0.72, 0.72, 0.62], [0, 2, 3]),
        ];
        check(
            &groups,
            &[Some(380.4), None, Some(401.0)],
            TextForm::Markdown,
            "\
| split | metric | seed | single | learned | slices | learned − single | slices − single |
|---|---|---|---|---|---|---|---|
| test | recall@1 | 0 | 0.7000 | 0.7200 | 0.7200 | +0.0200 | +0.0200 |
| test | recall@1 | 1 | 0.6000 | 0.6200 |  | +0.0200 |  |
| test | recall@1 | 2 | 0.8000 | 0.8300 | 0.7200 | +0.0300 | -0.0800 |
| test | recall@1 | 3 |  |  | 0.6200 |  |  |
| test | recall@1 | mean | 0.7000 | 0.7233 | 0.6867 | **+0.0233** | -0.0133 |
| test | recall@1 | 95 % interval | 0.4516 … 0.9484 | 0.4624 … 0.9843 | 0.5432 … 0.8301 | **+0.0090 … +0.0377** | -0.2255 … +0.1988 |
| test | recall@1 | p |  |  |  | 0.0198 | 0.8543 |
| test | recall@1 | verdict |  |  |  | better, paired over seeds | not distinguishable, over seeds |
|  | images per second | median | 380 |  | 401 |  |  |
",
        );
    }

    #[test]
    fn a_terminal_shows_aligned_columns() {
        let groups = [group("single", [0.70, 0.60, 0.80], [0, 1, 2]), group("learned", [0.72, 0.62, 0.83], [0, 1, 2])];
        check(
            &groups,
            &[None, None],
            TextForm::Terminal,
            " split  metric    seed           single           learned          learned − single
 test   recall@1  0              0.7000           0.7200           +0.0200
 test   recall@1  1              0.6000           0.6200           +0.0200
 test   recall@1  2              0.8000           0.8300           +0.0300
 test   recall@1  mean           0.7000           0.7233           +0.0233
 test   recall@1  95 % interval  0.4516 … 0.9484  0.4624 … 0.9843  +0.0090 … +0.0377
 test   recall@1  p                                                0.0198
 test   recall@1  verdict                                          better, paired over seeds
",
        );
    }

    #[test]
    fn json_has_the_values_and_differences_of_each_seed() {
        let groups = [group("single", [0.75, 0.5, 1.0], [0, 1, 2]), group("learned", [0.5, 1.0, 0.5], [1, 2, 3])];
        let metrics = compare_groups(&groups, Resampling { draws: 100, seed: 0 });
        let table = SeedTable { groups: &groups, metrics: &metrics, images_per_second: vec![Some(380.5), None] };
        let mut text = Vec::new();
        json::write_by_seed(&table, &mut text).expect("memory can be written");
        let found: serde_json::Value = serde_json::from_slice(&text).expect("the text is JSON");
        assert_eq!(found["groups"][0]["images_per_second"], 380.5);
        assert_eq!(found["groups"][1]["name"], "learned/1-3:end");
        assert_eq!(
            found["metrics"][0]["by_seed"],
            serde_json::json!([
                { "seed": 0, "values": [0.75, null], "differences": [null, null] },
                { "seed": 1, "values": [0.5, 0.5], "differences": [null, 0.0] },
                { "seed": 2, "values": [1.0, 1.0], "differences": [null, 0.0] },
                { "seed": 3, "values": [null, 0.5], "differences": [null, null] },
            ])
        );
        assert_eq!(found["metrics"][0]["groups"][1]["comparison"]["over"], "seeds");
    }
}
