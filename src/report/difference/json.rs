//! Comparison as JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::by_seed::SeedTable;
use super::comparison::{ComparedMetric, GroupValues};
use super::group::Group;

/// Writes a list with an object per metric.
///
/// # Errors
/// The output cannot be written.
pub fn write(groups: &[Group], metrics: &[ComparedMetric], out: impl Write) -> io::Result<()> {
    let metrics: Vec<_> = metrics.iter().map(|metric| MetricJson::new(groups, metric, None)).collect();
    write_pretty(&metrics, out)
}

/// Writes the table by seed: the groups, and the metrics as [`write()`] does but with the values of each seed in a row.
///
/// # Errors
/// The output cannot be written.
pub fn write_by_seed(table: &SeedTable<'_>, out: impl Write) -> io::Result<()> {
    let speeds = table.groups.iter().zip(&table.images_per_second);
    let group = |(group, &images_per_second): (&Group, &Option<f64>)| SeedGroupJson {
        name: group.name.to_string(),
        runs: group.runs.clone(),
        images_per_second,
    };
    let metric = |metric| {
        let rows = SeedTable::seed_rows(metric).into_iter();
        let rows = rows.map(|row| SeedRowJson { seed: row.seed, values: row.values, differences: row.differences });
        MetricJson::new(table.groups, metric, Some(rows.collect()))
    };
    let json =
        SeedTableJson { groups: speeds.map(group).collect(), metrics: table.metrics.iter().map(metric).collect() };
    write_pretty(&json, out)
}

fn write_pretty(json: &impl Serialize, mut out: impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut out, json)?;
    writeln!(out)
}

#[derive(Serialize)]
struct SeedTableJson {
    groups: Vec<SeedGroupJson>,
    metrics: Vec<MetricJson>,
}

#[derive(Serialize)]
struct SeedGroupJson {
    name: String,
    runs: Vec<String>,
    images_per_second: Option<f64>,
}

#[derive(Serialize)]
struct MetricJson {
    node: String,
    split: String,
    metric: String,
    k: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_seed: Option<Vec<SeedRowJson>>,
    groups: Vec<GroupJson>,
}

/// A seed; both lists are in the order of the groups, and a difference is null for the first group.
#[derive(Serialize)]
struct SeedRowJson {
    seed: i64,
    values: Vec<Option<f64>>,
    differences: Vec<Option<f64>>,
}

#[derive(Serialize)]
struct GroupJson {
    runs: Vec<String>,
    seeds: Vec<i64>,
    values: Vec<f64>,
    mean: Option<f64>,
    half_width: Option<f64>,
    interval: Option<[f64; 2]>,
    comparison: Option<ComparisonJson>,
}

#[derive(Serialize)]
struct ComparisonJson {
    over: &'static str,
    difference: f64,
    low: f64,
    high: f64,
    p: f64,
    p_sign_flip: Option<f64>,
    verdict: &'static str,
}

impl MetricJson {
    fn new(groups: &[Group], metric: &ComparedMetric, by_seed: Option<Vec<SeedRowJson>>) -> Self {
        Self {
            node: metric.node.clone(),
            split: metric.split.clone(),
            metric: metric.metric.clone(),
            k: metric.k,
            by_seed,
            groups: groups
                .iter()
                .zip(&metric.groups)
                .map(|(group, values)| GroupJson::new(group, values, &metric.metric))
                .collect(),
        }
    }
}

impl GroupJson {
    fn new(group: &Group, values: &GroupValues, metric: &str) -> Self {
        let interval = values.interval(metric);
        Self {
            runs: group.runs.clone(),
            seeds: values.seeds.clone(),
            values: values.values.clone(),
            mean: values.mean(),
            half_width: interval.and_then(|interval| interval.half_width),
            interval: interval.map(|interval| [interval.low, interval.high]),
            comparison: values.comparison.map(|comparison| ComparisonJson {
                over: comparison.basis.name(),
                difference: comparison.difference.mean,
                low: comparison.difference.interval.0,
                high: comparison.difference.interval.1,
                p: comparison.difference.p,
                p_sign_flip: comparison.sign_flip,
                verdict: comparison.verdict.name(),
            }),
        }
    }
}
