//! Runs that are stopped, killed, or not alone. Nobody sleeps: a stage tells through one pipe that it has begun and waits at
//! another until the test opens it.
//!
//! A run goes on while the record of a finished node is made durable, which takes the disk milliseconds; a kill within those loses that
//! node, too. So that a test knows what is lost, the stage only begins when the record of the one before is in the store.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use crate::project::{Called, Project};

/// before → gated → after. `gated` waits at a pipe unless there is a file `open`; each leaves a line in `count` when it has run.
const MANIFEST: &str = r#"
name = "gate"

[stage.before]
kind = "command"
run = "echo before | tee -a HERE/count > {out.text}/text"
outputs = { text = "files" }

[stage.gated]
kind = "command"
in = { text = "before" }
run = "test -e HERE/open || { until ls HERE/.dnc/store/records/*; do :; done; echo begun > HERE/begun; cat HERE/gate; }; echo gated | tee -a HERE/count > {out.text}/text"
outputs = { text = "files" }

[stage.after]
kind = "command"
in = { text = "gated" }
run = "echo after | tee -a HERE/count > {out.text}/text"
outputs = { text = "files" }
"#;

fn project() -> Project {
    let project = Project::new();
    let here = project.path().to_str().expect("temp folders have plain names");
    project.write("gate.toml", MANIFEST.replace("HERE", here));
    for pipe in ["begun", "gate"] {
        make_pipe(&project, pipe);
    }
    project
}

fn make_pipe(project: &Project, name: &str) {
    let made = Command::new("mkfifo").arg(project.path().join(name)).status().expect("`mkfifo` is on every Unix");
    assert!(made.success());
}

fn start(project: &Project, arguments: &[&str]) -> Child {
    let mut command = project.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary was built for this test")
}

/// Waits until `gated` says that it has begun.
fn begun(project: &Project) {
    let mut told = String::new();
    let mut pipe = File::open(project.path().join("begun")).expect("the pipe is there");
    pipe.read_to_string(&mut told).expect("the stage writes a line");
    assert_eq!(told, "begun\n");
}

/// Lets every `gated` pass, the one that waits and those to come.
fn open_gate(project: &Project) {
    project.write("open", "");
    drop(File::options().write(true).open(project.path().join("gate")).expect("the stage holds the other end"));
}

fn signal(child: &Child, name: &str) {
    let line = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &line]).status().expect("there is a shell").success(), "{line}");
}

fn end(child: Child) -> Called {
    Called::of(child.wait_with_output().expect("it was started"))
}

fn count(project: &Project) -> String {
    let lines = project.read("count");
    lines.lines().collect::<Vec<_>>().join(" ")
}

/// Stops a run inside `gated` and checks that a second one does what was left.
fn check_stopped(name: &str) {
    let project = project();
    let child = start(&project, &["gate.toml"]);
    begun(&project);
    signal(&child, name);
    let called = end(child);
    assert_eq!(called.code, Some(130), "{}", called.stderr);
    assert_eq!(project.nodes("gate", "ran"), ["before"]);
    assert_eq!(project.nodes("gate", "cancelled"), ["gated", "after"]);
    assert!(called.stderr.contains("1 ran, 2 cancelled"), "{}", called.stderr);

    project.write("open", "");
    project.run(&["gate.toml"]);
    assert_eq!(project.nodes("gate", "hit"), ["before"]);
    assert_eq!(count(&project), "before gated after");
    assert_eq!(project.call(&["cache", "verify"]).code, Some(0));
}

#[test]
fn ctrl_c_loses_the_stage_in_flight_only() {
    check_stopped("INT");
}

#[test]
fn so_does_a_polite_kill() {
    check_stopped("TERM");
}

#[test]
fn a_program_that_closed_its_output_is_stopped_too() {
    let project = project();
    project.write("gate.toml", project.read("gate.toml").replace("echo begun", "exec >/dev/null 2>&1; echo begun"));
    let child = start(&project, &["gate.toml"]);
    begun(&project);
    signal(&child, "INT");
    assert_eq!(end(child).code, Some(130));
    assert_eq!(project.nodes("gate", "cancelled"), ["gated", "after"]);
}

#[test]
fn kill_nine_loses_the_stage_in_flight_only() {
    let project = project();
    let mut child = start(&project, &["gate.toml"]);
    begun(&project);
    child.kill().expect("it runs");
    assert_eq!(end(child).code, None);
    assert_eq!(project.last_run("gate")["unfinished"], true);
    assert!(project.run(&["--dry-run"]).stdout.contains("hit"), "it is the last run, however it ended");
    // What the dead run had started goes on by itself; what it writes is nobody's.
    open_gate(&project);

    project.run(&["gate.toml"]);
    assert_eq!(project.nodes("gate", "hit"), ["before"]);
    assert_eq!(project.nodes("gate", "ran"), ["gated", "after"]);
    assert_eq!(project.call(&["cache", "verify"]).code, Some(0));
    project.run(&["cache", "gc"]);
    project.assert_no_files_in(".dnc/store/tmp");
    assert_eq!(project.nodes("gate", "hit").len(), 1);
}

#[test]
fn so_does_the_end_of_the_terminal() {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    if ignored.is_some_and(|ignored| ignored & 1 != 0) {
        return eprintln!("skipped: under `nohup`, SIGHUP is ignored here and in what is started");
    }
    check_stopped("HUP");
}

#[test]
fn what_a_program_leaves_running_ends_with_it() {
    let project = project();
    // The one that is left holds the pipe until it is stopped.
    let left = "sh -c 'exec sleep 100000 > PIPE' & until test -e HELD; do :; done; echo > {out.text}/text";
    let (pipe, held) = (project.path().join("begun"), project.path().join("held"));
    let left = left.replace("PIPE", &pipe.display().to_string()).replace("HELD", &held.display().to_string());
    let manifest = "name = \"left\"\n[stage.it]\nkind = \"command\"\nrun = \"LEFT\"\noutputs = { text = \"files\" }\n";
    project.write("left.toml", manifest.replace("LEFT", &left));
    let child = start(&project, &["left.toml"]);
    let mut pipe = File::open(pipe).expect("the pipe is there");
    project.write("held", "");
    assert_eq!(pipe.read(&mut [0]).expect("it can be read"), 0, "the end comes when nobody holds the pipe");
    assert_eq!(end(child).code, Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    let project = Project::new();
    // The run hangs while it reads its manifest from a pipe, where it cannot look whether it was asked to stop.
    make_pipe(&project, "slow.toml");
    let path = project.path().join("slow.toml");
    let child = start(&project, &["slow.toml", "--runs", "runs"]);
    let _writer = File::options().write(true).open(&path).expect("the run holds the other end");
    signal(&child, "INT");
    signal(&child, "TERM");
    let called = end(child);
    assert_eq!(called.code, Some(130), "{}", called.stderr);
    assert!(!project.path().join("runs").exists());
}

#[test]
fn a_second_signal_stops_the_programs_too() {
    let project = project();
    let waits = "exec > HERE/begun; echo begun; exec cat HERE/gate";
    let waits = waits.replace("HERE", project.path().to_str().expect("temp folders have plain names"));
    let manifest = "name = \"gate\"\n[stage.gated]\nkind = \"command\"\nrun = 'RUN'\noutputs = { text = \"files\" }\n";
    project.write("gate.toml", manifest.replace("RUN", &waits));
    let child = start(&project, &["gate.toml"]);
    let mut pipe = File::open(project.path().join("begun")).expect("the pipe is there");
    pipe.read_exact(&mut [0; 6]).expect("the program writes a line");
    signal(&child, "INT");
    signal(&child, "INT");
    assert_eq!(end(child).code, Some(130));
    assert_eq!(pipe.read(&mut [0]).expect("it can be read"), 0, "the end comes when nobody holds the pipe");
}

#[test]
fn two_runs_at_once_do_each_node_once() {
    let project = project();
    let first = start(&project, &["gate.toml"]);
    begun(&project);
    let mut second = start(&project, &["gate.toml"]);
    let mut told = BufReader::new(second.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    let waits = told.find(|line| line.starts_with("gated: waiting for"));
    assert_eq!(waits, Some(format!("gated: waiting for process {}", first.id())));
    open_gate(&project);
    assert_eq!(end(first).code, Some(0));
    let rest: Vec<String> = told.collect();
    assert_eq!(end(second).code, Some(0), "{rest:?}");

    assert_eq!(count(&project), "before gated after");
    let ran: usize = fs::read_dir(project.path().join("runs/gate"))
        .expect("there were runs")
        .map(|run| {
            let json = fs::read_to_string(run.expect("a folder").path().join("run.json")).expect("both are finished");
            json.matches(r#""outcome":"ran""#).count()
        })
        .sum();
    assert_eq!(ran, 3, "each node ran in one of the two");
}

#[test]
fn what_another_run_computes_holds_nothing_else_up() {
    let project = project();
    let other = r#"
[stage.other]
kind = "command"
in = { text = "before" }
run = "echo > {out.text}/text"
outputs = { text = "files" }
"#;
    project.write("more.toml", project.read("gate.toml") + other);
    let first = start(&project, &["gate.toml"]);
    begun(&project);
    let mut second = start(&project, &["more.toml", "--jobs", "1"]);
    let told = BufReader::new(second.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    let mut told = told.skip_while(|line| !line.starts_with("gated: waiting for"));
    assert!(told.any(|line| line.contains("other: done")));
    open_gate(&project);
    assert_eq!(told.filter(|line| line.contains("gated: waiting for")).count(), 0, "it is reported once");
    assert_eq!((end(first).code, end(second).code), (Some(0), Some(0)));
    assert_eq!(count(&project), "before gated after");
}

#[test]
fn a_program_that_is_left_writing_does_not_hold_its_node() {
    let project = Project::new();
    let manifest = r#"
name = "chatty"
[stage.it]
kind = "command"
run = "(while :; do echo tick; done) & echo one > {out.text}/text"
outputs = { text = "files" }
"#;
    project.write("chatty.toml", manifest);
    project.run(&["chatty.toml"]);
    assert_eq!(project.nodes("chatty", "ran"), ["it"]);
}

#[test]
fn a_reader_that_goes_away_ends_the_program() {
    let project = Project::new();
    for stream in ["stdout", "stderr"] {
        let (reader, writer) = std::io::pipe().expect("there are file descriptors left");
        drop(reader);
        let mut command = project.command(if stream == "stdout" { &["schema"] } else { &["plan", "nowhere.toml"] });
        let status = match stream {
            "stdout" => command.stdout(writer).stderr(Stdio::null()).status(),
            _ => command.stderr(writer).stdout(Stdio::null()).status(),
        };
        assert_eq!(status.expect("it was built").signal(), Some(13), "{stream}: SIGPIPE, as `head` expects");
    }
}
