//! A task: a node whose inputs are known, with the fingerprint and key that follow.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dnc_cache::{Artifact, Digest, Key};
use dnc_stages::context::AmbientValues;
use dnc_stages::stage::Columns;
use serde_json::Value;

use super::NodeResult;
use crate::fingerprint::{Fingerprint, WHOLE};
use crate::manifest::value_at;
use crate::plan::{Node, Plan};

/// What holds for all nodes of a run and enters their keys.
pub struct Ingredients {
    /// What [`DeviceChoice::arithmetic`](dnc_stages::device::DeviceChoice::arithmetic) says of the run's device.
    pub arithmetic: String,
    /// The digests of the files and folders that each stage reads from outside the store, in the stages' order.
    pub sources: Vec<Vec<SourceFile>>,
}

/// A file or folder outside the store.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The parameter that names it.
    pub param: String,
    /// Where it lies.
    pub path: PathBuf,
    /// The digest of its contents.
    pub digest: Digest,
    /// Whether it is a program of the system's, found on the PATH.
    pub on_path: bool,
}

/// A node whose inputs are known.
#[derive(Clone, Debug)]
pub struct Task {
    /// What it is made of.
    pub fingerprint: Fingerprint,
    /// The digest of that.
    pub key: Key,
}

impl Task {
    /// The task of `node`, whose inputs came out as `results` say.
    ///
    /// # Errors
    /// An input lacks an output or a column that the node's port needs.
    pub fn new(plan: &Plan, node: &Node, ingredients: &Ingredients, results: &[NodeResult]) -> Result<Self, String> {
        let stage = plan.stage(node);
        let ambient = stage.job.ambient();
        let values = ambient_values(plan, node);
        let mut inputs = BTreeMap::new();
        for wire in &node.inputs {
            let mut artifacts = Vec::with_capacity(wire.feeds.len());
            for feed in &wire.feeds {
                let name = &plan.nodes[feed.node].name;
                let artifact = results[feed.node]
                    .outputs
                    .get(&feed.output)
                    .ok_or_else(|| format!("The node `{name}` left no output `{}`", feed.output))?;
                let seen = facets_seen(artifact, &wire.columns)
                    .map_err(|column| format!("The output `{}` of `{name}` has no column `{column}`", feed.output))?;
                artifacts.push(seen);
            }
            inputs.insert(wire.port.clone(), artifacts);
        }
        let sources = &ingredients.sources[node.stage];
        let fingerprint = Fingerprint {
            stage: stage.kind.name.to_owned(),
            version: stage.kind.version,
            params: params_in_key(&stage.params, sources, stage.kind.not_in_key),
            inputs,
            sources: sources.iter().map(|source| (source.param.clone(), source.digest)).collect(),
            seed: values.seed,
            round: values.round,
            learners: values.learners,
            previous_learners: values.previous_learners,
            learner: values.learner,
            arithmetic: ambient.arithmetic.then(|| ingredients.arithmetic.clone()),
        };
        Ok(Self { key: fingerprint.key(), fingerprint })
    }
}

/// The ambient values that the node's stage declared.
pub fn ambient_values(plan: &Plan, node: &Node) -> AmbientValues {
    let ambient = plan.stage(node).job.ambient();
    AmbientValues {
        seed: ambient.seed.then_some(plan.manifest.seed),
        round: node.round.filter(|_| ambient.round),
        learners: node.learners.filter(|_| ambient.learners),
        previous_learners: node.previous_learners.filter(|_| ambient.learners),
        learner: node.learner.filter(|_| ambient.learner),
    }
}

/// The digests of what a port sees of an artifact, or the column that the artifact lacks.
fn facets_seen(artifact: &Artifact, columns: &Columns) -> Result<BTreeMap<String, Digest>, String> {
    match columns {
        Columns::All if artifact.facets().is_empty() => Ok(BTreeMap::from([(WHOLE.to_owned(), artifact.digest())])),
        Columns::All => Ok(artifact.facets().clone()),
        Columns::Named(names) => names
            .iter()
            .map(|name| match artifact.facets().get(name) {
                Some(&digest) => Ok((name.clone(), digest)),
                None => Err(name.clone()),
            })
            .collect(),
    }
}

/// The parameters without those that do not enter the key, and without the names of files: what lies in the files counts,
/// not what they are called.
fn params_in_key(params: &Value, sources: &[SourceFile], not_in_key: &[&str]) -> Value {
    let mut params = params.clone();
    if let Some(params) = params.as_object_mut() {
        not_in_key.iter().for_each(|name| drop(params.remove(*name)));
    }
    for source in sources {
        if let Some(value) = value_at(&mut params, &source.param) {
            *value = Value::Null;
        }
    }
    params
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_files_and_limits_do_not_count() {
        let source = |param: &str| SourceFile {
            param: param.into(),
            path: "/x".into(),
            digest: Digest::of(b"x"),
            on_path: false,
        };
        let params = json!({ "root": "a/b", "run": ["python3", "plot.py", "--fast"], "crop": 48, "limit": 9 });
        let sources = [source("root"), source("run.1"), source("absent.0")];
        assert_eq!(
            params_in_key(&params, &sources, &["limit", "absent"]),
            json!({ "root": null, "run": ["python3", null, "--fast"], "crop": 48 })
        );
    }

    #[test]
    fn a_port_sees_the_columns_that_it_names() {
        let facets = BTreeMap::from([("id".to_owned(), Digest::of(b"1")), ("label".to_owned(), Digest::of(b"2"))]);
        let table = Artifact::new(Vec::new(), facets.clone()).expect("no file can be wrong");
        let files = Artifact::new(Vec::new(), BTreeMap::new()).expect("no file can be wrong");
        let named = |names: &[&str]| Columns::Named(names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(facets_seen(&table, &Columns::All), Ok(facets));
        assert_eq!(facets_seen(&table, &named(&["id"])).map(|seen| seen.len()), Ok(1));
        assert_eq!(facets_seen(&table, &named(&["pixels"])), Err("pixels".to_owned()));
        assert!(facets_seen(&files, &Columns::All).is_ok_and(|seen| seen.contains_key(WHOLE)));
    }
}
