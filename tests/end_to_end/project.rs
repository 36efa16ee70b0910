//! A project in a temp folder, and `dnc-run` called in it as a user would.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A project in a temp folder.
pub(crate) struct Project {
    folder: TempDir,
}

/// What a call of `dnc-run` came to.
pub(crate) struct Called {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Project {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temp folder can be made");
        fs::create_dir(folder.path().join(".dnc")).expect("the folder is new");
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("it lies in the project")).expect("the folder can be made");
        fs::write(&path, text).expect("the file can be written");
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// `dnc-run` with these arguments, not yet started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dnc-run"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        for name in ["DNC_REMOTE", "DNC_STORE", "DNC_RUNS", "NO_COLOR"] {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn call(&self, arguments: &[&str]) -> Called {
        Called::of(self.command(arguments).output().expect("the binary was built for this test"))
    }

    /// Runs a manifest and expects that all goes well.
    pub(crate) fn run(&self, arguments: &[&str]) -> Called {
        let called = self.call(arguments);
        assert_eq!(called.code, Some(0), "dnc-run {arguments:?}:\n{}{}", called.stdout, called.stderr);
        called
    }

    /// The `run.json` of the last run of `name`.
    pub(crate) fn last_run(&self, name: &str) -> Value {
        let runs = self.path().join("runs").join(name);
        let numbers = fs::read_dir(&runs)
            .expect("there was a run")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let last = numbers.max().expect("there was a run");
        serde_json::from_str(&self.read(&format!("runs/{name}/{last}/run.json"))).expect("it is JSON")
    }

    /// The nodes of the last run of `name` that ended in `outcome`, in the plan's order.
    pub(crate) fn nodes(&self, name: &str, outcome: &str) -> Vec<String> {
        let run = self.last_run(name);
        let nodes = run["nodes"].as_array().expect("run.json lists nodes").iter();
        let ended = nodes.filter(|node| node["outcome"] == outcome);
        ended.map(|node| node["node"].as_str().expect("a node has a name").to_owned()).collect()
    }

    /// The digests of all outputs of the last run of `name`, by node and output.
    pub(crate) fn digests(&self, name: &str) -> BTreeMap<String, String> {
        let run = self.last_run(name);
        let mut digests = BTreeMap::new();
        for node in run["nodes"].as_array().expect("run.json lists nodes") {
            for (output, digest) in node["outputs"].as_object().into_iter().flatten() {
                let digest = digest.as_str().expect("a digest is text");
                digests.insert(format!("{}.{output}", node["node"].as_str().expect("named")), digest.to_owned());
            }
        }
        digests
    }

    /// Every file below a folder of the project.
    pub(crate) fn files_in(&self, name: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut open = vec![self.path().join(name)];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() { open.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
        files.sort();
        files
    }

    /// Expects that there is no file below a folder of the project.
    pub(crate) fn assert_no_files_in(&self, name: &str) {
        let files = self.files_in(name);
        assert!(files.is_empty(), "{files:?}");
    }
}

impl Called {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Writes over a file in the store, which is read-only.
pub(crate) fn overwrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("the file can be read");
    change(&mut bytes);
    let mut permissions = fs::metadata(path).expect("it is there").permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a test damages what the store protects")]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions).expect("it is ours");
    fs::write(path, bytes).expect("it is writable now");
}
