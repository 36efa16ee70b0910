//! A comparison of runs as a table for people, Markdown, JSON or Parquet.

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Context as _;
use arrow::array::{ArrayRef, Float64Array, Int32Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::ArrowWriter;
use serde::Serialize;

use super::group::Group;
use super::{Cell, Comparison, Line, Over};
use crate::report::text_table;

/// Writes the lines as a table for a terminal.
///
/// # Errors
/// They cannot be written.
pub fn table(groups: &[Group], lines: &[Line], mut out: impl Write) -> io::Result<()> {
    let heads = heads(groups);
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    writeln!(out, "{}", text_table(&heads, lines.iter().map(cells).collect()))
}

/// Writes the lines as a table in Markdown.
///
/// # Errors
/// They cannot be written.
pub fn markdown(groups: &[Group], lines: &[Line], mut out: impl Write) -> io::Result<()> {
    let heads = heads(groups);
    writeln!(out, "| {} |\n|{}", heads.join(" | "), "---|".repeat(heads.len()))?;
    lines.iter().try_for_each(|line| writeln!(out, "| {} |", cells(line).join(" | ")))
}

/// Writes the lines as JSON.
///
/// # Errors
/// They cannot be written.
pub fn json(groups: &[Group], lines: &[Line], mut out: impl Write) -> io::Result<()> {
    let groups_of =
        |line: &Line| groups.iter().zip(&line.cells).map(|(group, cell)| CellJson::of(group, cell)).collect();
    let line = |line: &Line| LineJson {
        node: line.node.clone(),
        split: line.split.clone(),
        metric: line.metric.clone(),
        k: line.k,
        groups: groups_of(line),
    };
    serde_json::to_writer_pretty(&mut out, &lines.iter().map(line).collect::<Vec<_>>())?;
    writeln!(out)
}

/// Writes a Parquet table with a row for each metric and group.
///
/// # Errors
/// It cannot be written.
pub fn parquet(groups: &[Group], lines: &[Line], out: impl Write + Send) -> anyhow::Result<()> {
    let rows: Vec<(&Line, &Group, &Cell)> = lines
        .iter()
        .flat_map(|line| groups.iter().zip(&line.cells).map(move |(group, cell)| (line, group, cell)))
        .collect();
    let text = |of: &dyn Fn(&(&Line, &Group, &Cell)) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<StringArray>())
    };
    let number = |of: &dyn Fn(&(&Line, &Group, &Cell)) -> Option<f64>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<Float64Array>())
    };
    let compared =
        |of: &dyn Fn(&Comparison) -> Option<f64>| number(&|(_, _, cell)| cell.comparison.as_ref().and_then(of));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("node", text(&|(line, ..)| Some(line.node.clone()))),
        ("split", text(&|(line, ..)| Some(line.split.clone()))),
        ("metric", text(&|(line, ..)| Some(line.metric.clone()))),
        ("k", Arc::new(rows.iter().map(|(line, ..)| line.k).collect::<Int32Array>())),
        ("runs", text(&|(_, group, _)| Some(group.name.clone()))),
        (
            "seeds",
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(
                rows.iter().map(|(.., cell)| list(&cell.seeds)),
            )),
        ),
        (
            "values",
            Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(
                rows.iter().map(|(.., cell)| list(&cell.values)),
            )),
        ),
        ("value", number(&|(.., cell)| cell.mean())),
        ("half_width", number(&|(.., cell)| cell.spread().map(|spread| spread.half_width))),
        ("difference", compared(&|comparison| Some(comparison.difference.mean))),
        ("low", compared(&|comparison| Some(comparison.difference.interval.0))),
        ("high", compared(&|comparison| Some(comparison.difference.interval.1))),
        ("p", compared(&|comparison| Some(comparison.difference.p))),
        ("p_sign_flip", compared(&|comparison| comparison.sign_flip)),
        ("over", text(&|(.., cell)| cell.comparison.map(|comparison| comparison.over.name().to_owned()))),
        ("verdict", text(&|(.., cell)| cell.comparison.map(|comparison| comparison.verdict.name().to_owned()))),
    ];
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))?;
    let mut writer = ArrowWriter::try_new(out, batch.schema(), None)?;
    writer.write(&batch)?;
    writer.close().context("Cannot write the Parquet table")?;
    Ok(())
}

/// A list in a column of lists.
fn list<T: Copy>(items: &[T]) -> Option<impl Iterator<Item = Option<T>>> {
    Some(items.iter().copied().map(Some))
}

/// The heads of the table for people: with two groups everything about their difference, with more only what is needed.
fn heads(groups: &[Group]) -> Vec<String> {
    let mut heads: Vec<String> = ["node", "split", "metric"].map(str::to_owned).into();
    heads.extend(groups.iter().map(|group| group.name.clone()));
    match groups {
        [_, _] => heads.extend(["difference", "95 % interval", "p", "p (sign flips)", "verdict"].map(str::to_owned)),
        [first, others @ ..] => {
            for other in others {
                heads.extend([format!("{} less {}", other.name, first.name), "verdict".to_owned()]);
            }
        }
        [] => {}
    }
    heads
}

fn cells(line: &Line) -> Vec<String> {
    let mut cells = vec![line.node.clone(), line.split.clone(), line.label()];
    cells.extend(line.cells.iter().map(|cell| match (cell.mean(), cell.spread()) {
        (_, Some(spread)) => format!("{:.4} ± {:.4}", spread.mean, spread.half_width),
        (Some(mean), None) => format!("{mean:.4}"),
        (None, None) => String::new(),
    }));
    let Some((first, others)) = line.cells.split_first() else { return cells };
    for other in others {
        // Without seeds or queries there is still the difference.
        let difference = first.mean().zip(other.mean()).map(|(first, other)| other - first);
        let difference = difference.map_or_else(String::new, |difference| format!("{difference:+.4}"));
        let comparison = other.comparison;
        let interval = comparison.map(|comparison| {
            let (low, high) = comparison.difference.interval;
            format!("{low:+.4} … {high:+.4}")
        });
        if others.len() == 1 {
            let p = |p: Option<f64>| p.map_or_else(String::new, |p| format!("{p:.4}"));
            cells.extend([difference, interval.unwrap_or_default()]);
            cells.push(p(comparison.map(|comparison| comparison.difference.p)));
            cells.push(p(comparison.and_then(|comparison| comparison.sign_flip)));
        } else {
            let interval = interval.map(|interval| format!(" ({interval})"));
            cells.push(difference + &interval.unwrap_or_default());
        }
        cells.push(comparison.as_ref().map_or_else(String::new, verdict));
    }
    cells
}

/// The verdict, and what it was found over: `better, paired over seeds`.
fn verdict(comparison: &Comparison) -> String {
    let over = match comparison.over {
        Over::Seeds => "over seeds",
        Over::PairedSeeds => "paired over seeds",
        Over::Queries => "over queries",
    };
    format!("{}, {over}", comparison.verdict.name())
}

#[derive(Serialize)]
struct LineJson {
    node: String,
    split: String,
    metric: String,
    k: Option<i32>,
    groups: Vec<CellJson>,
}

#[derive(Serialize)]
struct CellJson {
    runs: Vec<String>,
    seeds: Vec<i64>,
    values: Vec<f64>,
    mean: Option<f64>,
    half_width: Option<f64>,
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

impl CellJson {
    fn of(group: &Group, cell: &Cell) -> Self {
        Self {
            runs: group.runs.clone(),
            seeds: cell.seeds.clone(),
            values: cell.values.clone(),
            mean: cell.mean(),
            half_width: cell.spread().map(|spread| spread.half_width),
            comparison: cell.comparison.map(|comparison| ComparisonJson {
                over: comparison.over.name(),
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
