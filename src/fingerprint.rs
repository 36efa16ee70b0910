//! The fingerprint of a task: its printable ingredients, whose digest is the key, and the difference between two fingerprints.
//!
//! | part of the key | not part of the key |
//! |---|---|
//! | stage name and version | node name, manifest name, comments and order of keys |
//! | every parameter, defaults written out | parameters that name files: the digests of those files take their place |
//! | per input port, the facets of the columns that the stage declares | other columns, how a table is encoded or split into files, which node wrote it |
//! | seed, round, learners, learner, arithmetic, if the stage declares that it uses them | threads, jobs, device ordinal, host, time |

use std::collections::BTreeMap;
use std::fmt;

use dnc_cache::{Digest, Key};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The ingredients of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// Name of the stage.
    pub stage: String,
    /// Version of the stage.
    pub version: u32,
    /// The parameters, defaults included, without those that name files.
    pub params: Value,
    /// Per port and artifact, the facets that the port reads; the facet `files` stands for all bytes of an artifact without facets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Vec<BTreeMap<String, Digest>>>,
    /// Files outside the store, by the parameter that names them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Digest>,
    /// Seed of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// Number of learners in the round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learners: Option<u32>,
    /// Number of learners in the previous round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_learners: Option<u32>,
    /// Learner that is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learner: Option<u32>,
    /// Instruction set or GPU that computes floats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arithmetic: Option<String>,
}

/// Facet that stands for an artifact without facets: a digest of all its files.
pub const WHOLE: &str = "files";

impl Fingerprint {
    /// The canonical form: JSON without white space, fields in the order above, keys of maps sorted. It is frozen: any change to it
    /// changes every key, so that nothing in existing stores is found again.
    pub fn canonical(&self) -> String {
        serde_json::to_string(self).expect("a fingerprint has string keys and finite numbers")
    }

    /// The digest of the canonical form.
    pub fn key(&self) -> Key {
        Key::of(&self.canonical())
    }

    /// Whether `self` and `other` differ in nothing but files outside the store.
    pub fn only_sources_differ(&self, other: &Fingerprint) -> bool {
        let plain = |fingerprint: &Fingerprint| Self { sources: BTreeMap::new(), ..fingerprint.clone() };
        plain(self) == plain(other)
    }

    /// How `self` differs from `old`, in the order of the fields; empty if they have the same key.
    pub fn changes_since(&self, old: &Fingerprint) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut ambient = |name: &str, old: Option<String>, new: Option<String>| {
            if old != new {
                changes.push(Change::Ambient { name: name.to_owned(), old, new });
            }
        };
        ambient("stage", Some(old.stage.clone()), Some(self.stage.clone()));
        ambient("version", Some(old.version.to_string()), Some(self.version.to_string()));
        ambient("seed", old.seed.map(|n| n.to_string()), self.seed.map(|n| n.to_string()));
        ambient("round", old.round.map(|n| n.to_string()), self.round.map(|n| n.to_string()));
        ambient("learners", old.learners.map(|n| n.to_string()), self.learners.map(|n| n.to_string()));
        ambient(
            "previous_learners",
            old.previous_learners.map(|n| n.to_string()),
            self.previous_learners.map(|n| n.to_string()),
        );
        ambient("learner", old.learner.map(|n| n.to_string()), self.learner.map(|n| n.to_string()));
        ambient("arithmetic", old.arithmetic.clone(), self.arithmetic.clone());
        param_changes("", Some(&old.params), Some(&self.params), &mut changes);
        for source in both(&old.sources, &self.sources) {
            if old.sources.get(source) != self.sources.get(source) {
                changes.push(Change::Source { param: source.clone() });
            }
        }
        for port in both(&old.inputs, &self.inputs) {
            input_changes(port, old.inputs.get(port), self.inputs.get(port), &mut changes);
        }
        changes
    }
}

/// One difference between two fingerprints.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// Seed, round, arithmetic …
    Ambient {
        /// Name of the value.
        name: String,
        /// Old value.
        old: Option<String>,
        /// New value.
        new: Option<String>,
    },
    /// A parameter.
    Param {
        /// Dotted key below the stage's table.
        key: String,
        /// Old value; `None` if there was none.
        old: Option<Value>,
        /// New value; `None` if there is none.
        new: Option<Value>,
    },
    /// A file or folder outside the store.
    Source {
        /// The parameter that names it.
        param: String,
    },
    /// An input, or some of its columns.
    Input {
        /// Name of the port.
        port: String,
        /// Columns whose values differ; empty if the number of artifacts differs.
        columns: Vec<String>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Ambient { name, old, new } => {
                write!(formatter, "{name}: {} → {}", text_or_none(old.as_ref()), text_or_none(new.as_ref()))
            }
            Change::Param { key, old, new } => {
                write!(formatter, "{key}: {} → {}", text_or_none(old.as_ref()), text_or_none(new.as_ref()))
            }
            Change::Source { param } => write!(formatter, "{param}: the files changed"),
            Change::Input { port, columns } if columns.is_empty() => {
                write!(formatter, "input {port}: different artifacts")
            }
            Change::Input { port, columns } if columns[..] == [WHOLE.to_owned()] => {
                write!(formatter, "input {port}: changed")
            }
            Change::Input { port, columns } => write!(formatter, "input {port}: {} changed", columns.join(", ")),
        }
    }
}

fn text_or_none(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "none".to_owned(), ToString::to_string)
}

fn both<'a, V>(old: &'a BTreeMap<String, V>, new: &'a BTreeMap<String, V>) -> Vec<&'a String> {
    let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    keys
}

fn param_changes(key: &str, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    if old == new {
        return;
    }
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (old, new) {
        let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let dotted = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            param_changes(&dotted, old.get(name), new.get(name), changes);
        }
        return;
    }
    changes.push(Change::Param { key: key.to_owned(), old: old.cloned(), new: new.cloned() });
}

type Facets = BTreeMap<String, Digest>;

fn input_changes(port: &str, old: Option<&Vec<Facets>>, new: Option<&Vec<Facets>>, changes: &mut Vec<Change>) {
    if old == new {
        return;
    }
    let mut columns = Vec::new();
    if let (Some(old), Some(new)) = (old, new)
        && old.len() == new.len()
    {
        for (old, new) in old.iter().zip(new) {
            columns.extend(both(old, new).into_iter().filter(|&facet| old.get(facet) != new.get(facet)).cloned());
        }
        columns.sort();
        columns.dedup();
    }
    changes.push(Change::Input { port: port.to_owned(), columns });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fingerprint() -> Fingerprint {
        Fingerprint {
            stage: "train".into(),
            version: 1,
            params: json!({ "loss": { "kind": "margin", "margin": 0.2 }, "epochs": 2 }),
            inputs: BTreeMap::from([(
                "images".into(),
                vec![BTreeMap::from([("id".into(), Digest::of(b"id")), ("pixels".into(), Digest::of(b"pixels"))])],
            )]),
            sources: BTreeMap::new(),
            seed: Some(0),
            round: None,
            learners: None,
            previous_learners: None,
            learner: None,
            arithmetic: None,
        }
    }

    /// Freezes the form of the key. If this test fails, nothing in existing stores would be found again: do not change the
    /// expected values unless that is intended, and say so in the changelog.
    #[test]
    fn the_form_of_the_key_is_frozen() {
        let digest = |byte: u8| Digest::from_bytes([byte; 32]);
        let full = Fingerprint {
            sources: BTreeMap::from([("root".into(), digest(2))]),
            round: Some(3),
            learners: Some(4),
            previous_learners: Some(2),
            learner: Some(1),
            arithmetic: Some("cpu/avx2".into()),
            inputs: BTreeMap::from([("images".into(), vec![BTreeMap::from([("id".into(), digest(1))])])]),
            ..fingerprint()
        };
        let (one, two) = ("01".repeat(32), "02".repeat(32));
        assert_eq!(
            full.canonical(),
            [
                r#"{"stage":"train","version":1,"params":{"epochs":2,"loss":{"kind":"margin","margin":0.2}},"#,
                &format!(r#""inputs":{{"images":[{{"id":"{one}"}}]}},"sources":{{"root":"{two}"}},"#),
                r#""seed":0,"round":3,"learners":4,"previous_learners":2,"learner":1,"arithmetic":"cpu/avx2"}"#,
            ]
            .concat()
        );
        assert_eq!(full.key().to_string(), "8e5588df8bbbcccdca41c43d9158c88428f29eb33fd6e07f4105fb96a98ab914");
    }

    #[test]
    fn the_canonical_form_is_sorted_and_reads_back() {
        let text = fingerprint().canonical();
        assert!(text.contains(r#""params":{"epochs":2,"loss":{"kind":"margin","margin":0.2}}"#), "{text}");
        let back: Fingerprint = serde_json::from_str(&text).expect("it was written by serde");
        assert_eq!(back.key(), fingerprint().key());
    }

    #[test]
    fn every_change_is_named() {
        let old = fingerprint();
        let mut new = fingerprint();
        assert!(new.changes_since(&old).is_empty());
        new.params = json!({ "loss": { "kind": "margin", "margin": 0.1 }, "epochs": 2, "extra": true });
        new.seed = Some(1);
        new.inputs.get_mut("images").expect("made above")[0].insert("pixels".into(), Digest::of(b"others"));
        new.sources.insert("root".into(), Digest::of(b"root"));
        let messages: Vec<_> = new.changes_since(&old).iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                "seed: 0 → 1",
                "extra: none → true",
                "loss.margin: 0.2 → 0.1",
                "root: the files changed",
                "input images: pixels changed"
            ]
        );
        assert_ne!(new.key(), old.key());
    }
}
