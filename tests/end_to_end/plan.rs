//! `plan` and `--dry-run`: what would run, how long it will take and how much it will write.

use std::fs;

use serde_json::Value;

use crate::project::Project;

/// first → second → third, of which each sleeps and writes as much as the seed says.
const MANIFEST: &str = r#"
name = "waits"
seed = 1000

[stage.first]
kind = "command"
run = "sleep 0.3; head -c {seed} /dev/zero > {out.x}/x"
outputs = { x = "files" }

[stage.second]
kind = "command"
in = { x = "first" }
run = "sleep 0.2; cat {in.x} > {out.x}/x"
outputs = { x = "files" }

[stage.beside]
kind = "command"
run = "sleep 0.1; echo > {out.x}/x; : {seed}"
outputs = { x = "files" }
"#;

fn waits() -> Project {
    let project = Project::new();
    project.write("waits.toml", MANIFEST);
    project
}

fn json_of(project: &Project, arguments: &[&str]) -> Value {
    let called = project.run(&[arguments, &["--json"]].concat());
    serde_json::from_str(&called.stdout).expect("it is JSON")
}

#[test]
fn a_plan_says_what_the_run_will_take_from_what_earlier_runs_took() {
    let project = waits();
    let told = project.run(&["plan", "waits.toml"]);
    assert!(told.stderr.contains("No estimate of time and space"), "{}", told.stderr);
    let json = json_of(&project, &["plan", "waits.toml"]);
    assert_eq!((&json["expected"]["known_nodes"], &json["expected"]["unknown_nodes"]), (&0.into(), &3.into()));
    assert_eq!(json["nodes"][0]["expected"], Value::Null);

    project.run(&["waits.toml"]);
    let told = project.run(&["plan", "waits.toml"]);
    assert!(!told.stderr.contains("About") && !told.stdout.contains("about"), "{}{}", told.stdout, told.stderr);

    // Runs that only hit say nothing of the time.
    project.run(&["waits.toml"]);
    let again = ["waits.toml", "--set", "seed=2000", "--jobs", "4", "--threads", "4"];
    let json = json_of(&project, &[&["plan"], &again[..]].concat());
    let first = &json["nodes"][0]["expected"];
    assert_eq!((&first["run"], &first["node"], &first["bytes"]), (&"waits/1".into(), &"first".into(), &1000.into()));
    let expected = &json["expected"];
    let seconds = expected["seconds"].as_f64().expect("a number");
    assert!((0.5..60.0).contains(&seconds), "`second` waits for `first`: {expected}");
    assert_eq!(
        (&expected["known_nodes"], &expected["unknown_nodes"], &expected["bytes"]),
        (&3.into(), &0.into(), &2001.into())
    );
    assert!(expected["free_bytes"].as_u64().expect("the system says it") > 0);
    let one_job = json_of(&project, &["plan", "waits.toml", "--set", "seed=2000", "--jobs", "1"]);
    assert!(one_job["expected"]["seconds"].as_f64().expect("a number") >= 0.6, "{one_job}");

    let told = project.run(&[&again[..], &["--dry-run"]].concat());
    assert!(told.stdout.contains("first   stale: seed: 1000 → 2000; about "), "{}", told.stdout);
    assert!(told.stdout.contains("unknown until first has run; about "), "{}", told.stdout);
    assert!(told.stderr.contains(" with 4 threads, 2.0 kB to write\n"), "{}", told.stderr);

    // Of a stage with new nodes, and of a new stage.
    let more = MANIFEST.replace("[stage.second]", "[rounds]\nlearners = [1, 1]\n\n[stage.second]\nper = \"round\"");
    // A text of its own, since the rounds would be hits otherwise.
    let more = more.replace("cat {in.x} >", "cat {in.x} {in.x} >");
    let more = more + "\n[stage.last]\nkind = \"command\"\nrun = \"echo > {out.x}/x\"\noutputs = { x = \"files\" }\n";
    project.write("more.toml", more.replace("\"waits\"", "\"more\""));
    let json = json_of(&project, &["plan", "more.toml"]);
    let of = |node: &str| {
        let nodes = json["nodes"].as_array().expect("a list");
        nodes.iter().find(|one| one["node"] == node).unwrap_or_else(|| panic!("{json}"))["expected"].clone()
    };
    assert_eq!((&of("second@1")["node"], &of("second@1")["run"]), (&"second".into(), &"waits/1".into()));
    assert_eq!(of("last"), Value::Null);
    let told = project.run(&["plan", "more.toml"]).stderr;
    assert!(told.contains("nodes; 1 never ran"), "{told}");
}

#[test]
fn a_manifest_that_is_not_there_is_not_watched() {
    let called = waits().call(&["watch", "wait.toml"]);
    assert_eq!((called.code, called.stderr.as_str()), (Some(2), "error: There is no manifest `wait.toml` to watch\n"));
}

#[test]
fn plan_takes_the_options_of_a_run_that_choose_nodes() {
    let project = waits();
    project.run(&["waits.toml"]);
    let told = project.run(&["plan", "waits.toml", "--from", "second", "--until", "second"]).stdout;
    assert!(told.contains("second  stale: requested with --from") && !told.contains("beside"), "{told}");
    let told = project.run(&["plan", "waits.toml", "--vary", "seed=1,2", "--until", "first"]).stdout;
    assert!(told.starts_with("seed=1\nfirst") && told.contains("\nseed=2\nfirst"), "{told}");
    let refused = project.call(&["plan", "waits.toml", "--vary", "seed=1,2", "--json"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("use `--set` for one of them"), "{}", refused.stderr);
    for (option, expected) in [
        ("--jobs=0", "at least 1"),
        ("--threads=100000", "at most 4096"),
        ("--gpus=0,x", "a whole number of at least 0"),
    ] {
        let refused = project.call(&["plan", "waits.toml", option]);
        assert!(refused.code == Some(2) && refused.stderr.contains(expected), "{}", refused.stderr);
    }
    assert!(project.call(&["waits.toml", "--jobs", "-1"]).stderr.contains("at least 1"));
}

#[test]
fn a_wrong_override_is_one_error_that_is_underlined_there() {
    let project = Project::new();
    let quickstart = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/quickstart.toml");
    for (set, place, message) in [
        ("stage.init.crop=1000", "--> --set:1:17", "`crop` is 1000 and `resize` is 48"),
        ("stage.train.miner.knd=hard", "--> --set:1:13", "Did you mean `kind` instead of `knd`?"),
        ("stage.train.schedule.knd=step", "--> --set:1:22", "Did you mean `kind`?"),
        ("stage.decode.corrections.x=1", "--> --set:1:14", "`corrections` must be"),
        ("stage.decode.limits.byts=1", "--> --set:1:21", "Did you mean `bytes`?"),
    ] {
        let refused = project.call(&["plan", quickstart, "--store", "store", "--runs", "runs", "--set", set]);
        assert_eq!((refused.code, refused.stderr.matches("error: ").count()), (Some(2), 1), "{}", refused.stderr);
        assert!(refused.stderr.contains(place) && refused.stderr.contains(message), "{set}: {}", refused.stderr);
    }
}

#[test]
fn what_does_not_exist_is_called_so() {
    let project = waits();
    let told = project.call(&["runs", "rm", "nope"]).stderr;
    assert!(told.contains("Cannot find run `nope`"), "{told}");
    project.write("cat.jpg", [0xff_u8, 0xd8, 0xff]);
    let told = project.call(&["init", "cat.jpg"]).stderr;
    assert!(told.contains("`cat.jpg` is an image; name a folder of images"), "{told}");
}

#[test]
fn a_manifest_alone_is_not_taken_for_a_node() {
    let project = waits();
    for command in ["explain", "show"] {
        let called = project.call(&[command, "waits.toml"]);
        assert_eq!(called.code, Some(2));
        let expected = format!("`{command}` needs a node, as in `dnc-run {command} waits.toml NODE`");
        assert!(called.stderr.contains(&expected), "{}", called.stderr);
    }
}

#[test]
fn a_command_that_only_reads_makes_no_store() {
    let project = waits();
    let remote = project.path().join("remote").display().to_string();
    for call in [
        &["plan", "waits.toml"][..],
        &["plan", "waits.toml", "--json"],
        &["waits.toml", "--dry-run"],
        &["explain", "waits.toml", "first"],
        &["show", "waits.toml", "first"],
        &["graph", "waits.toml"],
        &["cache", "ls"],
        &["cache", "ls", "--json"],
        &["cache", "verify"],
        &["cache", "gc", "--keep", "0"],
        &["cache", "status", "--remote", &remote],
        &["cache", "push", "--remote", &remote],
        &["runs"],
        &["logs", "waits", "first"],
        &["doctor"],
        &["report", "waits"],
    ] {
        let called = project.call(call);
        project.assert_no_files_in(".dnc");
        assert!(!project.path().join(".dnc/store").exists(), "{call:?}: {}", called.stderr);
        assert!(call[0] != "cache" || called.stderr.contains("There is no store in"), "{call:?}: {}", called.stderr);
    }
    project.run(&["waits.toml"]);
    fs::rename(project.path().join(".dnc/store"), project.path().join("elsewhere")).expect("it is a folder");
    for call in [&["get", "waits", "first.x"][..], &["export", "waits", "model"]] {
        let called = project.call(call);
        assert!(called.code != Some(0) && !project.path().join(".dnc/store").exists(), "{call:?}: {}", called.stderr);
    }
    assert!(!project.path().join("model").exists(), "an export that failed leaves no folder");
    let told = project.call(&["get", "waits", "first.x"]).stderr;
    assert!(told.contains(".dnc/store`; `dnc-run"), "{told}");
}
