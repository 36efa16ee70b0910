//! `cache push` and `cache pull`: sharing results through a folder.

use std::fs;

use crate::project::{Project, overwrite};

/// A project with two nodes, of which the second reads the output of the first.
fn project() -> Project {
    let project = Project::new();
    let first = "[stage.first]\nkind = \"command\"\nrun = 'echo one > {out.x}/x'\noutputs = { x = \"files\" }\n";
    let second = "[stage.second]\nkind = \"command\"\nin = { x = \"first\" }\nrun = 'cat {in.x} {in.x} > {out.y}/y'\noutputs = { y = \"files\" }\n";
    project.write("pair.toml", format!("name = \"pair\"\n{first}{second}"));
    project
}

/// The path of a remote in the project `owner`.
fn remote_in(owner: &Project) -> String {
    owner.path().join("remote").to_str().expect("temp folders have plain names").to_owned()
}

#[test]
fn a_pulled_run_is_all_hits() {
    let (one, other) = (project(), project());
    let remote = remote_in(&one);
    one.run(&["pair.toml"]);
    let pushed = one.run(&["cache", "push", "pair", "--remote", &remote]);
    let summary = format!("pushed 2 records and 2 blobs (12 B) to `{remote}`; 0 records were there already");
    assert_eq!(pushed.stderr.trim(), summary);
    let again = one.run(&["cache", "push", "--remote", &format!("file://{remote}")]);
    let summary = format!("pushed 0 records and 0 blobs (0 B) to `{remote}`; 2 records were there already");
    assert_eq!(again.stderr.trim(), summary);

    // The remote can also be given by an environment variable, and `all` is the same as no run.
    let mut pull = other.command(&["cache", "pull", "all"]);
    let pulled = pull.env("DNC_REMOTE", &remote).output().expect("the binary was built for this test");
    assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
    other.run(&["pair.toml"]);
    assert_eq!(other.nodes("pair", "hit"), ["first", "second"]);
    assert_eq!(other.digests("pair"), one.digests("pair"));
    assert_eq!(other.call(&["cache", "verify"]).code, Some(0));
}

#[test]
fn a_run_folder_names_what_is_pulled() {
    let project = project();
    let remote = remote_in(&project);
    project.run(&["pair.toml"]);
    project.write("pair.toml", project.read("pair.toml").replace("echo one", "echo two"));
    project.run(&["pair.toml"]);
    project.run(&["cache", "push", "pair/1-2", "--remote", &remote]);
    fs::remove_dir_all(project.path().join(".dnc/store")).expect("it is ours");
    let pulled = project.run(&["cache", "pull", "pair/1", "--remote", &remote]);
    assert!(pulled.stderr.starts_with("pulled 2 records and 2 blobs"), "{}", pulled.stderr);
    project.run(&["pair.toml"]);
    assert_eq!(project.nodes("pair", "ran"), ["first", "second"], "only the first run was pulled");
    project.write("pair.toml", project.read("pair.toml").replace("echo two", "echo one"));
    project.run(&["pair.toml"]);
    assert_eq!(project.nodes("pair", "hit"), ["first", "second"]);
}

#[test]
fn damage_in_the_remote_is_refused_and_the_node_runs_again() {
    let (one, other) = (project(), project());
    let remote = remote_in(&one);
    one.run(&["pair.toml"]);
    one.run(&["cache", "push", "--remote", &remote]);
    let second =
        one.files_in("remote/blobs").into_iter().find(|blob| fs::read(blob).is_ok_and(|bytes| bytes.len() == 8));
    let second = second.expect("both outputs were pushed");
    overwrite(&second, |bytes| bytes[0] ^= 1);

    let pulled = other.call(&["cache", "pull", "--remote", &remote]);
    assert_eq!(pulled.code, Some(1), "{}{}", pulled.stdout, pulled.stderr);
    let digest = second.file_name().and_then(|name| name.to_str()).expect("blobs are named by digest");
    assert!(pulled.stdout.contains(&format!("its blob `{}` is damaged", &digest[..10])), "{}", pulled.stdout);
    assert!(pulled.stderr.contains("delete it there and push it again"), "{}", pulled.stderr);
    assert!(pulled.stderr.contains("pulled 1 records and 1 blobs"), "{}", pulled.stderr);
    other.run(&["pair.toml"]);
    assert_eq!(other.nodes("pair", "hit"), ["first"]);
    assert_eq!(other.nodes("pair", "ran"), ["second"]);
    assert_eq!(other.digests("pair"), one.digests("pair"));

    fs::remove_file(&second).expect("it is ours");
    other.run(&["cache", "push", "--remote", &remote]);
    let third = project();
    third.run(&["cache", "pull", "--remote", &remote]);
    third.run(&["pair.toml"]);
    assert_eq!(third.nodes("pair", "hit"), ["first", "second"]);
}

#[test]
fn remotes_that_cannot_be_used_are_refused() {
    let project = project();
    project.run(&["pair.toml"]);
    project.write("thesis/thesis.tex", "");
    let refused = |arguments: &[&str]| {
        let called = project.call(arguments);
        let here = project.path().to_str().expect("temp folders have plain names");
        format!("{} {}", called.code.unwrap_or_default(), called.stderr.replace(here, "HERE"))
    };
    insta::assert_snapshot!(
        [
            refused(&["cache", "push", "--remote", "s3://bucket/prefix"]),
            refused(&["cache", "push", "--remote", "thesis"]),
            refused(&["cache", "pull", "--remote", "thesis"]),
            refused(&["cache", "pull", "--remote", "pair.toml"]),
        ]
        .concat(),
        @r#"
    2 error: The remote `s3://bucket/prefix` has the unsupported scheme `s3`; use a folder or a `file://` URL
    1 error: `HERE/thesis` is not a remote store and is not empty; it contains `thesis.tex`
    1 error: There is no remote store at `HERE/thesis`; `cache push` creates one
    2 error: The remote `pair.toml` cannot be used: it is not a folder
    "#
    );
    let missing = project.call(&["cache", "pull"]);
    assert_eq!(missing.code, Some(2));
    assert!(missing.stderr.contains("--remote <URL>"), "{}", missing.stderr);
    project.assert_no_files_in("remote");
}
