//! Where store and runs lie when nothing marks a project's root.

use std::fs;

use crate::project::Project;

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
