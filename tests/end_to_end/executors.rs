//! `--executor process`: every node in a process of its own.

use crate::project::Project;

const MANIFEST: &str = r#"
name = "p"

[stage.killed]
kind = "command"
run = "kill -9 $PPID; echo a > {out.a}/a"
outputs = { a = "files" }

[stage.sound]
kind = "command"
run = "echo b > {out.b}/b"
outputs = { b = "files" }

[stage.after]
kind = "command"
in = { b = "sound" }
run = "cat {in.b} > {out.c}/c"
outputs = { c = "files" }
"#;

#[test]
fn a_node_waits_for_another_one_of_the_same_key_in_another_process() {
    let project = Project::new();
    let stage = |name: &str| {
        format!(
            "[stage.{name}]\nkind = \"command\"\nrun = \"sleep 0.5; echo > {{out.x}}/x\"\noutputs = {{ x = \"files\" }}\n"
        )
    };
    project.write("twins.toml", format!("name = \"twins\"\n{}{}", stage("one"), stage("two")));
    let told = project.run(&["twins.toml", "--executor", "process", "--jobs", "2"]).stderr;
    assert!(told.contains("waiting for another node of this run"), "{told}");
    assert!(!told.contains("process "), "{told}");
}

#[test]
fn a_process_that_is_killed_fails_its_node_and_not_the_run() {
    let project = Project::new();
    project.write("p.toml", MANIFEST);
    let called = project.call(&["p.toml", "--executor", "process"]);
    assert_eq!(called.code, Some(1), "{}", called.stderr);
    assert!(called.stderr.contains("Its process was killed (signal 9)"), "{}", called.stderr);
    assert_eq!(project.nodes("p", "failed"), ["killed"]);
    assert_eq!(project.nodes("p", "ran"), ["sound", "after"]);
    // What the other processes recorded is there for a run on threads of this one.
    let called = project.call(&["p.toml", "--until", "after"]);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert_eq!(project.nodes("p", "hit"), ["sound", "after"]);
}

#[test]
fn progress_and_logs_of_other_processes_arrive() {
    let project = Project::new();
    project.write(
        "p.toml",
        "name = \"p\"\n[stage.a]\nkind = \"command\"\nrun = \"echo hello; echo a > {out.a}/a\"\noutputs = { a = \"files\" }\n",
    );
    let called = project.run(&["p.toml", "--executor", "process"]);
    assert!(called.stderr.contains("a: started (new)"), "{}", called.stderr);
    assert!(project.read("runs/p/1/logs/a.log").contains("hello"));
}

#[test]
fn a_task_of_another_version_is_refused() {
    let project = Project::new();
    project.write("task.json", r#"{ "version": "0.0.1" }"#);
    let called = project.call(&["task", "task.json"]);
    assert_eq!(called.code, Some(1));
    assert!(called.stderr.contains("it was written by dnc-run 0.0.1"), "{}", called.stderr);
}

#[test]
fn a_process_that_somebody_else_stops_fails_its_node() {
    let project = Project::new();
    let kill = "kill -TERM $PPID; sleep 5; echo a > {out.a}/a";
    project.write("p.toml", MANIFEST.replace("kill -9 $PPID; echo a > {out.a}/a", kill));
    let called = project.call(&["p.toml", "--executor", "process"]);
    assert_eq!(called.code, Some(1), "{}", called.stderr);
    assert!(called.stderr.contains("asked to stop by somebody else"), "{}", called.stderr);
    assert_eq!(project.nodes("p", "failed"), ["killed"]);
    assert_eq!(project.nodes("p", "ran"), ["sound", "after"]);
}
