//! The folder of a run: `runs/<name>/<n>/` with the manifest as resolved, what became of each node, and the metric and
//! query tables of all nodes together. It never holds what the store holds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dnc_cache::{Digest, Key};
use dnc_stages::Kind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::execute::{NodeResult, Outcome};
use crate::plan::Plan;

/// The kinds of artifact that the run's own tables are made of.
pub const HELD: [Kind; 2] = [Kind::Metrics, Kind::Queries];

/// The folder of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    /// Where it is.
    pub path: PathBuf,
    /// The manifest's name.
    pub name: String,
    /// Its number among the runs of that name, from 1.
    pub number: u32,
}

impl RunFolder {
    /// Makes the next folder for a run of `name`.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn create(runs: &Path, name: &str) -> io::Result<Self> {
        let parent = runs.join(name);
        fs::create_dir_all(&parent)?;
        let mut number = numbers_in(&parent)?.last().copied().unwrap_or(0);
        loop {
            number += 1;
            let path = parent.join(number.to_string());
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, name: name.to_owned(), number }),
                // Another run took this number between the look and the making.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The run that `text` names: `<name>/<n>`, or `<name>` for its last.
    ///
    /// # Errors
    /// There is no such run; the message lists those that there are.
    pub fn find(runs: &Path, text: &str) -> Result<Self, String> {
        let text = text.trim_end_matches('/');
        let (name, number) = match text.rsplit_once('/') {
            Some((name, number)) if number.parse::<u32>().is_ok() => (name, number.parse::<u32>().ok()),
            _ => (text, None),
        };
        let mut of_name = Self::all(runs).unwrap_or_default();
        of_name.retain(|run| run.name == name);
        let found = match number {
            Some(number) => of_name.iter().find(|run| run.number == number),
            None => of_name.last(),
        };
        found.cloned().ok_or_else(|| {
            let all = Self::all(runs).unwrap_or_default();
            let known: Vec<_> = all.iter().rev().take(10).map(Self::id).collect();
            let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
            format!("There is no run `{text}` in `{}`; the latest are: {known}", runs.display())
        })
    }

    /// The runs that `text` names: as [`RunFolder::find`], or `<name>/<n>-<m>` for all from one number to another.
    ///
    /// # Errors
    /// As [`RunFolder::find`]; numbers between the ends may be missing.
    pub fn find_all(runs: &Path, text: &str) -> Result<Vec<Self>, String> {
        let span = text.rsplit_once('/').and_then(|(name, numbers)| {
            let (first, last) = numbers.split_once('-')?;
            Some((name, first.parse::<u32>().ok()?, last.parse::<u32>().ok()?))
        });
        let Some((name, first, last)) = span else { return Self::find(runs, text).map(|run| vec![run]) };
        for end in [first, last] {
            Self::find(runs, &format!("{name}/{end}"))?;
        }
        let mut span = Self::all(runs).unwrap_or_default();
        span.retain(|run| run.name == name && (first..=last).contains(&run.number));
        if span.is_empty() { Err(format!("`{text}` must go from low to high")) } else { Ok(span) }
    }

    /// All runs, sorted by name and number.
    ///
    /// # Errors
    /// The folder of runs cannot be read; one that is not there holds no runs.
    pub fn all(runs: &Path) -> io::Result<Vec<Self>> {
        let mut all = Vec::new();
        for name in sorted_folders(runs)? {
            let parent = runs.join(&name);
            for number in numbers_in(&parent)? {
                all.push(Self { path: parent.join(number.to_string()), name: name.clone(), number });
            }
        }
        Ok(all)
    }

    /// The runs of `name` before this one, the last first.
    pub fn before(&self) -> Vec<Self> {
        let parent = self.path.parent().unwrap_or(&self.path);
        let numbers = numbers_in(parent).unwrap_or_default();
        let earlier = numbers.into_iter().rev().filter(|&number| number < self.number);
        earlier.map(|number| Self { path: parent.join(number.to_string()), name: self.name.clone(), number }).collect()
    }

    /// `<name>/<n>`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.name, self.number)
    }

    /// Reads `run.json`.
    ///
    /// # Errors
    /// It is not there or not readable.
    pub fn read(&self) -> io::Result<RunJson> {
        let path = self.path.join("run.json");
        let bytes = fs::read(&path)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("`{}`: {error}", path.display())))
    }

    /// Writes `run.json`.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(&self, json: &RunJson) -> io::Result<()> {
        self.replace("run.json", |file| {
            let mut writer = BufWriter::new(file);
            serde_json::to_writer(&mut writer, json)?;
            writer.write_all(b"\n")?;
            writer.flush()
        })
    }

    /// Writes the file called `name` whole or not at all.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn replace(&self, name: &str, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        let unfinished = self.path.join(format!(".{name}"));
        let file = File::create(&unfinished)?;
        write(&file)?;
        fs::rename(unfinished, self.path.join(name))
    }
}

/// `run.json`: what became of each node, with everything that is not deterministic and so is in no artifact.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunJson {
    /// `<name>/<n>`.
    pub run: String,
    /// Whether it still goes on, or was killed: the nodes are those that had ended when this was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// The manifest that was given, as an absolute path.
    pub manifest: PathBuf,
    /// The store that holds the artifacts.
    pub store: PathBuf,
    /// When it began, in seconds since 1970.
    pub started: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The version of `dnc-run`.
    pub version: String,
    /// The device that was asked for.
    pub device: String,
    /// The instruction set or GPU.
    pub arithmetic: String,
    /// Threads of all nodes together.
    pub threads: usize,
    /// Nodes at once.
    pub jobs: usize,
    /// The overrides of `--set` and `--vary`.
    pub overrides: Vec<String>,
    /// The nodes in the plan's order.
    pub nodes: Vec<NodeJson>,
}

/// A node in `run.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeJson {
    /// Its name.
    pub node: String,
    /// Its stage.
    pub stage: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Its key, where that became known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// Why it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Value>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it ran.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seconds: f64,
    /// What it measured.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measured: BTreeMap<String, f64>,
    /// The digests of its outputs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, Digest>,
}

impl NodeJson {
    /// The entries of all nodes that were asked for.
    pub fn all(plan: &Plan, results: &[NodeResult], wanted: impl Fn(usize) -> bool) -> Vec<Self> {
        let named = plan.nodes.iter().zip(results).enumerate().filter(|(index, _)| wanted(*index));
        named.map(|(_, (node, result))| Self::new(&node.name, plan.stage(node).kind.name, result)).collect()
    }

    fn new(node: &str, stage: &str, result: &NodeResult) -> Self {
        Self {
            node: node.to_owned(),
            stage: stage.to_owned(),
            outcome: result.outcome,
            key: result.key,
            reason: result.reason.as_ref().and_then(|reason| serde_json::to_value(reason).ok()),
            error: result.error.clone(),
            seconds: result.took.as_secs_f64(),
            measured: result.measured.clone(),
            outputs: result.outputs.iter().map(|(name, artifact)| (name.clone(), artifact.digest())).collect(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(seconds: &f64) -> bool {
    *seconds == 0.0
}

/// Seconds since 1970: for `run.json` and for nothing that is hashed.
#[expect(clippy::disallowed_methods, reason = "a run is dated; nothing that is hashed is")]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

fn sorted_folders(path: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn numbers_in(path: &Path) -> io::Result<Vec<u32>> {
    let mut numbers: Vec<u32> = sorted_folders(path)?.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_numbered_and_found() {
        let runs = tempfile::tempdir().expect("a temp folder can be made");
        let path = runs.path();
        assert!(RunFolder::all(path).expect("it is there").is_empty());
        for expected in ["sop/1", "sop/2", "cub/1"] {
            let name = expected.split('/').next().expect("it has a slash");
            assert_eq!(RunFolder::create(path, name).expect("it can be made").id(), expected);
        }
        let id = |text| RunFolder::find(path, text).map(|run| run.id());
        assert_eq!(id("sop"), Ok("sop/2".to_owned()));
        assert_eq!(id("sop/1"), Ok("sop/1".to_owned()));
        assert!(id("sop/3").is_err_and(|message| message.contains("sop/2, sop/1, cub/1")));
        let span =
            |text| RunFolder::find_all(path, text).map(|runs| runs.iter().map(RunFolder::id).collect::<Vec<_>>());
        assert_eq!(span("sop/1-2"), Ok(vec!["sop/1".to_owned(), "sop/2".to_owned()]));
        assert_eq!(span("sop"), Ok(vec!["sop/2".to_owned()]));
        assert!(span("sop/1-3").is_err_and(|message| message.contains("`sop/3`")));
        assert_eq!(span("sop/2-1"), Err("`sop/2-1` must go from low to high".to_owned()));
        let last = RunFolder::find(path, "sop").expect("made above");
        assert_eq!(last.before().iter().map(RunFolder::id).collect::<Vec<_>>(), ["sop/1"]);
    }
}
