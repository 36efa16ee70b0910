//! A report: evidence, analyses, sections and the page, in this order.

use std::fs;
use std::path::{Path, PathBuf};

use maud::{Markup, html};
use serde::Serialize;

use super::analysis::comparison;
use super::budget::Budget;
use super::contents::{Contents, contents};
use super::error::PagesError;
use super::evidence::Evidence;
use super::format::{count, date, seconds};
use super::options::ReportOptions;
use super::page::Page;
use super::sections;
use crate::report::difference::group::{ComparedRun, group_runs};
use crate::report::run_folder::RunFolder;

/// A report that was written.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: usize,
    /// The runs, as `<name>/<n>`.
    pub runs: Vec<String>,
    /// The sections that it has.
    pub sections: Vec<&'static str>,
    /// What was left out to keep the size, each with the option that shows it.
    pub left_out: Vec<String>,
}

/// Writes the report of `runs`.
///
/// # Errors
/// A run or the store cannot be read, the file cannot be written, or the budget is too small even without gallery and map.
pub fn write(runs: &[RunFolder], options: &ReportOptions) -> Result<Report, PagesError> {
    let groups = grouped(runs, options)?;
    let Some(first) = groups.last().and_then(|runs| runs.first()) else {
        return Err(PagesError::deriving("the list of runs")("it is empty"));
    };
    let name = if groups.len() > 1 { "comparison.html" } else { "report.html" };
    let path = options.output.clone().unwrap_or_else(|| first.folder.path.join(name));
    let (html, sections, left_out) = page(&groups, options)?;
    if html.len() > options.budget.0 {
        return Err(PagesError::OverBudget { needed: Budget(html.len()), budget: options.budget });
    }
    replace(&path, &html)?;
    let runs = groups.iter().flatten().map(|run| run.folder.id()).collect();
    Ok(Report { path, bytes: html.len(), runs, sections, left_out })
}

/// The report of `runs` as HTML, for a server.
///
/// # Errors
/// A run or the store cannot be read.
pub fn html(runs: &[RunFolder], options: &ReportOptions) -> Result<String, PagesError> {
    Ok(page(&grouped(runs, options)?, options)?.0)
}

/// Reads the runs, and groups those that differ only by their seed.
fn grouped(runs: &[RunFolder], options: &ReportOptions) -> Result<Vec<Vec<Evidence>>, PagesError> {
    let read = |run: RunFolder| Evidence::read(run, options.store.as_deref());
    // A run that was killed has no manifest, which matters only where it is compared.
    if let [one] = runs {
        return Ok(vec![vec![read(one.clone())?]]);
    }
    let compared = runs.iter().map(|run| ComparedRun { run: run.clone(), node: None }).collect();
    let groups = group_runs(compared)?.into_iter();
    groups.map(|members| members.into_iter().map(|member| read(member.run)).collect()).collect()
}

/// Writes a file under a temporary name first, so that a reader never sees a part of it.
fn replace(path: &Path, text: &str) -> Result<(), PagesError> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let failed = |source| PagesError::Write { path: path.to_owned(), source };
    fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path)).map_err(failed)
}

fn page(
    groups: &[Vec<Evidence>],
    options: &ReportOptions,
) -> Result<(String, Vec<&'static str>, Vec<String>), PagesError> {
    let Contents { sections, style, left_out } = contents(groups, options)?;
    let names = sections.iter().map(|section| section.id).collect();
    let footer = html! {
        p { "Made by dnc-run " (env!("CARGO_PKG_VERSION")) ". This file loads nothing; it can be sent and archived as it is." }
        @for statement in &left_out { p { (sections::parts::prose(statement)) } }
    };
    let page = Page {
        title: &title(groups),
        subtitle: subtitle(&groups[groups.len() - 1]),
        sections: &sections,
        pictures: &style,
        footer,
    };
    Ok((page.html(), names, left_out))
}

fn title(groups: &[Vec<Evidence>]) -> String {
    let groups: Vec<&[Evidence]> = groups.iter().map(Vec::as_slice).collect();
    comparison::names(&groups).join(" and ")
}

fn subtitle(runs: &[Evidence]) -> Markup {
    let run = &runs[0];
    let seeds: Vec<String> = runs.iter().map(|run| run.seed.to_string()).collect();
    html! {
        (date(run.json.started)) " · " (if runs.len() == 1 { "seed " } else { "seeds " }) (seeds.join(", ")) " · "
        (count(run.json.nodes.len())) " nodes in " (seconds(run.json.seconds)) " · " (run.json.arithmetic)
    }
}
