//! The folder of a run, `runs/<name>/<n>/`: the resolved manifest, `run.json` with the outcome of each node, logs of the run and
//! its nodes, and the metric and query tables of all nodes. Artifacts are in the store only.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dnc_cache::{Digest, Key};
use dnc_stages::api::ArtifactKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reporter::RUN_LOG;
use super::run_notes::Notes;
use crate::execute::{NodeResult, Outcome};
use crate::plan::{Feed, Node, NodeIndex, Plan};

/// The empty file that marks a run whose results are not all in its remote.
const UNSENT: &str = "unsent";
/// Where the store is in the root of a project, unless it is given.
pub const STORE: &str = ".dnc/store";

/// The folder of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    /// The folder.
    pub path: PathBuf,
    /// Name of the run: the `name` in its manifest.
    pub name: String,
    /// Number of the run among those of the same name, from 1.
    pub number: u32,
}

impl RunFolder {
    /// Creates the folder of the next run called `name`.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn create(runs: &Path, name: &str) -> io::Result<Self> {
        let parent = runs.join(name);
        fs::create_dir_all(&parent)?;
        let mut number = numbers_in(&parent)?.last().copied().unwrap_or(0);
        loop {
            number += 1;
            let path = parent.join(number.to_string());
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, name: name.to_owned(), number }),
                // Another process has just taken this number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Finds a run: `<name>/<n>`, `<name>` for the last run of that name, or a tag for the last run that has it.
    ///
    /// # Errors
    /// There is no such run. The message lists some runs that exist.
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
        found.cloned().or_else(|| Self::tagged(runs, text).pop()).ok_or_else(|| {
            let all = Self::all(runs).unwrap_or_default();
            let known: Vec<_> = all.iter().rev().take(10).map(Self::id).collect();
            let hint = match all.len() {
                0 => "it contains no runs".to_owned(),
                1..=10 => format!("it contains {}", known.join(", ")),
                _ => format!("it contains {} and others", known.join(", ")),
            };
            format!("Cannot find run `{text}` in `{}`; {hint}", runs.display())
        })
    }

    /// Finds one run as [`RunFolder::find`] does, a range of runs, `<name>/<first>-<last>`, or all runs with a tag.
    ///
    /// # Errors
    /// There is no such run, or the first or the last run of the range is missing. Numbers between them may be missing.
    pub fn find_all(runs: &Path, text: &str) -> Result<Vec<Self>, String> {
        let range = text.rsplit_once('/').and_then(|(name, numbers)| {
            let (first, last) = numbers.split_once('-')?;
            Some((name, first.parse::<u32>().ok()?, last.parse::<u32>().ok()?))
        });
        let Some((name, first, last)) = range else {
            let run = Self::find(runs, text)?;
            return Ok(if text.contains('/') || run.name == text { vec![run] } else { Self::tagged(runs, text) });
        };
        if first > last {
            return Err(format!("In the range of runs `{text}`, the first number must not be greater than the last"));
        }
        for end in [first, last] {
            Self::find(runs, &format!("{name}/{end}"))?;
        }
        let mut found = Self::all(runs).unwrap_or_default();
        found.retain(|run| run.name == name && (first..=last).contains(&run.number));
        Ok(found)
    }

    /// The runs with a tag, the latest last.
    fn tagged(runs: &Path, tag: &str) -> Vec<Self> {
        let mut tagged = Self::all(runs).unwrap_or_default();
        tagged.retain(|run| Notes::read(&run.path).is_ok_and(|notes| notes.tags.contains(tag)));
        tagged.sort_by_key(|run| run.read().map_or(0, |json| json.started));
        tagged
    }

    /// All runs, sorted by name and number.
    ///
    /// # Errors
    /// The folder of runs cannot be read. If it does not exist, there are no runs.
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

    /// Earlier runs of the same name, the latest first.
    pub fn before(&self) -> Vec<Self> {
        let parent = self.path.parent().unwrap_or(&self.path);
        let numbers = numbers_in(parent).unwrap_or_default();
        let earlier = numbers.into_iter().rev().filter(|&number| number < self.number);
        earlier.map(|number| Self { path: parent.join(number.to_string()), name: self.name.clone(), number }).collect()
    }

    /// Marks the run as going on until what is returned is dropped, or this process ends.
    ///
    /// # Errors
    /// The file system has no locks.
    pub fn hold(&self) -> io::Result<File> {
        // NFS keeps no locks of folders, and grants an exclusive one only on a file that is open for writing.
        let log = File::options().append(true).create(true).open(self.path.join(RUN_LOG))?;
        // Waits for whoever looks at this moment whether it is held.
        log.lock()?;
        Ok(log)
    }

    /// Whether a process on this machine, or on one that shares locks with it, [holds](Self::hold) the run.
    pub fn is_running(&self) -> bool {
        let log = File::open(self.path.join(RUN_LOG));
        log.is_ok_and(|log| matches!(log.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Marks the run as one whose results are not all in its remote, or removes the mark.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn set_unsent(&self, is_unsent: bool) -> io::Result<()> {
        let mark = self.path.join(UNSENT);
        if is_unsent { File::create(mark).map(drop) } else { fs::remove_file(mark) }
    }

    /// Whether the run was to send its results to a remote, and has not sent all of them.
    pub fn is_unsent(&self) -> bool {
        self.path.join(UNSENT).exists()
    }

    /// How the run ended, given its `run.json`: `done`, `failed`, `interrupted`, `running`, or `unfinished` if it was killed.
    pub fn state(&self, json: Option<&RunJson>) -> &'static str {
        let Some(json) = json.filter(|json| !json.unfinished) else {
            return if self.is_running() { "running" } else { "unfinished" };
        };
        match (json.count(Outcome::Failed), json.count(Outcome::Cancelled)) {
            (0, 0) => "done",
            (0, _) => "interrupted",
            _ => "failed",
        }
    }

    /// The store that the run used, given its `run.json`. If it is gone, because the project was moved, that of the project in which
    /// the folder lies now.
    pub fn store(&self, json: &RunJson) -> PathBuf {
        if json.store.exists() {
            return json.store.clone();
        }
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let moved = path.ancestors().map(|folder| folder.join(STORE)).find(|store| store.is_dir());
        moved.unwrap_or_else(|| json.store.clone())
    }

    /// `<name>/<n>`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.name, self.number)
    }

    /// Reads `run.json`.
    ///
    /// # Errors
    /// The file does not exist or is not valid.
    pub fn read(&self) -> io::Result<RunJson> {
        let path = self.path.join("run.json");
        let named = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
        let bytes = fs::read(&path).map_err(named)?;
        serde_json::from_slice(&bytes).map_err(|error| named(io::Error::new(io::ErrorKind::InvalidData, error)))
    }

    /// Writes `run.json`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, json: &RunJson) -> io::Result<()> {
        self.replace("run.json", |file| {
            let mut writer = BufWriter::new(file);
            serde_json::to_writer(&mut writer, json)?;
            writer.write_all(b"\n")?;
            writer.flush()
        })
    }

    /// Writes the file called `name` under a temporary name, then renames it, so that readers never see a part of it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn replace(&self, name: &str, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        let temporary = self.path.join(format!(".{name}"));
        let file = File::create(&temporary)?;
        write(&file)?;
        fs::rename(temporary, self.path.join(name))
    }
}

/// `run.json`: the outcome of each node, and everything about a run that is not deterministic and so is in no artifact.
///
/// A field that is added needs a default, so that older files can be read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunJson {
    /// `<name>/<n>`.
    pub run: String,
    /// Whether the run is still going on or was killed. `nodes` is then the state when the file was last written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// Absolute path of the manifest as given.
    pub manifest: PathBuf,
    /// Absolute path of the store.
    pub store: PathBuf,
    /// Start of the run, in seconds since 1970.
    pub started: u64,
    /// Duration in seconds.
    pub seconds: f64,
    /// Version of `dnc-run`.
    pub version: String,
    /// Requested device.
    pub device: String,
    /// Arithmetic of that device: its instruction set, or the GPU and its libraries.
    pub arithmetic: String,
    /// Limit of threads of all nodes together.
    pub threads: usize,
    /// Limit of nodes that run at the same time.
    pub jobs: usize,
    /// Arguments of `--set` and `--vary`.
    pub overrides: Vec<String>,
    /// The nodes in the order of the plan.
    pub nodes: Vec<NodeJson>,
}

impl RunJson {
    /// Number of nodes that ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.nodes.iter().filter(|node| node.outcome == outcome).count()
    }

    /// The manifest. If it is gone, because the project was moved, the file at its place in the project at `root`.
    pub fn manifest_in(&self, root: &Path) -> PathBuf {
        let old_root = self.store.ancestors().find(|folder| folder.join(STORE) == self.store);
        let moved = old_root.and_then(|old| Some(root.join(self.manifest.strip_prefix(old).ok()?)));
        moved.filter(|moved| !self.manifest.exists() && moved.exists()).unwrap_or_else(|| self.manifest.clone())
    }

    /// Digest of the table of images that a node evaluated; `None` if it is not known.
    pub fn evaluated_images(&self, node: &str) -> Option<Digest> {
        self.nodes.iter().find(|known| known.node == node)?.images
    }
}

/// A node in `run.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeJson {
    /// Name of the node.
    pub node: String,
    /// Kind of its stage.
    pub stage: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Its key, if its inputs became known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// Why it ran, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Value>,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it began, if it ran: seconds since the start of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<f64>,
    /// Run time in seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seconds: f64,
    /// The most threads that it could use, if it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// The GPU that it had, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<usize>,
    /// Peak resident memory in bytes of its process while it ran, other nodes of the process included and programs that it
    /// started excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// Measurements that are not deterministic, such as images per second.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measured: BTreeMap<String, f64>,
    /// What it found suspicious about its data or parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The digest of each output.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, Digest>,
    /// Of a node that writes metrics or queries, the digest of the table of images that they are from. The ids of queries mean the
    /// same in two nodes only if this is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Digest>,
}

impl NodeJson {
    /// The entries of the nodes that the run, which has `begun`, includes.
    pub fn all(plan: &Plan, results: &[NodeResult], begun: Instant, included: impl Fn(NodeIndex) -> bool) -> Vec<Self> {
        let nodes = plan.nodes.iter().zip(results).enumerate().filter(|(index, _)| included(*index));
        let entry = |(index, (node, result)): (NodeIndex, (&Node, &NodeResult))| Self {
            images: evaluated_images(plan, results, index),
            ..Self::new(&node.name, plan.stage(node).kind.name, result, begun)
        };
        nodes.map(entry).collect()
    }

    fn new(node: &str, stage: &str, result: &NodeResult, begun: Instant) -> Self {
        let usage = &result.usage;
        Self {
            node: node.to_owned(),
            stage: stage.to_owned(),
            outcome: result.outcome,
            key: result.key,
            reason: result.reason.as_ref().and_then(|reason| serde_json::to_value(reason).ok()),
            error: result.error.clone(),
            began: result.began.map(|began| began.saturating_duration_since(begun).as_secs_f64()),
            seconds: usage.took.as_secs_f64(),
            threads: result.began.map(|_| usage.threads),
            gpu: usage.gpu,
            peak_memory: usage.peak_memory,
            measured: usage.measured.clone(),
            warnings: result.warnings.clone(),
            outputs: result.outputs.iter().map(|(name, artifact)| (name.clone(), artifact.digest())).collect(),
            images: None,
        }
    }
}

/// The digest of the table of images that a node's metrics or queries are from. If it reads embeddings or metrics instead, these were
/// computed from it.
fn evaluated_images(plan: &Plan, results: &[NodeResult], index: NodeIndex) -> Option<Digest> {
    fn feed(node: &Node, kind: ArtifactKind) -> Option<&Feed> {
        node.feeds().find(|feed| feed.kind == kind)
    }
    let mut node = &plan.nodes[index];
    if !plan.stage(node).ports.outputs.iter().any(|output| output.kind.is_reported()) {
        return None;
    }
    loop {
        if let Some(images) = feed(node, ArtifactKind::Images) {
            return Some(results[images.node].outputs.get(&images.output)?.digest());
        }
        let computed = feed(node, ArtifactKind::Embeddings).or_else(|| feed(node, ArtifactKind::Metrics));
        node = &plan.nodes[computed?.node];
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(seconds: &f64) -> bool {
    *seconds == 0.0
}

/// Current time in seconds since 1970, for `run.json` and ages. Never for anything that is hashed.
#[expect(clippy::disallowed_methods, reason = "the start of a run is recorded, and is not hashed")]
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
    use std::thread;

    use super::*;

    #[test]
    fn runs_are_numbered_and_found_by_name_number_and_range() {
        let runs = tempfile::tempdir().expect("a temporary folder can be created");
        let path = runs.path();
        assert!(RunFolder::all(path).expect("the folder exists").is_empty());
        assert!(RunFolder::find(path, "sop").is_err_and(|message| message.ends_with("it contains no runs")));
        for expected in ["sop/1", "sop/2", "cub/1"] {
            let name = expected.split('/').next().expect("the text contains a slash");
            assert_eq!(RunFolder::create(path, name).expect("the folder is writable").id(), expected);
        }
        let id = |text| RunFolder::find(path, text).map(|run| run.id());
        assert_eq!(id("sop"), Ok("sop/2".to_owned()));
        assert_eq!(id("sop/1"), Ok("sop/1".to_owned()));
        assert!(id("sop/3").is_err_and(|message| message.contains("sop/2, sop/1, cub/1")));
        let range =
            |text| RunFolder::find_all(path, text).map(|runs| runs.iter().map(RunFolder::id).collect::<Vec<_>>());
        assert_eq!(range("sop/1-2"), Ok(vec!["sop/1".to_owned(), "sop/2".to_owned()]));
        assert_eq!(range("sop"), Ok(vec!["sop/2".to_owned()]));
        assert!(range("sop/1-3").is_err_and(|message| message.contains("`sop/3`")));
        let backwards = "In the range of runs `sop/2-1`, the first number must not be greater than the last";
        assert_eq!(range("sop/2-1"), Err(backwards.to_owned()));
        let last = RunFolder::find(path, "sop").expect("it was created above");
        let notes = Notes { tags: ["best".to_owned()].into(), note: None };
        notes.write(&last.path).expect("the folder is writable");
        assert_eq!(id("best"), Ok("sop/2".to_owned()));
        assert_eq!(range("best"), Ok(vec!["sop/2".to_owned()]));
        assert!(!last.is_running());
        let mut held = last.hold().expect("there are locks");
        assert!(last.is_running());
        assert_eq!(held.write(b"").expect("NFS locks only what is open for writing"), 0);
        drop(held);
        assert!(!last.is_running());
        assert_eq!(last.before().iter().map(RunFolder::id).collect::<Vec<_>>(), ["sop/1"]);
    }

    #[test]
    fn a_run_is_held_although_somebody_looks_whether_it_is() {
        let runs = tempfile::tempdir().expect("a temporary folder can be created");
        let run = RunFolder::create(runs.path(), "sop").expect("the folder is writable");
        drop(run.hold().expect("there are locks"));
        let looking = File::open(run.path.join(RUN_LOG)).expect("it was created");
        looking.lock_shared().expect("nobody holds it");
        let held = thread::scope(|scope| {
            let holding = scope.spawn(|| run.hold());
            // Long enough for one that does not wait to fail.
            (0..1000).take_while(|_| !holding.is_finished()).for_each(|_| thread::yield_now());
            drop(looking);
            holding.join().expect("it does not panic")
        });
        held.expect("it waited");
    }

    /// One file with every field, and one with only the fields that have no default.
    #[test]
    fn the_form_of_run_json_is_stable() {
        let header = concat!(
            r#""manifest":"/p/sop.toml","store":"/p/.dnc/store","started":1795676386,"seconds":46.5,"version":"0.1.0","#,
            r#""device":"cpu","arithmetic":"cpu/avx512","threads":2,"jobs":4,"#,
        );
        let key = "fc2967b47213cf6f9f04de2bbb3588d0215fbfbde727963f819374d3de875c72";
        let node = format!(
            concat!(
                r#"{{"node":"train@0","stage":"train","outcome":"ran","key":"{key}","reason":{{"reason":"new"}},"#,
                r#""error":"no","began":0.5,"seconds":14.25,"threads":2,"gpu":1,"peak_memory":1024,"#,
                r#""measured":{{"images per second":1782.5}},"warnings":["w"],"outputs":{{"model":"{key}"}},"images":"{key}"}}"#,
            ),
            key = key,
        );
        let full = format!(r#"{{"run":"sop/1","unfinished":true,{header}"overrides":["seed=1"],"nodes":[{node}]}}"#);
        let node = r#"{"node":"merge@0","stage":"merge","outcome":"skipped"}"#;
        let minimal = format!(r#"{{"run":"sop/1",{header}"overrides":[],"nodes":[{node}]}}"#);
        for text in [full, minimal] {
            let json: RunJson = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert_eq!(serde_json::to_string(&json).expect("every field can be written"), text);
        }
    }
}
