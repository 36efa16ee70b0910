//! Groups of runs that differ only by their seed. Means and intervals are computed over the runs of a group.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

pub use super::group_name::GroupName;
use dnc_cache::Digest;

use crate::report::error::ReportError;
use crate::report::metrics::{self, Metric};
use crate::report::queries::{self, Queries};
use crate::report::run_folder::RunFolder;

/// A run to compare, or one node of it.
#[derive(Clone, Debug)]
pub struct ComparedRun {
    /// The run.
    pub run: RunFolder,
    /// The node, if only one is compared.
    pub node: Option<String>,
}

/// Runs whose manifests differ only by the seed, with their metrics and queries. All lists are in the order of the runs.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Name of the group.
    pub name: GroupName,
    /// The runs, as `<name>/<n>`.
    pub runs: Vec<String>,
    /// The seed of each run.
    pub seeds: Vec<i64>,
    /// The metrics of each run.
    pub metrics: Vec<Vec<Metric>>,
    /// The queries of each run.
    pub queries: Vec<Queries>,
    /// Digests of the tables of images that each node evaluated in these runs, by the node's name in `metrics`. An image has the same
    /// id in two tables only if they are the same.
    pub images: BTreeMap<String, BTreeSet<Digest>>,
}

impl Group {
    /// Reads metrics and queries of the runs. If only one node of each is compared, its name is left empty, so that it can be
    /// compared with a node of another name.
    ///
    /// # Errors
    /// A table cannot be read, or a run has no metrics of the node.
    pub fn read(members: &[ComparedRun]) -> Result<Self, ReportError> {
        let mut group = Self { name: name_of(members), ..Self::default() };
        for ComparedRun { run, node } in members {
            let (mut metrics, mut queries) = (metrics::read(&run.path)?, queries::read(&run.path)?);
            if let Some(node) = node {
                metrics.retain(|metric| metric.node == *node);
                if metrics.is_empty() {
                    return Err(ReportError::NoMetrics { run: run.id(), node: node.clone() });
                }
                metrics.iter_mut().for_each(|metric| metric.node.clear());
                queries = queries::unnamed(queries, node);
            }
            group.runs.push(run.id());
            group.seeds.push(manifest_and_seed(run)?.1);
            let json = run.read().map_err(|source| ReportError::ReadRunFile {
                path: run.path.join("run.json"),
                source: source.into(),
            })?;
            for evaluated in json.nodes.iter().filter(|known| node.as_ref().is_none_or(|node| *node == known.node)) {
                if let Some(images) = evaluated.images {
                    let name = if node.is_some() { String::new() } else { evaluated.node.clone() };
                    group.images.entry(name).or_default().insert(images);
                }
            }
            group.metrics.push(metrics);
            group.queries.push(queries);
        }
        Ok(group)
    }
}

impl Group {
    /// Whether the queries of a node can be paired: both groups are known to have evaluated the same tables of images in it.
    pub fn has_images_of(&self, other: &Group, node: &str) -> bool {
        let [here, there] = [self, other].map(|group| group.images.get(node).filter(|images| !images.is_empty()));
        here.is_some() && here == there
    }
}

/// Groups runs whose manifests differ only by the seed, in the order in which they are given. A run whose seed is already in
/// its group starts a new group: runs of a manifest before and after a change of the code are compared, not averaged.
///
/// # Errors
/// A run has no readable manifest.
pub fn group_runs(runs: Vec<ComparedRun>) -> Result<Vec<Vec<ComparedRun>>, ReportError> {
    struct Members {
        manifest: toml::Table,
        seeds: BTreeSet<i64>,
        runs: Vec<ComparedRun>,
    }
    let mut groups: Vec<Members> = Vec::new();
    for run in runs {
        let (manifest, seed) = manifest_and_seed(&run.run)?;
        let fits = |group: &&mut Members| {
            group.manifest == manifest && !group.seeds.contains(&seed) && group.runs[0].node == run.node
        };
        match groups.iter_mut().find(fits) {
            Some(group) => {
                group.seeds.insert(seed);
                group.runs.push(run);
            }
            None => groups.push(Members { manifest, seeds: BTreeSet::from([seed]), runs: vec![run] }),
        }
    }
    Ok(groups.into_iter().map(|group| group.runs).collect())
}

/// The manifest without its seed, and the seed.
fn manifest_and_seed(run: &RunFolder) -> Result<(toml::Table, i64), ReportError> {
    let path = run.path.join("manifest.toml");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return Err(ReportError::ReadRunFile { path, source: error.into() }),
    };
    let mut manifest: toml::Table = match toml::from_str(&text) {
        Ok(manifest) => manifest,
        Err(error) => return Err(ReportError::ReadRunFile { path, source: error.into() }),
    };
    // Whether a run wrote a report says nothing about its results.
    manifest.remove("report");
    let seed = manifest.remove("seed").and_then(|seed| seed.as_integer()).unwrap_or_default();
    Ok((manifest, seed))
}

fn name_of(members: &[ComparedRun]) -> GroupName {
    let Some(ComparedRun { run, node }) = members.first() else { return GroupName::default() };
    GroupName::new(&run.name, members.iter().map(|member| member.run.number).collect(), node.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_differ_only_by_the_seed_form_a_group() {
        let runs = tempfile::tempdir().expect("a temporary folder can be created");
        let run = |name: &str, manifest: &str| {
            let run = RunFolder::create(runs.path(), name).expect("the folder is writable");
            fs::write(run.path.join("manifest.toml"), manifest).expect("the folder is writable");
            ComparedRun { run, node: None }
        };
        let wide = |seed: u32| format!("name = \"a\"\nseed = {seed}\n[stage.init]\ndimension = 128\n");
        let narrow = |seed: u32| wide(seed).replace("128", "64");
        let compared = vec![
            run("a", &wide(0)),
            run("a", &wide(1)),
            run("a", &narrow(0)),
            run("a", &wide(2)),
            run("a", &narrow(1)),
            run("a", &wide(2)),
            run("b", &narrow(3).replace("\"a\"", "\"b\"")),
        ];
        let found = group_runs(compared).expect("manifests can be read");
        assert_eq!(
            found.iter().map(|members| name_of(members).to_string()).collect::<Vec<_>>(),
            ["a/1-2,4", "a/3,5", "a/6", "b/1"]
        );
    }
}
