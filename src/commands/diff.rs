//! `dnc-run diff RUN…`: compares the metrics of runs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::num::NonZero;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;

use super::failure::Failure;
use super::names;
use super::output::check_replaceable;
use super::units::parse_count;
use crate::project::{Folders, Project};
use crate::report::difference::by_seed::SeedTable;
use crate::report::difference::comparison::{ComparedMetric, Resampling, compare_groups};
use crate::report::difference::group::{ComparedRun, Group, group_runs};
use crate::report::difference::images_per_second::images_per_second;
use crate::report::difference::text_form::TextForm;
use crate::report::difference::{json, metric_filter, parquet, side_by_side};
use crate::report::run_folder::RunFolder;

/// Arguments of `diff`.
#[derive(Args)]
pub struct DiffArgs {
    /// Runs to compare: `sop/3`, a range such as `sop/1-3`, or `sop` for the last run; append `:NODE` for one node
    ///
    /// Runs that differ only by their seed form a group, shown as mean ± half width of Student's 95 % interval. Every group is
    /// compared with the first one. If both have several seeds, the comparison is over seeds and says which setting is better:
    /// Student's paired t-test if the seeds are the same, Welch's t-test if not. Otherwise it is over the queries that both
    /// answered (paired bootstrap and sign-flip test) and says only which of these trained models is better on these queries:
    /// another seed may reverse it. A difference is "not distinguishable" if its 95 % interval contains 0. JSON and Parquet
    /// include the value of each seed.
    #[arg(required = true, value_name = "RUN[:NODE]", add = ArgValueCompleter::new(names::runs))]
    compared: Vec<String>,
    /// Output format
    #[arg(long, default_value = "table")]
    format: Format,
    /// Show one row per metric and seed, with the difference of each group to the first one
    ///
    /// Below the seeds of a metric follow mean, 95 % interval, p and verdict, and at the end the images per second in training:
    /// the median over the training nodes of a run, then over the runs of the group.
    #[arg(long)]
    by_seed: bool,
    /// Metrics to show, such as `recall@1`, or `recall` for every k [default: all; with --by-seed, map_at_r, recall@1, map and
    /// cmc@1]
    #[arg(long = "metric", value_name = "NAME", value_delimiter = ',')]
    metrics: Vec<String>,
    /// Also show metrics that are the same in all runs
    #[arg(long)]
    all: bool,
    /// File to write instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Number of bootstrap samples and of sign flips
    #[arg(long, value_name = "N", default_value = "10000", value_parser = parse_count)]
    draws: NonZero<usize>,
    /// Seed of the bootstrap samples and sign flips
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
    #[command(flatten)]
    folders: Folders,
}

/// Values of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned columns
    Table,
    /// Markdown; differences whose 95 % interval excludes 0 are bold
    Md,
    /// JSON
    Json,
    /// Parquet, with a row per metric and group of runs
    Parquet,
}

impl DiffArgs {
    /// Writes the comparison. Runs that differ are not a failure.
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.by_seed && self.format == Format::Parquet {
            let message =
                "`--by-seed` cannot be written as Parquet; without it, Parquet includes the values of each seed";
            return Err(Failure::Call(message.into()));
        }
        let project = Project::current(&self.folders)?;
        let members = group_runs(self.compared_runs(&project)?)?;
        let groups = members.iter().map(|members| Group::read(members)).collect::<Result<Vec<_>, _>>()?;
        let mut metrics = compare_groups(&groups, Resampling { draws: self.draws.get(), seed: self.seed });
        if metrics.is_empty() {
            eprintln!("None of the runs has metrics");
            return Ok(());
        }
        (1..groups.len()).filter_map(|other| unpaired(&groups, other, &metrics)).for_each(|note| eprintln!("{note}"));
        if !self.metrics.is_empty() {
            metric_filter::keep_named(&mut metrics, &self.metrics).map_err(Failure::Call)?;
        } else if self.by_seed {
            metric_filter::keep_main(&mut metrics);
        }

        if metrics.iter().any(ComparedMetric::is_about_single_models) {
            eprintln!(
                "note: with one seed on a side, a verdict is about these models; to compare settings, run several seeds, as in `--vary \
                 seed=0,1,2,3,4`"
            );
        }
        if !self.all && !self.by_seed && matches!(self.format, Format::Table | Format::Md) {
            let count = metrics.len();
            metrics.retain(|metric| !metric.is_constant());
            match count - metrics.len() {
                0 => {}
                same if metrics.is_empty() => {
                    eprintln!("All {same} metrics are the same in all runs; `--all` shows them");
                    return Ok(());
                }
                same => eprintln!("note: {same} more metrics are the same in all runs; `--all` shows them"),
            }
        }

        let mut out = self.open_output()?;
        if self.by_seed {
            let images_per_second = images_per_second(&members, &project.runs);
            let table = SeedTable { groups: &groups, metrics: &metrics, images_per_second };
            self.write_by_seed(&table, &mut out)?;
        } else {
            self.write(&groups, &metrics, &mut out)?;
        }
        out.flush()?;
        Ok(())
    }

    fn compared_runs(&self, project: &Project) -> Result<Vec<ComparedRun>, Failure> {
        let mut compared = Vec::new();
        for text in &self.compared {
            let (runs, node) = match text.split_once(':') {
                Some((runs, node)) => (runs, Some(node.to_owned())),
                None => (text.as_str(), None),
            };
            let found = RunFolder::find_all(&project.runs, runs).map_err(Failure::Call)?;
            compared.extend(found.into_iter().map(|run| ComparedRun { run, node: node.clone() }));
        }
        Ok(compared)
    }

    fn open_output(&self) -> Result<Box<dyn Write + Send>, Failure> {
        Ok(match &self.output {
            Some(path) => {
                check_replaceable(path, &["txt", "md", "json", "parquet"])?;
                Box::new(File::create(path).with_context(|| format!("Cannot write `{}`", path.display()))?)
            }
            None if self.format == Format::Parquet && io::stdout().is_terminal() => {
                return Err(Failure::Call("Parquet cannot be shown in a terminal; add `--output FILE`".into()));
            }
            None => Box::new(io::stdout()),
        })
    }

    fn write(&self, groups: &[Group], metrics: &[ComparedMetric], out: impl Write + Send) -> Result<(), Failure> {
        match self.format {
            Format::Table => side_by_side::write(groups, metrics, TextForm::Terminal, out)?,
            Format::Md => side_by_side::write(groups, metrics, TextForm::Markdown, out)?,
            Format::Json => json::write(groups, metrics, out)?,
            Format::Parquet => parquet::write(groups, metrics, out)?,
        }
        Ok(())
    }

    fn write_by_seed(&self, table: &SeedTable<'_>, out: impl Write) -> Result<(), Failure> {
        match self.format {
            Format::Table => table.write(TextForm::Terminal, out)?,
            Format::Md => table.write(TextForm::Markdown, out)?,
            Format::Json => json::write_by_seed(table, out)?,
            Format::Parquet => unreachable!("refused before anything is read"),
        }
        Ok(())
    }
}

/// The note that queries of group `other` cannot be paired with those of the first, if there are such.
fn unpaired(groups: &[Group], other: usize, metrics: &[ComparedMetric]) -> Option<String> {
    let (first, group) = (&groups[0], &groups[other]);
    let in_both = |metric: &&ComparedMetric| [0, other].iter().all(|&group| !metric.groups[group].values.is_empty());
    let nodes: BTreeSet<&str> = metrics.iter().filter(in_both).map(|metric| metric.node.as_str()).collect();
    let unpaired: Vec<&str> = nodes.iter().copied().filter(|node| !group.has_images_of(first, node)).collect();
    if unpaired.is_empty() {
        return None;
    }
    let is_known = |node: &&str| group.images.contains_key(*node) && first.images.contains_key(*node);
    let did_not = if unpaired.iter().all(is_known) { "did not evaluate" } else { "are not known to have evaluated" };
    let place = if unpaired.len() == nodes.len() { String::new() } else { format!(" in `{}`", unpaired.join("`, `")) };
    Some(format!(
        "note: {} and {} {did_not} the same images{place}, so their queries cannot be paired",
        first.name, group.name
    ))
}

#[cfg(test)]
mod tests {
    use dnc_cache::Digest;

    use super::*;
    use crate::report::difference::comparison::GroupValues;
    use crate::report::difference::group::GroupName;

    #[test]
    fn the_note_names_the_nodes_that_evaluated_other_images() {
        let group = |name: &str, images: &[(&str, &str)]| Group {
            name: GroupName { runs: name.to_owned(), numbers: "1".to_owned(), node: None },
            images: images
                .iter()
                .map(|(node, table)| ((*node).into(), [Digest::of(table.as_bytes())].into()))
                .collect(),
            ..Group::default()
        };
        let metric = |node: &str| ComparedMetric {
            node: node.to_owned(),
            split: "test".to_owned(),
            metric: "map_at_r".to_owned(),
            k: None,
            groups: vec![GroupValues { values: vec![0.5], ..GroupValues::default() }; 2],
        };
        let metrics = ["x", "y"].map(metric);
        let check = |second: &[(&str, &str)]| {
            let groups = [group("a", &[("x", "one"), ("y", "two")]), group("b", second)];
            unpaired(&groups, 1, &metrics).unwrap_or_default()
        };
        assert_eq!(check(&[("x", "one"), ("y", "two")]), "");
        insta::assert_snapshot!(check(&[("x", "two"), ("y", "two")]), @"note: a/1 and b/1 did not evaluate the same images in `x`, so their queries cannot be paired");
        insta::assert_snapshot!(check(&[("x", "two"), ("y", "one")]), @"note: a/1 and b/1 did not evaluate the same images, so their queries cannot be paired");
        insta::assert_snapshot!(check(&[("x", "one")]), @"note: a/1 and b/1 are not known to have evaluated the same images in `y`, so their queries cannot be paired");
    }
}
