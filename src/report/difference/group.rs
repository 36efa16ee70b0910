//! Runs that differ by nothing but their seed: what a mean and its spread are taken over.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Context as _;

use crate::report::metrics::{self, Metric};
use crate::report::queries::{self, Queries};
use crate::report::run_folder::RunFolder;

/// A run that is compared, or one node of it.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The run.
    pub run: RunFolder,
    /// The node, where only one is meant.
    pub node: Option<String>,
}

/// Runs of one manifest but for the seed, with what they measured.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// As the head of a column has it: `sop/3`, `sop/1-3`, `sop/1,4:evaluate@2`.
    pub name: String,
    /// The runs, as `<name>/<n>`.
    pub runs: Vec<String>,
    /// The seed of each run.
    pub seeds: Vec<i64>,
    /// The metrics of each run.
    pub metrics: Vec<Vec<Metric>>,
    /// The queries of each run.
    pub queries: Vec<Queries>,
}

impl Group {
    /// Reads what the runs measured. Where one node of each is meant it goes without its name, so that it meets another's.
    ///
    /// # Errors
    /// A table cannot be read, or a run has no metrics of the node.
    pub fn read(members: &[Compared]) -> anyhow::Result<Self> {
        let mut group = Self { name: name_of(members), ..Self::default() };
        for Compared { run, node } in members {
            let (mut metrics, mut queries) = (metrics::read(&run.path)?, queries::read(&run.path)?);
            if let Some(node) = node {
                metrics.retain(|metric| metric.node == *node);
                anyhow::ensure!(!metrics.is_empty(), "The run `{}` has no metrics of a node `{node}`", run.id());
                metrics.iter_mut().for_each(|metric| metric.node.clear());
                let of_node = queries.into_iter().filter(|((found, _), _)| found == node);
                queries = of_node.map(|((_, split), queries)| ((String::new(), split), queries)).collect();
            }
            group.runs.push(run.id());
            group.seeds.push(manifest_and_seed(run)?.1);
            group.metrics.push(metrics);
            group.queries.push(queries);
        }
        Ok(group)
    }
}

/// Puts runs together whose manifests differ by nothing but the seed, in the order in which they were named. A seed that a group
/// already has begins another, so that a manifest's runs before and after a change of the code stand side by side.
///
/// # Errors
/// A run has no readable manifest.
pub fn groups(compared: Vec<Compared>) -> anyhow::Result<Vec<Vec<Compared>>> {
    let mut groups: Vec<(toml::Table, BTreeSet<i64>, Vec<Compared>)> = Vec::new();
    for one in compared {
        let (manifest, seed) = manifest_and_seed(&one.run)?;
        let fits = |(known, seeds, members): &&mut (toml::Table, BTreeSet<i64>, Vec<Compared>)| {
            *known == manifest && !seeds.contains(&seed) && members[0].node == one.node
        };
        match groups.iter_mut().find(fits) {
            Some((_, seeds, members)) => {
                seeds.insert(seed);
                members.push(one);
            }
            None => groups.push((manifest, BTreeSet::from([seed]), vec![one])),
        }
    }
    Ok(groups.into_iter().map(|(_, _, members)| members).collect())
}

/// The manifest without its seed, and the seed.
fn manifest_and_seed(run: &RunFolder) -> anyhow::Result<(toml::Table, i64)> {
    let path = run.path.join("manifest.toml");
    let read = || -> anyhow::Result<_> {
        let mut manifest: toml::Table = toml::from_str(&fs::read_to_string(&path)?)?;
        let seed = manifest.remove("seed").and_then(|seed| seed.as_integer()).unwrap_or_default();
        Ok((manifest, seed))
    };
    read().with_context(|| format!("Cannot read `{}`", path.display()))
}

/// `sop/3`, `sop/1-3`, `sop/1,4`, each with the node where one is meant.
fn name_of(members: &[Compared]) -> String {
    let mut numbers: Vec<u32> = members.iter().map(|member| member.run.number).collect();
    numbers.sort_unstable();
    let spans = numbers.chunk_by(|one, next| one + 1 == *next).map(|span| match span {
        [one] => one.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => unreachable!("a chunk has an element"),
    });
    let spans: Vec<String> = spans.collect();
    let Some(Compared { run, node }) = members.first() else { return String::new() };
    let node = node.as_ref().map(|node| format!(":{node}")).unwrap_or_default();
    format!("{}/{}{node}", run.name, spans.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_manifest_but_for_the_seed_are_a_group() {
        let runs = tempfile::tempdir().expect("a temp folder can be made");
        let run = |name: &str, manifest: &str| {
            let run = RunFolder::create(runs.path(), name).expect("it can be made");
            fs::write(run.path.join("manifest.toml"), manifest).expect("it can be written");
            Compared { run, node: None }
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
        let found = groups(compared).expect("manifests can be read");
        assert_eq!(
            found.iter().map(|members| name_of(members)).collect::<Vec<_>>(),
            ["a/1-2,4", "a/3,5", "a/6", "b/1"]
        );
    }
}
