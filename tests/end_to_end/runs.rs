//! `runs tag|note|rm`, `logs` and `watch`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::project::{Called, Project};

const MANIFEST: &str = r#"
name = "words"
[stage.first]
kind = "command"
run = "echo one; cp {file.0} {out.words}/x"
files = ["words.txt"]
outputs = { words = "files" }
[stage.second]
kind = "command"
in = { words = "first" }
run = "test -s {in.words} && cp {in.words} {out.words}/x"
outputs = { words = "files" }
"#;

fn project() -> Project {
    let project = Project::new();
    project.write("words.toml", MANIFEST);
    project.write("words.txt", "a");
    project
}

#[test]
fn what_is_not_there_is_named() {
    let project = project();
    project.run(&["words.toml"]);
    let told = project.call(&["words.toml", "--from", "nothing-like-it"]).stderr;
    assert!(told.contains("no stage or node `nothing-like-it`; its stages: `first` and `second`"), "{told}");
    fs::remove_file(project.path().join("runs/words/1/run.json")).expect("the run wrote it");
    let told = project.call(&["get", "words", "second"]).stderr;
    assert!(told.contains("runs/words/1/run.json`: No such file"), "{told}");
}

#[test]
fn a_tag_names_a_run_and_keeps_it() {
    let project = project();
    for words in ["a", "b", "c"] {
        project.write("words.txt", words);
        project.run(&["words.toml"]);
    }
    project.run(&["runs", "tag", "words/1", "baseline", "paper"]);
    project.run(&["runs", "note", "words/1", "before the change"]);
    assert_eq!(project.run(&["runs", "note", "baseline"]).stdout, "before the change\n");
    let listed = project.run(&["runs"]).stdout;
    assert!(listed.contains("baseline paper") && listed.contains("before the change"), "{listed}");
    let json: Value = serde_json::from_str(&project.run(&["runs", "words", "--json"]).stdout).expect("it is JSON");
    assert_eq!(json["runs"][0]["tags"], json!(["baseline", "paper"]));
    assert_eq!((&json["runs"][0]["note"], &json["runs"][1]["note"]), (&json!("before the change"), &Value::Null));

    let refused = |args: &[&str], expected: &str| {
        let called = project.call(args);
        assert_eq!(called.code, Some(2), "{}", called.stderr);
        assert!(called.stderr.contains(expected), "{}", called.stderr);
    };
    refused(&["runs", "rm", "words/1-2"], "words/1 has the tag `baseline` and is kept");
    for text in ["words", "paper"] {
        refused(&["runs", "rm", text], "is not one run; name it with its number, as in `words/1`");
    }
    refused(&["runs", "tag", "words/2", "words"], "`words` cannot be a tag");
    refused(&["runs", "tag", "words/2", "x", "--remove"], "words/2 has no tag `x`");
    assert_eq!(
        project.run(&["runs", "rm", "words/2-3", "--dry-run"]).stdout,
        "would delete words/2\nwould delete words/3\n"
    );
    assert_eq!(project.run(&["runs", "rm", "words/2-3"]).stdout, "deleted words/2\ndeleted words/3\n");
    project.run(&["runs", "tag", "words/1", "baseline", "paper", "--remove"]);
    project.run(&["runs", "rm", "words/1"]);
    assert!(!project.path().join("runs/words").exists());
    // What the runs computed is still there.
    project.run(&["words.toml"]);
    assert_eq!(project.nodes("words", "hit").len(), 2);
}

#[test]
fn logs_are_printed_and_a_wrong_name_is_explained() {
    let project = project();
    project.run(&["words.toml"]);
    assert_eq!(project.run(&["logs", "words", "first"]).stdout, "one\n");
    assert_eq!(project.run(&["logs", "words", "first", "--follow"]).stdout, "one\n", "the run has ended");
    assert_eq!(project.run(&["logs", "words"]).stdout, "first\n");
    let run = project.run(&["logs", "words", "--follow"]).stdout;
    assert!(run.starts_with("Run words/1: 2 nodes\n") && run.contains("2 ran"), "{run}");
    for (node, expected) in [("second", "`second` wrote no log in words/1"), ("frist", "did you mean `first`?")] {
        let called = project.call(&["logs", "words", node]);
        assert_eq!(called.code, Some(2));
        assert!(called.stderr.contains(expected), "{}", called.stderr);
    }
}

/// Ends the program even if a test fails.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

#[test]
fn watch_runs_again_after_each_change() {
    let project = project();
    let mut command = project.command(&["watch", "words.toml", "--progress", "plain"]);
    let mut watching = Watching(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it was built"));
    let stderr = watching.0.stderr.take().expect("it is piped");
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let mut waits = || lines.by_ref().take_while(|line| !line.starts_with("Waiting for a change")).collect::<Vec<_>>();
    assert!(waits().iter().any(|line| line.contains("second: done")));
    project.write("words.txt", "b");
    assert!(waits().iter().any(|line| line.contains("second: done")));
    // A failed node and a broken manifest are waited out.
    project.write("words.txt", "");
    let told = waits();
    assert!(told.iter().any(|line| line.contains("second: failed")), "{told:?}");
    project.write("words.toml", "name = ");
    assert!(waits().iter().any(|line| line.contains("words.toml")));
    project.write("words.toml", MANIFEST.replace("echo one", "echo two"));
    project.write("words.txt", "c");
    assert!(waits().iter().any(|line| line.contains("first: done")));
    let pid = watching.0.id().to_string();
    assert!(
        std::process::Command::new("kill").args(["-INT", &pid]).status().expect("`kill` is on every Unix").success()
    );
    assert_eq!(watching.0.wait().expect("it was started").code(), Some(130));
}

#[test]
fn watch_sees_changes_of_what_only_one_of_several_runs_reads() {
    let project = project();
    project.write("others.txt", "b");
    let files = r#"stage.first.files=["words.txt"],["others.txt"]"#;
    let mut command = project.command(&["watch", "words.toml", "--vary", files, "--progress", "plain"]);
    let mut watching = Watching(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it was built"));
    let stderr = watching.0.stderr.take().expect("it is piped");
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let mut waits = || lines.by_ref().take_while(|line| !line.starts_with("Waiting for a change")).collect::<Vec<_>>();
    waits();
    project.write("others.txt", "c");
    let told = waits();
    assert_eq!(told.iter().filter(|line| line.contains("first: done")).count(), 1, "{told:?}");
}

#[test]
fn a_shell_is_told_runs_tags_and_nodes() {
    let project = project();
    project.run(&["words.toml"]);
    project.run(&["runs", "tag", "words/1", "worth"]);
    let complete = |words: &[&str]| {
        let mut command = project.command(&["--", "dnc-run"]);
        let index = words.len().to_string();
        command.args(words).env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", index).env("_CLAP_IFS", "\n");
        Called::of(command.output().expect("it was built")).stdout
    };
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(complete(&["report", "wo"])), ["words", "worth", "words/1"]);
    assert_eq!(lines(complete(&["logs", "words", "se"])), ["second"]);
    assert!(project.run(&["completions", "bash"]).stdout.contains("COMPLETE"));
}

#[test]
fn manual_pages_are_written() {
    let project = Project::new();
    project.run(&["man", "pages"]);
    let page = fs::read_to_string(project.path().join("pages/dnc-run-cache-push.1")).expect("each command has a page");
    assert!(page.contains("Copy records and their files to a remote"), "{page}");
}
