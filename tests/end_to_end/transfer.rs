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
            refused(&["cache", "push", "--remote", "ftp://host/share"]),
            refused(&["cache", "push", "--remote", "thesis"]),
            refused(&["cache", "pull", "--remote", "thesis"]),
            refused(&["cache", "pull", "--remote", "pair.toml"]),
        ]
        .concat(),
        @r#"
    2 error: The remote `ftp://host/share` has the unsupported scheme `ftp`; use a folder, or a URL with `file://`, `s3://` or `https://`
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

#[test]
fn a_run_reads_through_and_fetches_only_the_bytes_it_needs() {
    let (one, other) = (project(), project());
    let remote = remote_in(&one);
    one.run(&["pair.toml", "--remote", &remote, "--push"]);
    assert_eq!(one.files_in("remote/records").len(), 2, "both nodes were sent when they were done");

    other.write("dnc.toml", format!("[remote]\nurl = {remote:?}\n"));
    other.run(&["pair.toml"]);
    assert_eq!(other.nodes("pair", "hit"), ["first", "second"]);
    assert_eq!(other.digests("pair"), one.digests("pair"));
    assert_eq!(other.files_in(".dnc/store/blobs").len(), 1, "nobody needed the bytes of `first`");
    assert_eq!(other.call(&["cache", "verify"]).code, Some(0));

    // A changed second node needs the bytes of the first.
    other.write("pair.toml", other.read("pair.toml").replace("cat {in.x} {in.x}", "cat {in.x}"));
    other.run(&["pair.toml"]);
    assert_eq!(other.nodes("pair", "hit"), ["first"]);
    assert_eq!(other.nodes("pair", "ran"), ["second"]);

    // With everything in the store, the remote is not even opened.
    fs::remove_dir_all(&remote).expect("it is ours");
    fs::write(&remote, "no remote").expect("it is ours");
    let called = other.run(&["pair.toml"]);
    assert_eq!(other.nodes("pair", "hit"), ["first", "second"]);
    assert!(!called.stderr.contains("without the remote"), "{}", called.stderr);
}

#[test]
fn what_a_pushing_run_only_found_in_the_remote_is_kept_there_for_it() {
    let (one, other) = (project(), project());
    let remote = remote_in(&one);
    one.run(&["pair.toml", "--remote", &remote, "--push"]);
    let projects = || one.files_in("remote/roots").len();
    other.run(&["pair.toml", "--remote", &remote, "--push"]);
    assert_eq!((other.nodes("pair", "hit").len(), projects()), (2, 2));
    // If everything is in the store, no request is sent.
    fs::remove_dir_all(one.path().join("remote/roots")).expect("it is ours");
    other.run(&["pair.toml", "--remote", &remote, "--push"]);
    assert_eq!((other.nodes("pair", "hit").len(), projects()), (2, 0));
}

#[test]
fn a_run_goes_on_without_a_remote_that_fails_and_says_so_once() {
    let project = project();
    project.write("not-a-folder", "");
    for remote in ["not-a-folder", "s3://bucket/prefix", "ftp://host/share"] {
        let mut run = project.command(&["pair.toml", "--from", "first", "--remote", remote, "--push"]);
        // Nobody listens there, and no credentials are looked for elsewhere.
        let run = run.envs([
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
            ("AWS_ACCESS_KEY_ID", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
        ]);
        project.write("dnc.toml", "[remote]\npatience = 0\n");
        let called = crate::project::Called::of(run.output().expect("the binary was built for this test"));
        assert_eq!(called.code, Some(0), "{}", called.stderr);
        assert_eq!(project.nodes("pair", "ran"), ["first", "second"]);
        assert_eq!(called.stderr.matches("goes on without the remote").count(), 1, "{}", called.stderr);
    }
}

#[test]
fn what_a_run_could_not_send_the_next_one_sends() {
    let project = project();
    let remote = remote_in(&project);
    // Its parent folder does not exist, as if a share were not mounted.
    project.run(&["pair.toml", "--push", "--remote", "not-mounted/remote"]);
    // With other settings, and without sending.
    project.run(&["pair.toml", "--set", "stage.first.run='echo two > {out.x}/x'"]);
    project.run(&["pair.toml", "--set", "stage.first.run='echo two > {out.x}/x'", "--push", "--remote", &remote]);
    assert_eq!(project.nodes("pair", "hit"), ["first", "second"]);
    assert_eq!(project.files_in("remote/records").len(), 4, "two of the first run, and two that were found");

    // Everything has been sent: no request is sent any more.
    fs::remove_dir_all(&remote).expect("it is ours");
    project.run(&["pair.toml", "--push", "--remote", &remote]);
    assert!(!project.path().join("remote").exists());
}

#[test]
fn damaged_records_and_blobs_are_not_read_through() {
    for folder in ["records", "blobs"] {
        let (one, other) = (project(), project());
        let remote = remote_in(&one);
        one.run(&["pair.toml", "--remote", &remote, "--push"]);
        for object in one.files_in(&format!("remote/{folder}")) {
            overwrite(&object, |bytes| bytes[0] ^= 1);
        }
        let called = other.run(&["pair.toml", "--remote", &remote]);
        assert!(called.stderr.contains("damaged"), "{}", called.stderr);
        assert_eq!(other.digests("pair"), one.digests("pair"));
        assert_eq!(other.call(&["cache", "verify"]).code, Some(0));
    }
}

#[test]
fn status_says_what_each_side_lacks() {
    let project = project();
    let remote = remote_in(&project);
    project.run(&["pair.toml", "--until", "first"]);
    project.run(&["cache", "push", "--remote", &remote]);
    project.run(&["pair.toml"]);
    let status = project.run(&["cache", "status", "pair", "--remote", &remote]);
    assert!(status.stdout.starts_with("`second` (key "), "{}", status.stdout);
    assert!(status.stdout.contains("only in the store; `cache push` sends it"), "{}", status.stdout);
    let summary = format!("1 records are in both; `cache push` would send 1 records and 1 blobs (8 B) to `{remote}`");
    assert_eq!(status.stderr.trim(), summary);
    fs::remove_dir_all(project.path().join(".dnc/store")).expect("it is ours");
    let status = project.run(&["cache", "status", "pair", "--json", "--remote", &remote]);
    assert!(status.stdout.contains("\"only_remote\""), "{}", status.stdout);
}

/// A project with twenty nodes, enough for a pack.
fn twenty() -> Project {
    let project = Project::new();
    let stage = |number: usize| {
        format!(
            "[stage.n{number}]\nkind = \"command\"\nrun = \"echo {number} > {{out.x}}/x\"\noutputs = {{ x = \"files\" }}\n"
        )
    };
    project.write("many.toml", format!("name = \"many\"\n{}", (0..20).map(stage).collect::<String>()));
    project
}

#[test]
fn many_small_nodes_travel_in_a_pack() {
    let (one, other, third) = (twenty(), twenty(), twenty());
    let remote = remote_in(&one);
    one.run(&["many.toml"]);
    let pushed = one.run(&["cache", "push", "--remote", &remote]);
    assert!(pushed.stderr.starts_with("pushed 20 records and 20 blobs"), "{}", pushed.stderr);
    assert_eq!(one.files_in("remote/packs").len(), 1);
    assert_eq!(fs::read_dir(one.path().join("remote/blobs")).into_iter().flatten().count(), 0);
    other.run(&["many.toml", "--remote", &remote]);
    assert_eq!(other.nodes("many", "hit").len(), 20);
    other.run(&["cache", "pull", "many", "--remote", &remote]);
    assert_eq!(other.files_in(".dnc/store/blobs").len(), 20);
    assert_eq!(other.call(&["cache", "verify"]).code, Some(0));
    let status = other.run(&["cache", "status", "--remote", &remote]);
    assert!(
        status.stderr.starts_with("20 records are in both; `cache push` would send 0 records and 0 blobs"),
        "{}",
        status.stderr
    );

    let pack = one.files_in("remote/packs").remove(0);
    overwrite(&pack, |bytes| *bytes.last_mut().expect("it is not empty") ^= 1);
    let pulled = third.call(&["cache", "pull", "--remote", &remote]);
    assert_eq!(pulled.code, Some(1), "{}", pulled.stderr);
    assert!(pulled.stderr.contains("note: `packs/") && pulled.stderr.contains("delete it there"), "{}", pulled.stderr);
    third.run(&["many.toml"]);
    assert_eq!((third.nodes("many", "hit").len(), third.nodes("many", "ran").len()), (19, 1));
    assert_eq!(third.digests("many"), one.digests("many"));
}

#[test]
fn gc_in_a_remote_keeps_what_any_project_needs() {
    let (one, other, third) = (project(), project(), project());
    let remote = remote_in(&one);
    other.write("pair.toml", other.read("pair.toml").replace("echo one", "echo two"));
    one.run(&["pair.toml"]);
    one.run(&["cache", "push", "--remote", &remote]);
    other.run(&["pair.toml", "--remote", &remote, "--push"]);
    let gc = |project: &Project, arguments: &[&str]| {
        let called = project.run(&[&["cache", "gc", "--remote", &remote], arguments].concat());
        (called.stdout, called.stderr)
    };
    let records = || one.files_in("remote/records").len();
    let (kept, summary) = gc(&other, &["--yes", "--grace", "0s"]);
    assert_eq!((kept.lines().count(), records()), (2, 4), "{kept}");
    assert!(kept.lines().all(|line| line.contains(": 2 keys")), "{kept}");
    assert!(summary.contains("removed 0 records, 0 blobs and 0 packs"), "{summary}");

    // Without the last runs of `other`, nobody needs its nodes. The default grace period keeps them, and so does a missing `--yes`.
    assert!(gc(&other, &["--keep", "0", "--yes"]).1.contains("2 of them only because they are younger than 14 d"));
    let (_, summary) = gc(&other, &["--keep", "0", "--grace", "0s"]);
    assert!(summary.contains("would remove 2 records, 2 blobs") && summary.contains("add `--yes`"), "{summary}");
    assert_eq!(records(), 4);
    let (_, summary) = gc(&other, &["--keep", "0", "--grace", "0s", "--yes"]);
    assert!(summary.contains("removed 2 records, 2 blobs"), "{summary}");
    assert_eq!((records(), one.files_in("remote/blobs").len()), (2, 2));
    third.run(&["pair.toml", "--remote", &remote]);
    assert_eq!(third.nodes("pair", "hit").len(), 2, "what `one` needs is there");

    // A project that has not pushed for long can be forgotten.
    for root in one.files_in("remote/roots") {
        let file = fs::File::open(&root).expect("it is ours");
        let modified = fs::metadata(&root).and_then(|metadata| metadata.modified()).expect("it is ours");
        file.set_modified(modified - std::time::Duration::from_secs(100 * 86400)).expect("it is ours");
    }
    let (_, summary) = gc(&other, &["--keep", "0", "--grace", "0s", "--yes", "--forget", "60d", "--json"]);
    assert!(summary.contains("which last pushed 100 d ago"), "{summary}");
    assert_eq!((records(), one.files_in("remote/roots").len()), (0, 1));
    for refused in [&["--grace", "1d"][..], &["--yes"], &["--remote", &remote, "--older-than", "1d"]] {
        assert_eq!(one.call(&[&["cache", "gc"], refused].concat()).code, Some(2));
    }
}
