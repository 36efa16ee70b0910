//! `dnc-run sweep`: trials, their result, and that nothing is lost or repeated however a sweep was stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::project::{Called, Project};

/// Three rounds that evaluate the same untrained model: what costs nothing shows as well what runs and what is hit.
const MANIFEST: &str = r#"
name = "photos"

[rounds]
learners = [1, 1, 1]

[stage.decode]
dataset = "parquet"
root = "emoji.parquet"
per_class = 2
split = { validation = 0.2 }

[stage.init]
backbone = "small"
dimension = 64
crop = 32
resize = 32

[stage.evaluate]
per = "round"
in = { images = "decode", model = "init" }
splits = ["validation"]
"#;

const GRID: &str = r#"
manifest = "photos.toml"
method = "grid"
seeds = [0, 1, 2]

[space]
stage.init.dimension = { values = [2, 64, 63] }
"#;

const TPE: &str = r#"
manifest = "photos.toml"
method = "tpe"
trials = 4

[tpe]
startup = 2

[space]
stage.init.dimension = { min = 1, max = 64, log = true }

[halving]
rungs = [0, 2]
"#;

fn project(sweep: &str) -> Project {
    let project = Project::new();
    // Within the project, as most data are: its path in the manifests of runs is relative.
    let data = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/data/open-emoji-mini.parquet"));
    project.write("emoji.parquet", data.expect("it is in the repository"));
    project.write("photos.toml", MANIFEST);
    project.write("size.toml", sweep);
    project
}

/// The result as JSON without the numbers of runs, which a kill shifts.
fn result(project: &Project, more: &[&str]) -> Value {
    let called = project.run(&[&["sweep", "size.toml", "--json", "--quiet"], more].concat());
    without_runs(&called.stdout)
}

fn without_runs(stdout: &str) -> Value {
    let mut json: Value = serde_json::from_str(stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    for trial in json["trials"].as_array_mut().expect("there are trials") {
        trial.as_object_mut().expect("a trial is an object").remove("runs").expect("it names its runs");
    }
    json
}

/// The `run.json` of every run of the sweep, by number.
fn runs(project: &Project) -> BTreeMap<u32, Value> {
    let folders = fs::read_dir(project.path().join("runs/size")).expect("there were runs");
    let read = |number: u32| {
        // A run that was killed at its very start has no file yet.
        let text = fs::read_to_string(project.path().join(format!("runs/size/{number}/run.json"))).ok()?;
        Some((number, serde_json::from_str(&text).expect("it is JSON")))
    };
    folders.filter_map(|entry| read(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

/// Expects that no node ran twice with the same key.
fn assert_nothing_ran_twice(project: &Project) {
    let mut ran: BTreeMap<String, u32> = BTreeMap::new();
    for node in runs(project).values().flat_map(|run| run["nodes"].as_array().expect("a list")) {
        if node["outcome"] == "ran" {
            *ran.entry(format!("{} {}", node["node"], node["key"])).or_default() += 1;
        }
    }
    assert!(ran.values().all(|&times| times == 1), "{ran:#?}");
}

fn verdicts(json: &Value) -> Vec<(u64, &str)> {
    let trials = json["trials"].as_array().expect("a list").iter();
    trials.map(|trial| (trial["trial"].as_u64().unwrap(), trial["verdict"].as_str().unwrap())).collect()
}

#[test]
fn a_sweep_that_pushes_says_in_the_remote_what_all_its_runs_need() {
    let project = project(GRID);
    project.run(&["sweep", "size.toml", "--push", "--remote", "remote"]);
    let roots = project.files_in("remote/roots");
    assert_eq!(roots.len(), 1, "{roots:?}");
    let text = fs::read_to_string(&roots[0]).expect("it is text");
    let root: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("it is JSON");
    let kept: BTreeSet<&str> = root["keys"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let runs = runs(&project);
    let nodes = runs.values().flat_map(|run| run["nodes"].as_array().expect("a list"));
    assert_eq!(kept, nodes.filter_map(|node| node["key"].as_str()).collect::<BTreeSet<&str>>());
}

#[test]
fn a_grid_finds_the_best_setting_and_what_is_not_distinguishable_from_it() {
    let project = project(GRID);
    let listed = project.run(&["sweep", "size.toml", "--dry-run"]);
    assert!(listed.stdout.contains("init.dimension") && !project.path().join("runs").exists(), "{}", listed.stdout);
    assert!(!project.path().join(".dnc/store").exists(), "a dry run creates no store");
    let told = project.run(&["sweep", "size.toml"]);
    assert_eq!(runs(&project).len(), 9);
    assert_nothing_ran_twice(&project);
    assert!(told.stderr.contains("Trial 1 of 3, seed 0: init.dimension=2"), "{}", told.stderr);
    assert!(told.stdout.contains("is the best: init.dimension=6"), "{}", told.stdout);
    assert!(told.stdout.contains("Of the other trials: 1 not distinguishable from it, 1 worse."), "{}", told.stdout);

    let json = result(&project, &[]);
    assert_eq!(runs(&project).len(), 9, "a finished sweep makes no run");
    let trials = json["trials"].as_array().expect("a list");
    assert_eq!(verdicts(&json)[2], (1, "worse"), "{json:#}");
    assert_eq!((&trials[0]["verdict"], &trials[0]["trial"]), (&"best".into(), &json["best"]));
    assert_eq!(trials[2]["settings"], serde_json::json!({ "stage.init.dimension": 2 }));
    assert_eq!(trials[2]["difference"]["over"], "paired seeds");
    assert_eq!(trials[2]["values"].as_array().map(Vec::len), Some(3));
    assert!(trials[2]["difference"]["p_adjusted"].as_f64() > trials[2]["difference"]["p"].as_f64(), "{json:#}");

    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/src/reference/json.md"));
    let page = page.expect("the page is in the repository");
    let objects = [&json, &json["objective"], &trials[2], &trials[2]["difference"]];
    for key in objects.iter().flat_map(|object| object.as_object().expect("an object").keys()) {
        assert!(page.contains(&format!("`{key}`")), "reference/json.md lacks `{key}` of `sweep`");
    }

    // The command that is printed runs the best setting, and finds all that the sweep computed.
    let command = json["command"].as_str().expect("there is a best trial");
    assert!(command.starts_with("dnc-run photos.toml --set stage.init.dimension=6"), "{command}");
    assert!(command.ends_with(" --vary seed=0,1,2"), "{command}");
    project.run(&command.split(' ').skip(1).collect::<Vec<_>>());
    assert_eq!(project.nodes("photos", "hit"), ["decode", "init", "evaluate@2"]);

    // Other data or parameters are another sweep; what did not change is hit.
    project.write("photos.toml", project.read("photos.toml").replace("validation = 0.2", "validation = 0.25"));
    assert_ne!(result(&project, &[])["trials"], json["trials"]);
    assert_eq!(runs(&project).len(), 18);
}

#[test]
fn a_sweep_that_was_killed_goes_on_as_if_it_had_not_been() {
    let expected = result(&self::project(TPE), &[]);
    let project = project(TPE);
    // Killed after ever more lines of progress, in every part of a run.
    for lines in [1, 2, 3, 4, 5, 6, 7, 8, 10, 12] {
        let mut child = project
            .command(&["sweep", "size.toml", "--progress", "plain"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built for this test");
        let stderr = child.stderr.take().expect("it is piped");
        BufReader::new(stderr).lines().take(lines).for_each(|line| drop(line.expect("it is text")));
        child.kill().expect("it is ours");
        child.wait().expect("it was started");
    }
    assert_eq!(result(&project, &[]), expected);
    assert_nothing_ran_twice(&project);
    let before = runs(&project).len();
    assert_eq!(result(&project, &["--parallel", "3"]), expected);
    assert_eq!(runs(&project).len(), before);
}

#[test]
fn trials_that_continue_repeat_nothing() {
    let sweep = TPE.replace("\"tpe\"", "\"sobol\"").replace("[tpe]\nstartup = 2\n", "").replace("[0, 2]", "[0, 1, 2]");
    let project = project(&sweep);
    let json = result(&project, &[]);
    // Four trials run until round 0, two of them until round 1, and one until round 2.
    assert_eq!(runs(&project).len(), 7);
    let ends: Vec<&str> = verdicts(&json).into_iter().map(|(_, verdict)| verdict).collect();
    assert_eq!(ends, ["best", "stopped at round 1", "stopped at round 0", "stopped at round 0"]);
    assert_nothing_ran_twice(&project);
    assert_eq!(project.nodes("size", "hit"), ["decode", "init"]);
    assert_eq!(project.nodes("size", "ran"), ["evaluate@2"]);

    let wide = self::project(&sweep);
    assert_eq!(result(&wide, &["--parallel", "3"]), json, "several at once come to the same");
    assert_nothing_ran_twice(&wide);
}

#[test]
fn a_trial_that_fails_does_not_stop_the_others() {
    // With one image per class, no validation image has a match.
    let sweep =
        GRID.replace("stage.init.dimension = { values = [2, 64, 63] }", "stage.decode.per_class = { values = [1, 2] }");
    let project = project(&sweep);
    let told = project.run(&["sweep", "size.toml"]);
    assert!(told.stdout.contains("Trial 1 failed: decode: "), "{}", told.stdout);
    let json = result(&project, &[]);
    assert_eq!(verdicts(&json), [(2, "best"), (1, "failed")]);
    assert!(json["trials"][1]["reason"].as_str().is_some_and(|reason| reason.contains("validation")), "{json:#}");
    assert_eq!(runs(&project).len(), 4, "after a failure the other seeds of a trial do not run");
    result(&project, &["--retry-failed"]);
    assert_eq!(runs(&project).len(), 5);

    project.write("size.toml", sweep.replace("[1, 2]", "[1]"));
    let all = project.call(&["sweep", "size.toml"]);
    assert_eq!(all.code, Some(1), "{}", all.stderr);
    assert!(all.stdout.contains("No trial reached the end: 1 of 1 failed."), "{}", all.stdout);
}

#[test]
fn a_cluster_runs_trials_side_by_side() {
    let expected = result(&self::project(GRID), &[]);
    let project = project(GRID);
    project.write("dnc.toml", "[executor.slurm]\ncheck = 1\ngroup = 3\n");
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/end_to_end/slurm");
    let path = env::var("PATH").expect("there is a PATH");
    let mut command = project.command(&["sweep", "size.toml", "--json", "--quiet", "--executor", "slurm"]);
    command.env("PATH", format!("{}:{path}", bin.display())).env("FAKE_SLURM", project.path().join("slurm"));
    let called = Called::of(command.output().expect("the binary was built for this test"));
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert_eq!(without_runs(&called.stdout), expected);
    assert_nothing_ran_twice(&project);
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_runs() {
    let check = |sweep: &str, manifest: (&str, &str), expected: &str| {
        let project = project(sweep);
        project.write("photos.toml", project.read("photos.toml").replace(manifest.0, manifest.1));
        let called = project.call(&["sweep", "size.toml"]);
        assert_eq!(called.code, Some(2), "{expected}: {}", called.stderr);
        assert!(called.stderr.contains(expected), "{expected}: {}", called.stderr);
        assert!(!project.path().join("runs").exists(), "{expected}");
    };
    let as_is = ("", "");
    let objective = |text: &str| format!("{GRID}\n[objective]\n{text}\n");
    check(&objective("split = \"test\""), as_is, "`objective.split` must be `validation`, not `test`");
    check(
        &objective("node = \"evaluat\""),
        as_is,
        "no stage `evaluat`, which is the sweep's objective; Did you mean `evaluate`?",
    );
    check(&objective("node = \"init\""), as_is, "an objective is a stage of kind `evaluate` or `choose`");
    check(GRID, ("[\"validation\"]", "[\"test\"]"), "`splits` of stage `evaluate` leaves out `validation`");
    check(&GRID.replace("[2, 64, 63]", "[2, \"x\"]"), as_is, "stage.init.dimension=\"x\"");
    check(&GRID.replace("dimension", "dimensoin"), as_is, "Did you mean `dimension`?");
    check(TPE, ("[1, 1, 1]", "[1, 2, 2]"), "Cannot divide an embedding");
    check(&TPE.replace("[0, 2]", "[0, 3]"), as_is, "the last round of the manifest is 2");
    check(TPE, ("per = \"round\"", "per = \"once\""), "runs once and not once per round");
    check(&GRID.replace("photos", "fotos"), as_is, "Did you mean `photos.toml`?");
}

#[test]
fn a_metric_that_is_not_measured_is_refused_before_anything_runs() {
    let project = project(&format!("{GRID}\n[objective]\nmetric = \"nmi\"\n"));
    let called = project.call(&["sweep", "size.toml"]);
    assert_eq!(called.code, Some(2), "{}", called.stderr);
    let expected = "Stage `evaluate` does not measure `nmi`, which is the sweep's objective; it may measure `map_at_r`";
    assert!(called.stderr.contains(expected), "{}", called.stderr);
    assert!(!project.path().join("runs").exists(), "nothing ran");
    project.write("photos.toml", MANIFEST.replace("splits = ", "nmi = true\nsplits = "));
    project.run(&["sweep", "size.toml", "--dry-run"]);
}
