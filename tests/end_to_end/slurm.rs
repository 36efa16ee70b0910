//! `--executor slurm`, against stand-ins for Slurm's programs (`slurm/`) that run jobs as processes of this machine.

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::project::{Called, Project};

/// The settings of all tests: the queue is looked at every second, and three small nodes share a job.
const SETTINGS: &str = "[executor.slurm]\ncheck = 1\ngroup = 3\npartition = \"short\"\noptions = [\"--qos=test\"]\n";

fn project(manifest: &str) -> Project {
    let project = Project::new();
    let here = project.path().to_str().expect("temp folders have plain names");
    project.write("p.toml", manifest.replace("HERE", here));
    project.write("dnc.toml", SETTINGS);
    project
}

/// A stage that runs a program, and writes one output.
fn stage(name: &str, inputs: &[&str], run: &str) -> String {
    let inputs: Vec<String> = inputs.iter().map(|input| format!("{input} = \"{input}\"")).collect();
    let inputs = if inputs.is_empty() { String::new() } else { format!("in = {{ {} }}\n", inputs.join(", ")) };
    format!("[stage.{name}]\nkind = \"command\"\n{inputs}run = \"{run}\"\noutputs = {{ {name} = \"files\" }}\n")
}

fn command(project: &Project) -> Command {
    let mut command = project.command(&["p.toml", "--executor", "slurm", "--progress", "plain"]);
    on_a_cluster(&mut command, project);
    command
}

/// Calls of Slurm's programs meet the stand-ins.
fn on_a_cluster(command: &mut Command, project: &Project) {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/end_to_end/slurm");
    let path = env::var("PATH").expect("there is a PATH");
    command.env("PATH", format!("{}:{path}", bin.display())).env("FAKE_SLURM", project.path().join("slurm"));
}

fn call(project: &Project) -> Called {
    Called::of(command(project).output().expect("the binary was built for this test"))
}

/// The arguments of every call of `sbatch`.
fn submitted(project: &Project) -> Vec<String> {
    project.read("slurm/submitted").lines().map(str::to_owned).collect()
}

#[test]
fn jobs_make_the_bytes_of_a_run_on_this_machine() {
    let mut manifest = "name = \"p\"\n".to_owned();
    let names = ["a", "b", "c", "d", "e", "f"];
    names.iter().for_each(|name| manifest += &stage(name, &[], &format!("echo {name} > {{out.{name}}}/x")));
    manifest += &stage("all", &names, "cat {in.a} {in.b} {in.c} {in.d} {in.e} {in.f} > {out.all}/x");
    manifest += &stage("here", &["all"], "echo here; cat {in.all} > {out.here}/x");
    manifest += &stage("large", &["all"], "echo hello >&2; cat {in.all} > {out.large}/x");
    let (local, slurm) = (project(&manifest), project(&manifest));
    local.run(&["p.toml"]);
    slurm.write("dnc.toml", format!("{SETTINGS}local = [\"here\"]\n[executor.slurm.stage.large]\nmemory = \"2G\"\n"));
    let called = call(&slurm);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert_eq!(slurm.digests("p"), local.digests("p"));
    assert_eq!(slurm.nodes("p", "ran").len(), 9);
    let submitted = submitted(&slurm);
    assert_eq!(submitted.len(), 3, "{submitted:?}");
    assert!(submitted[0].contains("--array=0-1 "), "six nodes in groups of three: {}", submitted[0]);
    assert!(submitted[1].contains("--partition=short --qos=test"), "{}", submitted[1]);
    assert!(submitted[2].contains("--mem=2G"), "{}", submitted[2]);
    let required = ["--requeue", "--kill-on-invalid-dep=yes", "--signal=B:TERM@60", "--job-name=dnc:p:"];
    required.iter().for_each(|option| assert!(submitted[0].contains(option), "{}", submitted[0]));
    assert!(called.stderr.contains("large: waiting for Slurm job 1003_0"), "{}", called.stderr);
    assert!(slurm.read("runs/p/1/logs/large.log").contains("hello"), "the log of a job belongs to its node");
    slurm.assert_no_files_in("runs/p/1/jobs");
    assert_eq!(slurm.call(&["cache", "verify"]).code, Some(0));
    // Nothing is left to do, so nothing is submitted.
    assert_eq!(call(&slurm).code, Some(0));
    assert_eq!((slurm.nodes("p", "hit").len(), self::submitted(&slurm).len()), (9, 3));
}

/// Runs one stage, `a`, that does `run` beside a sound one, and expects that it fails with a message that contains `expected`.
fn check_failed(run: &str, expected: &[&str]) {
    let manifest = format!("name = \"p\"\n{}{}", stage("a", &[], run), stage("b", &[], "echo b > {out.b}/x"));
    let project = project(&manifest);
    project.write("dnc.toml", SETTINGS.replace("group = 3", "group = 1"));
    let called = call(&project);
    assert_eq!(called.code, Some(1), "{}", called.stderr);
    expected.iter().for_each(|part| assert!(called.stderr.contains(part), "{part}: {}", called.stderr));
    assert_eq!((project.nodes("p", "failed"), project.nodes("p", "ran")), (vec!["a".into()], vec!["b".into()]));
}

#[test]
fn a_node_that_fails_says_why() {
    check_failed("echo no luck >&2; exit 3", &["a: failed after", "3"]);
}

#[test]
fn a_process_that_is_killed_fails_its_node() {
    check_failed(
        "kill -9 $PPID",
        &["Slurm job 1001_0 was killed (signal 9)", "(exit code 137)", "raise `memory`, which is not set"],
    );
}

#[test]
fn a_program_that_is_killed_says_what_to_raise() {
    check_failed(
        "kill -9 $$",
        &["was killed by signal 9", "raise `memory`, which is not set, in `[executor.slurm.stage.a]`"],
    );
}

#[test]
fn a_job_without_memory_says_what_to_raise() {
    check_failed(
        &end_as("OUT_OF_MEMORY"),
        &["Slurm job 1001_0 ran out of memory", "`[executor.slurm.stage.a]` of dnc.toml"],
    );
}

#[test]
fn a_job_that_somebody_cancels_fails_its_node() {
    check_failed(
        "FAKE_SLURM=HERE/slurm scancel 1001_0; sleep 60",
        &["Slurm job 1001_0 was cancelled by somebody else"],
    );
}

/// A command that ends its own job in this state, at once.
fn end_as(state: &str) -> String {
    format!("job=$(fake-job $PPID); echo {state} > $job.state; kill -s KILL -- -$(cat $job.group)")
}

/// As Slurm signals the script of a job before its time limit.
const NEAR_THE_LIMIT: &str = "kill -TERM $(cut -d ' ' -f 4 /proc/$PPID/stat)";

#[test]
fn a_node_that_saved_nothing_before_the_time_limit_fails() {
    check_failed(
        &format!("{NEAR_THE_LIMIT}; sleep 60"),
        &["Slurm job 1001_0 reached its time limit before the node saved any work", "raise `time`"],
    );
}

#[test]
fn a_program_that_a_signal_to_the_whole_job_ends_first_has_not_failed() {
    check_failed(
        "setsid sh -c 'sleep 0.1; kill -TERM '$PPID & kill -TERM $$",
        &["Slurm job 1001_0 reached its time limit before the node saved any work"],
    );
}

#[test]
fn the_rest_of_a_group_that_was_stopped_goes_on_in_another_job() {
    let first = format!("{NEAR_THE_LIMIT}; sleep 60");
    let manifest = format!("name = \"p\"\n{}{}", stage("a", &[], &first), stage("b", &[], "echo b > {out.b}/x"));
    let project = project(&manifest);
    let called = call(&project);
    assert_eq!((called.code, project.nodes("p", "ran")), (Some(1), vec!["b".into()]), "{}", called.stderr);
    assert!(called.stderr.contains("note: b: Slurm job 1001_0 was stopped; the node is submitted again"));
    assert_eq!(submitted(&project).len(), 2);
}

/// A job that vanishes the first time that it runs, as `end` says.
fn check_lost(end: &str) {
    let run = format!("test -e HERE/once || {{ touch HERE/once; {end}; }}; echo a > {{out.a}}/x");
    let project = project(&format!("name = \"p\"\n{}", stage("a", &[], &run)));
    let called = call(&project);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert!(called.stderr.contains("Slurm job 1001_0 was lost; the node is submitted again"), "{}", called.stderr);
    assert_eq!(submitted(&project).len(), 2);
}

#[test]
fn a_job_whose_machine_fails_is_submitted_again() {
    check_lost(&end_as("NODE_FAIL"));
}

#[test]
fn a_job_that_slurm_forgot_is_submitted_again() {
    check_lost(&format!("{}; rm $job.state", end_as("NODE_FAIL")));
}

#[test]
fn a_job_that_no_machine_starts_is_cancelled_and_submitted_again() {
    let hold = "echo 'launch failed requeued held' > $(fake-job $PPID).reason";
    check_lost(&format!("{hold}; {}", end_as("PENDING")));
}

#[test]
fn what_another_run_computed_before_its_job_vanished_did_not_run() {
    // `b` waits in a group behind `a`, which starts a run of `b` and then ends their job.
    let run = format!(
        "test -e HERE/once || {{ touch HERE/once; (cd HERE && {} p.toml --until b --quiet); {}; }}; echo a > {{out.a}}/x",
        env!("CARGO_BIN_EXE_dnc-run"),
        end_as("NODE_FAIL")
    );
    let project = project(&format!("name = \"p\"\n{}{}", stage("a", &[], &run), stage("b", &[], "echo b > {out.b}/x")));
    let called = call(&project);
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let outcomes = |number: u32| -> Vec<String> {
        let run: Value = serde_json::from_str(&project.read(&format!("runs/p/{number}/run.json"))).expect("it is JSON");
        let nodes = run["nodes"].as_array().expect("run.json lists nodes").iter();
        let text = |value: &Value| value.as_str().expect("it is text").to_owned();
        nodes.map(|node| format!("{} {}", text(&node["node"]), text(&node["outcome"]))).collect()
    };
    assert_eq!((outcomes(2), outcomes(1)), (vec!["b ran".into()], vec!["a ran".into(), "b hit".into()]));
}

#[test]
fn a_submission_that_slurm_refuses_fails_the_nodes() {
    let project = project(&format!("name = \"p\"\n{}", stage("a", &[], "echo a > {out.a}/x")));
    project.write("slurm/refuse", "sbatch: error: invalid partition specified: short\n");
    let called = call(&project);
    assert_eq!(called.code, Some(1), "{}", called.stderr);
    let expected = "Cannot submit it to Slurm: `sbatch` failed: sbatch: error: invalid partition specified: short";
    assert!(called.stderr.contains(expected), "{}", called.stderr);
}

#[test]
fn without_slurm_or_with_wrong_settings_the_run_does_not_start() {
    let project = project(&format!("name = \"p\"\n{}", stage("a", &[], "echo a > {out.a}/x")));
    // A machine with a shell, which the manifest needs, and without Slurm.
    let bin = project.write("bin/.keep", "").with_file_name("sh");
    std::os::unix::fs::symlink("/bin/sh", &bin).expect("the folder is new");
    let path = bin.parent().expect("it lies in a folder");
    let called = Called::of(command(&project).env("PATH", path).output().expect("it was built"));
    assert_eq!(called.code, Some(1));
    assert!(called.stderr.contains("Cannot start `squeue`"), "{}", called.stderr);
    project.write("dnc.toml", "[executor.slurm]\npartitoin = \"x\"\n");
    let called = call(&project);
    assert_eq!(called.code, Some(2), "{}", called.stderr);
    assert!(called.stderr.contains("unknown field `partitoin`"), "{}", called.stderr);
    project.assert_no_files_in("runs");
}

/// before → gated → after, where `gated` says that it has begun and waits at a pipe.
fn gated() -> Project {
    let gated = "echo begun > HERE/begun; cat HERE/gate; echo gated | tee -a HERE/count > {out.gated}/x";
    let manifest = format!(
        "name = \"p\"\n{}{}{}",
        stage("before", &[], "echo before | tee -a HERE/count > {out.before}/x"),
        stage("gated", &["before"], gated),
        stage("after", &["gated"], "echo after | tee -a HERE/count > {out.after}/x"),
    );
    let project = project(&manifest);
    for pipe in ["begun", "gate"] {
        let made = Command::new("mkfifo").arg(project.path().join(pipe)).status().expect("`mkfifo` is on every Unix");
        assert!(made.success());
    }
    project
}

fn start(project: &Project) -> Child {
    command(project).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary was built for this test")
}

fn begun(project: &Project) {
    let mut told = String::new();
    File::open(project.path().join("begun")).and_then(|mut pipe| pipe.read_to_string(&mut told)).expect("it is a pipe");
    assert_eq!(told, "begun\n");
}

fn signal(child: &Child, name: &str) {
    let line = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &line]).status().expect("there is a shell").success(), "{line}");
}

#[test]
fn a_driver_that_was_killed_takes_up_its_jobs() {
    let project = gated();
    let mut first = start(&project);
    begun(&project);
    signal(&first, "KILL");
    first.wait().expect("it was started");

    let mut second = start(&project);
    let mut lines = BufReader::new(second.stderr.take().expect("it is piped")).lines();
    let waits = lines.by_ref().map_while(Result::ok).find(|line| line.contains("gated: waiting for Slurm job 1002_0"));
    assert!(waits.is_some(), "the second driver did not find the job");
    open_gate(&project);
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(second.wait().expect("it was started").code(), Some(0), "{rest:?}");
    assert_eq!(project.read("count").split_whitespace().collect::<Vec<_>>(), ["before", "gated", "after"]);
    assert_eq!(submitted(&project).len(), 3, "nothing was submitted twice");
    assert_eq!(project.nodes("p", "hit"), ["before"]);
    assert_eq!(project.nodes("p", "ran"), ["gated", "after"]);
}

#[test]
fn ctrl_c_cancels_the_jobs() {
    let project = gated();
    let child = start(&project);
    begun(&project);
    signal(&child, "INT");
    let called = Called::of(child.wait_with_output().expect("it was started"));
    assert_eq!(called.code, Some(130), "{}", called.stderr);
    assert_eq!(project.nodes("p", "cancelled"), ["gated", "after"]);
    assert_eq!(project.read("slurm/1002_0.state"), "CANCELLED\n");
    assert_eq!(submitted(&project).len(), 2);
}

/// Submits the driver of a gated run as a job, and waits until the second node has begun.
fn detached(more: &[&str]) -> Project {
    let project = gated();
    let settings = project.read("dnc.toml") + "[executor.slurm.driver]\nmemory = \"1G\"\n";
    project.write("dnc.toml", settings);
    std::fs::create_dir(project.path().join("slurm")).expect("the folder is new");
    let end = project.path().join("slurm/1001.end");
    assert!(Command::new("mkfifo").arg(end).status().expect("`mkfifo` is on every Unix").success());
    let mut call = command(&project);
    // As in a job, or a shell whose user has set what `sbatch` reads.
    call.args(more).arg("--detach").env("SLURM_JOB_ID", "7").env("SLURM_MEM_PER_CPU", "1").env("SBATCH_WAIT", "1");
    let called = Called::of(call.env("SBATCH_ACCOUNT", "lab").output().expect("it was built"));
    assert_eq!((called.code, called.stdout.as_str()), (Some(0), "1001\n"), "{}", called.stderr);
    let log = project.path().join("runs/p/driver-1001.log");
    for expected in ["dnc-run logs p --follow", "scancel 1001", log.to_str().expect("plain")] {
        assert!(called.stderr.contains(expected), "{}", called.stderr);
    }
    begun(&project);
    project
}

/// Waits for the end of the driver's job.
fn ended(project: &Project) {
    let mut nothing = String::new();
    let end = File::open(project.path().join("slurm/1001.end"));
    end.and_then(|mut pipe| pipe.read_to_string(&mut nothing)).expect("it is a pipe");
}

fn open_gate(project: &Project) {
    drop(File::options().write(true).open(project.path().join("gate")).expect("the job holds the other end"));
}

#[test]
fn a_detached_driver_is_a_job_that_can_be_followed() {
    let spaced = r#"stage.after.run="echo \"it's  after\" | tee {out.after}/x""#;
    let project = detached(&["--set", spaced]);
    let submitted = submitted(&project);
    let expected = "--parsable --job-name=dnc:p:driver --output=";
    assert!(submitted[0].starts_with(expected) && submitted[0].contains("--mem=1G --partition=short --qos=test"));
    assert!(!submitted[0].contains("--detach") && submitted[0].contains("--signal=B:USR1@60"), "{}", submitted[0]);
    let runs = project.run(&["runs"]).stdout;
    assert!(runs.contains("p/1") && runs.contains("running"), "{runs}");
    let follow = project.command(&["logs", "p", "--follow"]).stdout(Stdio::piped()).spawn().expect("it was built");
    open_gate(&project);
    let followed = Called::of(follow.wait_with_output().expect("it was started"));
    assert_eq!(followed.code, Some(0));
    for expected in ["Run p/1: 3 nodes", "gated: waiting for Slurm job 1003_0", "3 ran"] {
        assert!(followed.stdout.contains(expected), "{expected}: {}", followed.stdout);
    }
    ended(&project);
    assert_eq!(project.read("slurm/1001.state"), "COMPLETED\n");
    assert_eq!(project.nodes("p", "ran").len(), 3);
    assert_eq!(project.read("runs/p/1/logs/after.log"), "it's  after\n", "the arguments arrived as they were");
    let environment = project.read("slurm/environment");
    assert_eq!(environment.matches("SBATCH_ACCOUNT=lab").count(), 4, "what the user sets holds: {environment}");
    for of_a_job in ["SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_MEM_PER", "SBATCH_WAIT"] {
        assert!(!environment.contains(of_a_job), "{environment}");
    }
}

/// Ends a detached driver by a command in which GROUP is the process group of its job, and expects that it is started again.
fn check_started_again(kill: &str, why: &str) {
    let project = detached(&[]);
    let kill = kill.replace("GROUP", project.read("slurm/1001.group").trim());
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("there is a shell").success(), "{kill}");
    open_gate(&project);
    ended(&project);
    let log = project.read("runs/p/driver-1001.log");
    assert!(log.contains(&format!("note: the driver ended: {why}")) && log.contains("Run p/2"), "{log}");
    assert_eq!(project.read("count").split_whitespace().collect::<Vec<_>>(), ["before", "gated", "after"]);
    assert_eq!((project.read("slurm/1001.state").as_str(), submitted(&project).len()), ("COMPLETED\n", 4), "{log}");
    let told = project.run(&["logs", "p/1", "--follow"]);
    assert!(told.stderr.contains("note: p/1 was killed"), "{}", told.stderr);
}

#[test]
fn a_detached_driver_that_is_killed_is_started_again() {
    check_started_again("pkill -KILL -g GROUP -x dnc-run", "it was killed by signal 9");
}

#[test]
fn a_detached_driver_at_its_time_limit_is_started_again() {
    check_started_again("pkill -USR1 -g GROUP -f '^sh [^ ]*1001.script'", "its job reached its time limit");
}

#[test]
fn cancelling_a_detached_driver_cancels_its_jobs() {
    let project = detached(&[]);
    let mut scancel = Command::new("scancel");
    on_a_cluster(&mut scancel, &project);
    assert!(scancel.arg("1001").status().expect("it is a script").success());
    // It returns when the run has ended.
    project.run(&["logs", "p", "--follow"]);
    assert_eq!(project.nodes("p", "cancelled"), ["gated", "after"]);
    assert_eq!(project.read("slurm/1003_0.state"), "CANCELLED\n");
}

#[test]
fn what_is_wrong_with_a_detached_run_is_said_at_once() {
    let project = project(&format!("name = \"p\"\n{}", stage("a", &[], "echo a > {out.a}/x")));
    let check = |words: &[&str], expected: &str| {
        let mut command = project.command(words);
        on_a_cluster(&mut command, &project);
        let called = Called::of(command.output().expect("it was built"));
        assert_eq!((called.code, called.stderr.contains(expected)), (Some(2), true), "{}", called.stderr);
    };
    check(&["p.toml", "--detach"], "`--detach` submits the run to Slurm, so it needs `--executor slurm`");
    let slurm = ["p.toml", "--executor", "slurm", "--detach"];
    check(&[&slurm[..], &["--set", "stage.a.rnu=1"]].concat(), "rnu");
    check(&[&slurm[..], &["--until", "b"]].concat(), "`b`");
    check(&[&["watch"], &slurm[..]].concat(), "it has no `--detach`");
    check(&slurm[1..], "name a manifest");
    project.write("dnc.toml", "[executor.slurm.driver]\nmemroy = 1\n");
    check(&slurm, "unknown field `memroy`");
    project.write("dnc.toml", SETTINGS);
    project.write("p.toml", "name = ");
    check(&slurm, "p.toml");
    project.assert_no_files_in("slurm");
    project.assert_no_files_in("runs");
}
