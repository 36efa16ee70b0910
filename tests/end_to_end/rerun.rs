//! What runs again, and what does not: the table of issue 2, each row as a user would bring it about.

use std::fs;
use std::path::PathBuf;

use crate::project::{Project, overwrite};

/// left → middle → end, and a branch beside them. `middle` writes the number of lines of `left`, so that its output can
/// stay when its input changes. Each node counts how often it ran.
const MANIFEST: &str = r#"
name = "chain"

[stage.left]
kind = "command"
run = "cat {file.0} > {out.text}/text"
files = ["input.txt"]
outputs = { text = "files" }

[stage.middle]
kind = "command"
in = { text = "left" }
run = "wc -l < {in.text} > {out.count}/count"
outputs = { count = "files" }

[stage.end]
kind = "command"
in = { count = "middle" }
run = "sed s/^/lines:/ {in.count} > {out.told}/told"
outputs = { told = "files" }

[stage.branch]
kind = "command"
in = { text = "left" }
run = "tr a-z A-Z < {in.text} > {out.loud}/loud"
outputs = { loud = "files" }
"#;

fn chain() -> Project {
    let project = Project::new();
    project.write("chain.toml", MANIFEST);
    project.write("input.txt", "one\ntwo\n");
    project.run(&["chain.toml"]);
    assert_eq!(project.nodes("chain", "ran"), ["left", "middle", "end", "branch"]);
    project
}

fn blob_of(project: &Project, output: &str) -> PathBuf {
    let run = project.last_run("chain");
    let node = output.split('.').next().expect("node.output");
    let nodes = run["nodes"].as_array().expect("nodes");
    let key = nodes.iter().find(|entry| entry["node"] == node).expect("it is there")["key"].as_str().expect("a key");
    let pack = project.read(".dnc/store/records/pack");
    let mut records = pack.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("it is JSON"));
    let record = records.rfind(|record| record["key"] == *key).expect("it has a record");
    let name = output.split('.').nth(1).expect("node.output");
    let digest = record["outputs"][name]["files"][0]["digest"].as_str().expect("a digest").to_owned();
    project.path().join(format!(".dnc/store/blobs/{}/{digest}", &digest[..1]))
}

/// Changes something, runs again, and names what ran.
fn check(what: &str, change: impl FnOnce(&Project), expected: &[&str]) {
    let project = chain();
    let before = project.digests("chain");
    change(&project);
    project.run(&["chain.toml"]);
    assert_eq!(project.nodes("chain", "ran"), expected, "{what}");
    if expected.is_empty() {
        assert_eq!(project.digests("chain"), before, "{what}");
    }
}

#[test]
fn nothing_changed() {
    check("nothing changed", |_| {}, &[]);
}

#[test]
fn touched_only() {
    let touch = |project: &Project| {
        project.write("input.txt", "one\ntwo\n");
    };
    check("touched only", touch, &[]);
}

#[test]
fn an_output_that_stays_stops_the_wave() {
    let change = |project: &Project| {
        project.write("input.txt", "uno\ndue\n");
    };
    check("as many lines, other words", change, &["left", "middle", "branch"]);
}

#[test]
fn a_change_reverted() {
    let project = chain();
    project.write("input.txt", "three\nfour\nfive\n");
    project.run(&["chain.toml"]);
    assert_eq!(project.nodes("chain", "ran").len(), 4);
    project.write("input.txt", "one\ntwo\n");
    project.run(&["chain.toml"]);
    assert_eq!(project.nodes("chain", "ran"), [""; 0]);
}

#[test]
fn a_parameter_that_no_stage_reads() {
    let change = |project: &Project| {
        project.write("chain.toml", MANIFEST.replace("name = \"chain\"", "name = \"chain\" # a comment\nseed = 7"));
    };
    check("a seed that nobody mentions", change, &[]);
}

#[test]
fn one_parameter_changed() {
    let change = |project: &Project| {
        project.write("chain.toml", MANIFEST.replace("lines:", "count:"));
    };
    check("the last one's words", change, &["end"]);
}

#[test]
fn another_time_limit() {
    let change = |project: &Project| {
        project.write("chain.toml", MANIFEST.replace("outputs = { told", "time_limit = 600\noutputs = { told"));
    };
    check("it decides whether, not what", change, &[]);
}

#[test]
fn a_script_behind_an_interpreter_counts() {
    let project = Project::new();
    let script = project.write("script.sh", "").display().to_string();
    let manifest = "name = \"script\"\n[stage.it]\nkind = \"command\"\nrun = [\"sh\", \"-e\", \"SCRIPT\", \"{out.x}/x\"]\noutputs = { x = \"files\" }\n";
    project.write("it.toml", manifest.replace("SCRIPT", &script));
    for (text, ran) in [("echo one > $1\n", 1), ("echo one > $1\n", 0), ("echo two > $1\n", 1)] {
        project.write("script.sh", text);
        project.run(&["it.toml"]);
        assert_eq!(project.nodes("script", "ran").len(), ran, "{text}");
    }
}

#[test]
fn all_values_of_vary_are_checked_before_the_first_runs() {
    let project = Project::new();
    project.write("chain.toml", MANIFEST);
    project.write("input.txt", "one\n");
    let called = project.call(&["chain.toml", "--vary", "stage.end.time_limit=60,-1"]);
    assert_eq!(called.code, Some(2), "{}", called.stderr);
    assert!(called.stderr.contains("`time_limit` must be a number of seconds above 0"), "{}", called.stderr);
    assert!(!project.path().join("runs").exists());
}

#[test]
fn the_final_output_is_gone() {
    check("deleted", |project| fs::remove_file(blob_of(project, "end.told")).expect("it is there"), &["end"]);
}

#[test]
fn a_dropped_intermediate_is_not_missed() {
    check("deleted", |project| fs::remove_file(blob_of(project, "middle.count")).expect("it is there"), &[]);
}

/// The lines of a plan without expected times, which differ from run to run.
fn without_estimates(plan: &str) -> String {
    let lines = plan.lines().map(|line| line.split("; about ").next().unwrap_or_default());
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_plan_foretells_what_is_made_again() {
    let project = chain();
    for output in ["middle.count", "end.told"] {
        fs::remove_file(blob_of(&project, output)).expect("it is there");
    }
    let plan = without_estimates(&project.run(&["plan", "chain.toml"]).stdout);
    insta::assert_snapshot!(plan, @r"
    left    hit
    middle  stale: its outputs are missing from the store or damaged
    end     stale: its outputs are missing from the store or damaged
    branch  hit
    ");
    project.run(&["chain.toml"]);
    assert_eq!(project.nodes("chain", "ran"), ["middle", "end"]);
    project.write("input.txt", "uno\n");
    let told = project.run(&["explain", "chain.toml", "end"]).stdout;
    assert_eq!(told, "end: unknown until left has run, which is stale: files.0: the files changed\n");
}

#[test]
fn the_final_output_was_tampered_with() {
    let tamper = |project: &Project| overwrite(&blob_of(project, "end.told"), |bytes| bytes[0] ^= 1);
    check("one bit of the result", tamper, &["end"]);
}

#[test]
fn a_rotten_blob_is_set_aside_and_made_again() {
    let project = chain();
    let blob = blob_of(&project, "left.text");
    let sound = fs::read(&blob).expect("it is there");
    overwrite(&blob, |bytes| bytes[1] ^= 4);
    project.write("chain.toml", MANIFEST.replace("tr a-z A-Z", "tr A-Z a-z"));
    let called = project.run(&["chain.toml"]);
    assert_eq!(project.nodes("chain", "ran"), ["left", "branch"], "{}", called.stderr);
    assert!(called.stderr.contains("quarantine"), "{}", called.stderr);
    assert!(called.stderr.contains("[4/4]") && !called.stderr.contains("[5/4]"), "{}", called.stderr);
    assert_eq!(fs::read(&blob).expect("it is there again"), sound);
    assert_eq!(project.files_in(".dnc/store/quarantine").len(), 1);
    assert_eq!(project.call(&["cache", "verify"]).code, Some(0));
}

#[test]
fn verify_finds_the_flipped_bit() {
    let project = chain();
    overwrite(&blob_of(&project, "middle.count"), |bytes| bytes[0] ^= 8);
    let called = project.call(&["cache", "verify"]);
    assert_eq!(called.code, Some(1), "{}{}", called.stdout, called.stderr);
    assert!(called.stdout.contains("quarantine"), "{}", called.stdout);
    assert_eq!(project.call(&["cache", "verify"]).code, Some(0));
    project.run(&["chain.toml"]);
    assert_eq!(project.nodes("chain", "ran"), ["middle"]);
}

#[test]
fn only_what_is_below_a_changed_leaf_runs() {
    let project = Project::new();
    let mut manifest = String::from("name = \"fan\"\n");
    for leaf in 0..20 {
        project.write(&format!("in/{leaf}"), format!("{leaf}\n"));
        manifest += &format!(
            "[stage.a{leaf}]\nkind = \"command\"\nrun = \"cat {{file.0}} > {{out.x}}/x\"\nfiles = [\"in/{leaf}\"]\noutputs = {{ x = \"files\" }}\n\
             [stage.b{leaf}]\nkind = \"command\"\nin = {{ x = \"a{leaf}\" }}\nrun = \"cat {{in.x}} {{in.x}} > {{out.x}}/x\"\noutputs = {{ x = \"files\" }}\n"
        );
    }
    project.write("fan.toml", manifest);
    project.run(&["fan.toml", "--jobs", "4"]);
    project.write("in/7", "seven\n");
    project.run(&["fan.toml", "--jobs", "4"]);
    assert_eq!(project.nodes("fan", "ran"), ["a7", "b7"]);
}

#[test]
fn from_runs_again_what_is_cached_and_says_what_is_not_reproducible() {
    let project = chain();
    project.run(&["chain.toml", "--from", "middle"]);
    assert_eq!(project.nodes("chain", "ran"), ["middle", "end"]);

    project.write("chain.toml", MANIFEST.replace("sed s/^/lines:/ {in.count}", "date +%N"));
    project.run(&["chain.toml"]);
    let called = project.run(&["--from", "end"]);
    assert!(called.stderr.starts_with("Manifest of the last run"), "{}", called.stderr);
    assert!(called.stderr.contains("note: end: not reproducible"), "{}", called.stderr);
}

#[test]
fn until_leaves_the_rest_alone() {
    let project = Project::new();
    project.write("chain.toml", MANIFEST);
    project.write("input.txt", "one\n");
    project.run(&["chain.toml", "--until", "middle"]);
    assert_eq!(project.nodes("chain", "ran"), ["left", "middle"]);
}

#[test]
fn a_failed_node_leaves_independent_branches_alone() {
    let project = Project::new();
    project.write("chain.toml", MANIFEST.replace("wc -l < {in.text} > {out.count}/count", "echo oh no; exit 3"));
    project.write("input.txt", "one\n");
    let called = project.call(&["chain.toml"]);
    assert_eq!(called.code, Some(1), "{}", called.stderr);
    assert_eq!(project.nodes("chain", "failed"), ["middle"]);
    assert_eq!(project.nodes("chain", "skipped"), ["end"]);
    assert_eq!(project.nodes("chain", "ran"), ["left", "branch"]);
    assert!(called.stderr.contains("exited with code 3"), "{}", called.stderr);
    assert!(project.read("runs/chain/1/logs/middle.log").contains("oh no"));
}

#[test]
fn plan_and_explain_name_what_changed() {
    let project = chain();
    project.write("chain.toml", MANIFEST.replace("lines:", "count:"));
    project.write("input.txt", "one\ntwo\nthree\n");
    let plan = without_estimates(&project.run(&["plan", "chain.toml"]).stdout);
    insta::assert_snapshot!(plan, @r"
    left    stale: files.0: the files changed
    middle  unknown until left has run
    end     unknown until left has run
    branch  unknown until left has run
    ");
    project.write("input.txt", "one\ntwo\n");
    let plan = without_estimates(&project.run(&["chain.toml", "--dry-run"]).stdout);
    insta::assert_snapshot!(plan, @r#"
    left    hit
    middle  hit
    end     stale: run: "sed s/^/lines:/ {in.count} > {out.told}/told" → "sed s/^/count:/ {in.count} > {out.told}/told"
    branch  hit
    "#);
    let explained = project.run(&["explain", "chain.toml", "end"]).stdout;
    assert!(explained.contains("Changed since the most similar earlier run: run:"), "{explained}");
}

#[test]
fn verify_runs_twice_and_compares() {
    let project = Project::new();
    project.write("chain.toml", MANIFEST);
    project.write("input.txt", "one\n");
    project.run(&["chain.toml", "--verify"]);
    project.write("chain.toml", MANIFEST.replace("sed s/^/lines:/ {in.count}", "date +%N"));
    let called = project.call(&["chain.toml", "--verify"]);
    assert_eq!(called.code, Some(1));
    assert!(called.stderr.contains("not reproducible"), "{}", called.stderr);
}

#[test]
fn the_resolved_manifest_can_be_run_from_where_it_lies() {
    let project = chain();
    project.run(&["runs/chain/1/manifest.toml"]);
    assert_eq!(project.nodes("chain", "hit"), ["left", "middle", "end", "branch"]);

    // Also after the project has become another folder.
    let moved = Project::new();
    for name in ["runs", "input.txt"] {
        fs::rename(project.path().join(name), moved.path().join(name)).expect("both are temporary folders");
    }
    let manifest = moved.read("runs/chain/1/manifest.toml");
    assert!(manifest.contains("files = [\"../../../input.txt\"]"), "{manifest}");
    moved.run(&["runs/chain/1/manifest.toml"]);
    assert_eq!(moved.nodes("chain", "ran"), ["left", "middle", "end", "branch"]);
}

#[test]
fn a_file_beside_a_table_counts_too() {
    let project = Project::new();
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/data/open-emoji-mini.parquet");
    let manifest = r#"
name = "beside"

[stage.both]
kind = "command"
run = "cp {file.0} {out.x}/images.parquet; cp {file.1} {out.x}/notes.txt"
files = ["TABLE", "notes.txt"]
outputs = { x = "files" }

[stage.read]
kind = "command"
in = { x = "both" }
run = "cat {in.x}/notes.txt > {out.y}/y"
outputs = { y = "files" }
"#;
    project.write("beside.toml", manifest.replace("TABLE", table));
    project.write("notes.txt", "first");
    project.run(&["beside.toml"]);
    project.write("notes.txt", "second");
    project.run(&["beside.toml"]);
    assert_eq!(project.nodes("beside", "ran"), ["both", "read"]);
}

#[test]
fn a_source_that_changes_while_it_is_read_is_no_result() {
    let project = Project::new();
    project.write("chain.toml", MANIFEST.replace("> {out.text}/text", "> {out.text}/text; echo three >> {file.0}"));
    project.write("input.txt", "one\n");
    let called = project.call(&["chain.toml"]);
    assert_eq!(called.code, Some(1));
    assert!(called.stderr.contains("input.txt` (`files.0`) changed while the node ran"), "{}", called.stderr);
    assert!(project.files_in(".dnc/store/blobs").is_empty());
}

#[test]
fn gc_keeps_what_the_last_finished_run_names_and_what_killed_ones_had_done() {
    let project = chain();
    let run = |text: &str| {
        project.write("input.txt", text);
        project.run(&["chain.toml"]);
        project.nodes("chain", "ran").len()
    };
    run("three\n");
    run("four\n");
    let json = project.read("runs/chain/3/run.json");
    project.write("runs/chain/3/run.json", json.replacen('{', "{\"unfinished\":true,", 1));
    assert!(project.run(&["runs"]).stdout.contains("unfinished"));
    let blobs = || project.files_in(".dnc/store/blobs").len();
    let before = blobs();
    project.run(&["cache", "gc", "--keep", "1", "--dry-run"]);
    assert_eq!(blobs(), before);
    project.run(&["cache", "gc", "--keep", "1"]);
    assert!(blobs() < before);
    assert_eq!((run("three\n"), run("four\n")), (0, 0));
    assert!(run("one\ntwo\n") > 0, "of the first run only what the others share was kept");

    project.write("runs/chain/3/run.json", "{");
    let called = project.call(&["cache", "gc", "--keep", "9"]);
    assert_eq!(called.code, Some(1));
    assert!(called.stderr.contains("runs/chain/3/run.json"), "{}", called.stderr);
}

#[test]
fn gc_that_finds_no_run_does_not_empty_the_store() {
    let project = Project::new();
    let called = project.call(&["cache", "gc"]);
    assert_eq!(called.code, Some(2), "{}", called.stderr);
    assert!(called.stderr.contains("There is no run in"), "{}", called.stderr);
    assert_eq!(project.call(&["cache", "gc", "--keep", "0"]).code, Some(0));
}

#[test]
fn gc_keeps_what_the_runs_of_another_project_name() {
    let (one, other) = (chain(), chain());
    let store = one.path().join(".dnc/store");
    let shares = |project: &Project| {
        let called = project.command(&["chain.toml"]).env("DNC_STORE", &store).output().expect("it was built");
        assert!(called.status.success());
    };
    other.write("input.txt", "three\n");
    shares(&other);
    assert_eq!(other.nodes("chain", "ran").len(), 4);
    one.run(&["cache", "gc", "--keep", "1"]);
    shares(&other);
    assert_eq!(other.nodes("chain", "hit").len(), 4);

    fs::remove_dir_all(other.path().join("runs")).expect("it is there");
    let called = one.run(&["cache", "gc", "--keep", "1"]);
    assert!(called.stderr.contains("no longer exists"), "{}", called.stderr);
    assert!(!one.run(&["cache", "gc", "--keep", "1"]).stderr.contains("no longer exists"));
    shares(&other);
    assert_eq!(other.nodes("chain", "ran").len(), 4);
    one.run(&["chain.toml"]);
    assert_eq!(one.nodes("chain", "hit").len(), 4);
}
