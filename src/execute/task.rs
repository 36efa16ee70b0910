//! A task: a node whose inputs are known, with the fingerprint and key that follow from them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dnc_cache::{Artifact, Digest, Key, Outputs, SourceRules};
use dnc_stages::api::{Arithmetic, Columns};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fingerprint::{Fingerprint, WHOLE};
use crate::manifest::value_at;
use crate::plan::{Node, NodeIndex, Plan};

/// What enters the keys of all nodes of a run.
pub struct Ingredients {
    /// Arithmetic of stages that compute floats on the CPU, whatever the run's device: see
    /// [`Devices::arithmetic`](dnc_stages::api::Devices::arithmetic).
    pub cpu_arithmetic: String,
    /// Arithmetic of stages that compute floats on the run's device.
    pub device_arithmetic: String,
    /// Files and folders that each stage reads from outside the store, in the order of the manifest's stages.
    pub sources: Vec<Vec<SourceFile>>,
}

impl Ingredients {
    fn arithmetic(&self, arithmetic: Arithmetic) -> Option<String> {
        match arithmetic {
            Arithmetic::None => None,
            Arithmetic::Cpu => Some(self.cpu_arithmetic.clone()),
            Arithmetic::Device => Some(self.device_arithmetic.clone()),
            Arithmetic::Both if self.device_arithmetic == self.cpu_arithmetic => Some(self.cpu_arithmetic.clone()),
            Arithmetic::Both => Some(format!("{} + {}", self.device_arithmetic, self.cpu_arithmetic)),
        }
    }
}

/// A file or folder outside the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceFile {
    /// The parameter that names it.
    pub param: String,
    /// Its absolute path.
    pub path: PathBuf,
    /// Digest of its contents.
    pub digest: Digest,
    /// Whether it is a program found on the PATH.
    pub on_path: bool,
    /// What of it counts.
    pub rules: SourceRules,
}

/// A node whose inputs are known.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Fingerprint", into = "Fingerprint")]
pub struct Task {
    /// Its ingredients.
    pub fingerprint: Fingerprint,
    /// Digest of the fingerprint.
    pub key: Key,
}

impl From<Fingerprint> for Task {
    fn from(fingerprint: Fingerprint) -> Self {
        Self { key: fingerprint.key(), fingerprint }
    }
}

impl From<Task> for Fingerprint {
    fn from(task: Task) -> Self {
        task.fingerprint
    }
}

impl Task {
    /// The task of `node`, given the `outputs` of the nodes upstream.
    ///
    /// # Errors
    /// An input lacks an output or a column that the port needs.
    pub fn new<'r>(
        plan: &Plan,
        node: &Node,
        ingredients: &Ingredients,
        outputs: impl Fn(NodeIndex) -> &'r Outputs,
    ) -> Result<Self, String> {
        let stage = plan.stage(node);
        let mut inputs = BTreeMap::new();
        for wire in &node.inputs {
            let mut artifacts = Vec::with_capacity(wire.feeds.len());
            for feed in &wire.feeds {
                let name = &plan.nodes[feed.node].name;
                let artifact = outputs(feed.node)
                    .get(&feed.output)
                    .ok_or_else(|| format!("The node `{name}` has no output `{}`", feed.output))?;
                let facets = facets_read(artifact, &wire.columns)
                    .map_err(|column| format!("The output `{}` of `{name}` has no column `{column}`", feed.output))?;
                artifacts.push(facets);
            }
            inputs.insert(wire.port.clone(), artifacts);
        }
        let sources = &ingredients.sources[node.stage];
        let ambient = stage.job.ambient();
        let fingerprint = Fingerprint {
            stage: stage.kind.name.to_owned(),
            version: stage.kind.version,
            params: params_in_key(&stage.params, sources, stage.kind.not_in_key),
            inputs,
            sources: sources.iter().map(|source| (source.param.clone(), source.digest)).collect(),
            seed: ambient.seed.then_some(plan.manifest.seed),
            round: node.round.filter(|_| ambient.round),
            learners: node.learners.filter(|_| ambient.learners),
            previous_learners: node.previous_learners.filter(|_| ambient.learners),
            learner: node.learner.filter(|_| ambient.learner),
            arithmetic: ingredients.arithmetic(ambient.arithmetic),
        };
        Ok(Self::from(fingerprint))
    }
}

/// The digests of what a port reads, or the column that the artifact lacks.
fn facets_read(artifact: &Artifact, columns: &Columns) -> Result<BTreeMap<String, Digest>, String> {
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

/// The parameters that enter the key: without those that the stage leaves out, and with file names removed, since the
/// contents of the files count and not what they are called.
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
    fn file_names_and_limits_do_not_enter_the_key() {
        let source = |param: &str| SourceFile {
            param: param.into(),
            path: "/x".into(),
            digest: Digest::of(b"x"),
            on_path: false,
            rules: SourceRules::default(),
        };
        let params = json!({ "root": "a/b", "run": ["python3", "plot.py", "--fast"], "crop": 48, "limit": 9 });
        let sources = [source("root"), source("run.1"), source("absent.0")];
        assert_eq!(
            params_in_key(&params, &sources, &["limit", "absent"]),
            json!({ "root": null, "run": ["python3", null, "--fast"], "crop": 48 })
        );
    }

    #[test]
    fn a_stage_on_the_cpu_has_the_arithmetic_of_the_cpu_also_under_a_gpu() {
        let on = |device: &str| Ingredients {
            cpu_arithmetic: "cpu/avx2".into(),
            device_arithmetic: device.into(),
            sources: Vec::new(),
        };
        let check = |arithmetic, on_cpu: Option<&str>, on_gpu: Option<&str>| {
            assert_eq!(on("cpu/avx2").arithmetic(arithmetic).as_deref(), on_cpu);
            assert_eq!(on("cuda/x").arithmetic(arithmetic).as_deref(), on_gpu);
        };
        check(Arithmetic::None, None, None);
        check(Arithmetic::Cpu, Some("cpu/avx2"), Some("cpu/avx2"));
        check(Arithmetic::Device, Some("cpu/avx2"), Some("cuda/x"));
        check(Arithmetic::Both, Some("cpu/avx2"), Some("cuda/x + cpu/avx2"));
    }

    #[test]
    fn a_port_reads_the_columns_that_it_names() {
        let facets = BTreeMap::from([("id".to_owned(), Digest::of(b"1")), ("label".to_owned(), Digest::of(b"2"))]);
        let table = Artifact::new(Vec::new(), facets.clone()).expect("there are no files that could be invalid");
        let files = Artifact::new(Vec::new(), BTreeMap::new()).expect("there are no files that could be invalid");
        let named = |names: &[&str]| Columns::Named(names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(facets_read(&table, &Columns::All), Ok(facets));
        assert_eq!(facets_read(&table, &named(&["id"])).map(|facets| facets.len()), Ok(1));
        assert_eq!(facets_read(&table, &named(&["pixels"])), Err("pixels".to_owned()));
        assert!(facets_read(&files, &Columns::All).is_ok_and(|facets| facets.contains_key(WHOLE)));
    }
}
