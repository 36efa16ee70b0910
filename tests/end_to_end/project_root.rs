//! Where store and runs lie when nothing marks a project's root.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use crate::project::{Called, Project};

const MANIFEST: &str =
    "name = \"p\"\n[stage.a]\nkind = \"command\"\nrun = \"echo a > {out.a}/a\"\noutputs = { a = \"files\" }\n";

#[test]
fn a_first_run_makes_the_current_folder_the_project_so_that_later_calls_find_it() {
    let project = Project::new();
    fs::remove_dir(project.path().join(".dnc")).expect("it is empty");
    project.write("pipelines/p.toml", MANIFEST);
    project.run(&["pipelines/p.toml"]);
    assert!(project.path().join(".dnc/store").is_dir() && project.path().join("runs/p/1").is_dir());
    assert!(project.run(&["runs"]).stdout.contains("p/1"));
    assert!(project.run(&["--dry-run"]).stdout.contains("hit"));
}

#[test]
fn a_command_that_was_taken_for_a_manifest_is_named() {
    let project = Project::new();
    for arguments in [&["plna"][..], &["--store", "store", "plan"]] {
        let called = project.call(arguments);
        assert_eq!(called.code, Some(2));
        assert!(called.stderr.contains("write `dnc-run plan` with its options after it"), "{}", called.stderr);
    }
}

#[test]
fn a_project_that_was_moved_still_has_its_results() {
    let project = Project::new();
    project.write("old/p.toml", MANIFEST);
    fs::create_dir(project.path().join("old/.dnc")).expect("the folder is new");
    let call = |folder: &str, arguments: &[&str]| {
        let mut command = project.command(arguments);
        Called::of(command.current_dir(project.path().join(folder)).output().expect("the binary was built"))
    };
    let first = call("old", &["p.toml"]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    fs::rename(project.path().join("old"), project.path().join("new")).expect("nothing is in the way");
    let got = call("new", &["get", "p", "a.a", "out"]);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    assert_eq!(project.read("new/out/a"), "a\n");
    let again = call("new", &["--dry-run"]);
    assert!(again.stdout.contains("hit"), "{}{}", again.stdout, again.stderr);
}

#[test]
fn a_name_that_no_run_can_record_is_refused_before_there_is_one() {
    let project = Project::new();
    let name = OsStr::from_bytes(b"\xff.toml");
    fs::write(project.path().join(name), MANIFEST).expect("the file system takes any bytes");
    let called = Called::of(project.command(&[]).arg(name).output().expect("the binary was built"));
    assert_eq!(called.code, Some(2), "{}", called.stderr);
    assert!(called.stderr.contains("is not valid UTF-8, so that `run.json` cannot record it"), "{}", called.stderr);
    assert!(!project.path().join("runs").exists());
}
