//! A remote in a folder, in which others have left what is no object.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use dnc_cache::{ObjectName, Remote, RemoteOptions, open_remote};

/// Time after which a request hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn remote(folder: &Path) -> Box<dyn Remote> {
    open_remote(folder.to_str().unwrap(), &RemoteOptions::default()).unwrap()
}

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

/// The answer of a request that must not wait for anybody.
fn at_once<T: Send + 'static>(request: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    // It is not joined: a request that hangs must not hang the test.
    thread::spawn(move || send.send(request()));
    receive.recv_timeout(PATIENCE).expect("the request does not hang")
}

#[test]
fn a_pipe_in_the_place_of_an_object_hangs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("remote");
    let (object, pipe) = (name("blobs/a/object"), name("blobs/a/pipe"));
    remote(&root).put(&object, b"bytes").unwrap();
    let path = root.join(pipe.as_str());
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());

    let refused = format!("The object `{}` of the remote is not a file; remove it", path.display());
    let (at, asked) = (root.clone(), pipe.clone());
    assert_eq!(at_once(move || remote(&at).get(&asked).unwrap_err().to_string()), refused);
    let (at, asked, to) = (root.clone(), pipe.clone(), folder.path().join("to"));
    assert_eq!(at_once(move || remote(&at).get_to_file(&asked, &to).unwrap_err().to_string()), refused);
    assert!(!folder.path().join("to").exists());
    let (at, asked) = (root.clone(), pipe.clone());
    assert_eq!(at_once(move || remote(&at).put_if_absent(&asked, b"new").unwrap_err().to_string()), refused);

    let remote = remote(&root);
    assert_eq!(remote.sizes(&[object.clone(), pipe.clone()]).unwrap(), [Some(5), None]);
    let listed = remote.list("blobs").collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(listed.iter().map(|listed| (&listed.name, listed.size)).collect::<Vec<_>>(), [(&object, 5)]);
    // Whoever pushes the object replaces the pipe.
    remote.put(&pipe, b"new").unwrap();
    assert_eq!(remote.get(&pipe).unwrap().as_deref(), Some(b"new".as_slice()));
}

#[test]
fn a_link_to_an_object_is_listed_with_the_size_of_the_object() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("remote");
    let object = name("blobs/a/object");
    remote(&root).put(&object, b"bytes").unwrap();
    let (path, moved) = (root.join(object.as_str()), folder.path().join("on another disk"));
    fs::rename(&path, &moved).unwrap();
    symlink(&moved, &path).unwrap();
    symlink("nowhere", root.join("blobs/a/broken")).unwrap();
    symlink("..", root.join("blobs/a/folder")).unwrap();

    let remote = remote(&root);
    assert_eq!(remote.get(&object).unwrap().as_deref(), Some(b"bytes".as_slice()));
    let listed = remote.list("blobs").collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(listed.iter().map(|listed| (&listed.name, listed.size)).collect::<Vec<_>>(), [(&object, 5)]);
}

#[test]
fn what_a_killed_push_left_is_removed_by_a_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    for (name, age) in [("abandoned", 2 * day), ("of a living process", day / 2)] {
        let path = temporary.join(name);
        fs::write(&path, "part of an object").unwrap();
        File::open(&path).unwrap().set_modified(fs::metadata(&path).unwrap().modified().unwrap() - age).unwrap();
    }
    let remote = remote(folder.path());
    assert!(temporary.join("abandoned").exists(), "who only reads removes nothing");
    remote.put(&name("blobs/a/object"), b"bytes").unwrap();
    assert!(!temporary.join("abandoned").exists());
    assert!(temporary.join("of a living process").exists());
}
