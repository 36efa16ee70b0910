//! A store that several processes use, some of which are killed.
//!
//! A test that needs another process starts its own binary again with the name of the test and a role.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashSet;
use std::error::Error as _;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use common::{compute, names_below};
use dnc_cache::{CacheError, GcPolicy, Key, Record, Store};

const ROLE: &str = "DNC_CACHE_TEST_ROLE";
const ROOT: &str = "DNC_CACHE_TEST_ROOT";

/// The command that runs `test` in another process, with a role and the store in `root`.
fn start(test: &str, role: &str, root: &Path) -> Command {
    with_role(Command::new(std::env::current_exe().unwrap()), test, role, root)
}

fn with_role(mut command: Command, test: &str, role: &str, root: &Path) -> Command {
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(ROOT, root)
        .stdout(Stdio::piped());
    command
}

/// The role of this process and its store, if it was started by [`start`].
fn role() -> Option<(String, std::path::PathBuf)> {
    Some((std::env::var(ROLE).ok()?, std::env::var_os(ROOT)?.into()))
}

/// Sends a message to the parent process.
fn say(word: &str) {
    // The test framework writes to the same stream, and not always whole lines.
    println!("\n>{word}");
    std::io::stdout().flush().unwrap();
}

/// The messages of a child process.
fn words(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::<ChildStdout>::new(child.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).filter_map(|line| line.strip_prefix('>').map(str::to_owned))
}

#[test]
fn each_key_is_computed_once() {
    const TEST: &str = "each_key_is_computed_once";
    const TASKS: usize = 25;
    if let Some((role, root)) = role() {
        let store = Store::open(root).unwrap();
        for task in 0..TASKS {
            // Every process starts with another key, so that they contend for different keys.
            let task = format!("task {}", (task + role.parse::<usize>().unwrap() * 7) % TASKS);
            let claim = store.claim(&Key::of(&task), &|| false, &mut |_| ()).unwrap();
            if store.record(&Key::of(&task)).unwrap().is_none() {
                say(&task);
                common::compute_claimed(&store, claim, &task, &[("x", task.as_bytes())]).unwrap();
            }
        }
        return store.flush().unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let mut children: Vec<_> = ["0", "1", "2", "3"].map(|role| start(TEST, role, &root).spawn().unwrap()).into();
    let mut computed: Vec<_> = children.iter_mut().flat_map(|child| words(child).collect::<Vec<_>>()).collect();
    assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    computed.sort();
    let mut once: Vec<_> = (0..TASKS).map(|task| format!("task {task}")).collect();
    once.sort();
    assert_eq!(computed, once);
    let store = Store::open(&root).unwrap();
    let report = store.verify(&|_, _| ()).unwrap();
    assert!(report.is_clean());
    assert_eq!((report.records, report.blobs), (TASKS as u64, TASKS as u64));
}

#[test]
fn a_claim_ends_when_its_process_is_killed() {
    const TEST: &str = "a_claim_ends_when_its_process_is_killed";
    let key = Key::of("task");
    if let Some((_, root)) = role() {
        let store = Store::open(root).unwrap();
        let _claim = store.try_claim(&key).unwrap().unwrap();
        let folder = store.task_folder().unwrap();
        fs::write(folder.path().join("half"), "half").unwrap();
        fs::write(store.scratch(&key).unwrap().join("epoch-1"), "weights").unwrap();
        say("claimed");
        loop {
            std::thread::park();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = Store::open(&root).unwrap();
    let mut child = start(TEST, "holder", &root).spawn().unwrap();
    assert_eq!(words(&mut child).next().as_deref(), Some("claimed"));

    assert!(store.try_claim(&key).unwrap().is_none());
    let mut holders = Vec::new();
    let asked = std::cell::Cell::new(0);
    let three_times = || {
        asked.set(asked.get() + 1);
        asked.get() > 3
    };
    let error = store.claim(&key, &three_times, &mut |holder| holders.push(holder)).unwrap_err();
    assert!(matches!(error, CacheError::Cancelled { key: cancelled } if cancelled == key));
    assert_eq!(holders, [Some(child.id())], "reported once");
    assert_eq!(store.gc(&GcPolicy::default()).unwrap().temporary, 0, "the folder is in use");

    child.kill().unwrap();
    child.wait().unwrap();
    drop(store.claim(&key, &|| false, &mut |_| ()).unwrap());
    assert_eq!(names_below(&store.scratch(&key).unwrap()), ["epoch-1"]);
    assert_eq!(
        store.gc(&GcPolicy::default()).unwrap().temporary,
        2,
        "its folder, and the file that its claims linked to"
    );
    assert_eq!(names_below(&root.join("claims")), [""; 0]);
}

#[test]
fn a_kill_at_any_instant_leaves_an_intact_store() {
    const TEST: &str = "a_kill_at_any_instant_leaves_an_intact_store";
    if let Some((role, root)) = role() {
        let store = Store::open(root).unwrap();
        for task in 0.. {
            let task = format!("{role}, task {task}");
            compute(&store, &task, &[("x", task.as_bytes()), ("same", b"same"), ("large", &vec![1; 100_000])]).unwrap();
            say(&task);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let mut durable = HashSet::new();
    for round in 0..6 {
        let mut child = start(TEST, &format!("round {round}"), &root).spawn().unwrap();
        // The process continues while we read, so it is killed at a random instant of a later task.
        assert_eq!(words(&mut child).take(1 + 7 * round).count(), 1 + 7 * round);
        child.kill().unwrap();
        child.wait().unwrap();

        let store = Store::open(&root).unwrap();
        assert!(store.verify(&|_, _| ()).unwrap().is_clean());
        let records = store.ls().unwrap().records;
        let keys: HashSet<Key> = records.iter().map(|entry| entry.record.key).collect();
        assert!(keys.is_superset(&durable), "no record is lost");
        for Record { outputs, .. } in records.into_iter().map(|entry| entry.record) {
            assert!(store.present(&outputs["out"]).unwrap());
        }
        durable = keys;
        // A task that was interrupted can simply be computed again.
        compute(&store, &format!("round {round}, task {}", 7 * round), &[("x", b"again")]).unwrap();
        store.flush().unwrap();
        store.gc(&GcPolicy { keep: durable.clone(), ..GcPolicy::default() }).unwrap();
        assert_eq!(
            names_below(&root.join("tmp")).len(),
            3,
            "the living session's lock, its spare folder, and the file that its claims link to"
        );
        assert_eq!(names_below(&root.join("claims")), [""; 0]);
    }
}

/// A limit on file sizes makes writes fail halfway, as a full disk does.
#[test]
fn a_full_disk_is_an_error_and_leaves_nothing_partial() {
    const TEST: &str = "a_full_disk_is_an_error_and_leaves_nothing_partial";
    if let Some((_, root)) = role() {
        let store = Store::open(root).unwrap();
        compute(&store, "small", &[("x", b"1")]).unwrap();
        let name = "a name that makes the record larger than the limit ".repeat(100);
        compute(&store, &name, &[("x", b"2")]).unwrap();
        let error = store.flush().unwrap_err();
        say(&error.to_string());
        let path = store.root().to_str().unwrap().to_owned();
        say(&error.source().unwrap().to_string().replace(&path, "ROOT"));
        assert!(store.record(&Key::of(&name)).unwrap().is_none());
        assert!(store.record(&Key::of("small")).unwrap().is_some());
        let pack = fs::read_to_string(store.root().join("records/pack")).unwrap();
        assert!(pack.ends_with("\"\n"), "nothing partial: {pack}");
        compute(&store, "another small", &[("x", b"3")]).unwrap();
        return store.flush().unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let mut shell = Command::new("sh");
    // Four blocks of 512 bytes (1 KiB in some shells). The signal that would kill the process is ignored.
    shell.args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    let mut child = with_role(shell, TEST, "writer", &root).spawn().unwrap();
    let words: Vec<_> = words(&mut child).collect();
    assert!(child.wait().unwrap().success());
    assert_eq!(words[0], "Could not commit 1 record to the store");
    assert_eq!(words[1], "No space is left to write `ROOT/records/pack`; nothing partial was kept");
    let store = Store::open(&root).unwrap();
    let report = store.verify(&|_, _| ()).unwrap();
    assert!(report.is_clean());
    assert_eq!(report.records, 2);
}

#[test]
fn a_read_only_store_is_a_clear_error() {
    const TEST: &str = "a_read_only_store_is_a_clear_error";
    const NOBODY: u32 = 65534;
    if let Some((_, root)) = role() {
        let error = Store::open(&root).unwrap_err();
        return say(&error.to_string().replace(root.to_str().unwrap(), "ROOT"));
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    drop(Store::open(&root).unwrap());
    for path in [root.clone(), root.join("tmp")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    }
    // The superuser may write everywhere, so the test continues as a user who may not even read this binary's folder.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = with_role(Command::new(&program), TEST, "reader", &root);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = loop {
        match command.spawn() {
            // Another test's child process may still have the copy open for writing until it executes its program.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            other => break other.unwrap(),
        }
    };
    let words: Vec<_> = words(&mut child).collect();
    assert!(child.wait().unwrap().success());
    assert_eq!(words, ["The store `ROOT` is read-only; name a folder that can be written to"]);
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_blob_that_was_ingested_before_a_kill_is_verified() {
    const TEST: &str = "a_blob_that_was_ingested_before_a_kill_is_verified";
    if let Some((_, root)) = role() {
        let store = Store::open(root).unwrap();
        common::ingest(&store, "task", &[("x", b"bytes")]).unwrap();
        say("ingested");
        loop {
            std::thread::park();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let mut child = start(TEST, "writer", &root).spawn().unwrap();
    assert_eq!(words(&mut child).next().as_deref(), Some("ingested"));
    child.kill().unwrap();
    child.wait().unwrap();
    let store = Store::open(&root).unwrap();
    let blob = common::blob_path(&store, b"bytes");
    assert!(blob.exists() && !root.join("records/pack").exists());
    // A file that was never synced may have other bytes after a system crash.
    common::overwrite(&blob, b"\0\0\0\0\0", false).unwrap();
    let record = compute(&store, "task", &[("x", b"bytes")]).unwrap();
    store.flush().unwrap();
    assert_eq!(fs::read(&blob).unwrap(), b"bytes");
    assert!(store.present(&record.outputs["out"]).unwrap());
}
