//! Things that lie around in the folder of a data set.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use serde_json::json;

use super::{failure, folders, images, picture, put, stage};
use crate::testing::Workshop;

/// What is no data is passed over: the images are those without it.
#[test]
fn what_is_no_data_does_not_stop_a_data_set() {
    let mut shop = Workshop::new();
    folders(&shop);
    let params = json!({ "dataset": "folder", "root": "root", "split": { "train": 0.5 } });
    let plain = images(&shop, params.clone());
    let root = shop.path().join("root");
    put(shop.path(), "root/README.txt", b"text");
    put(shop.path(), "root/__MACOSX/a/._0.png", b"resource fork");
    put(shop.path(), "root/a/notes.csv", b"text");
    put(shop.path(), "root/a/old.heic", b"a photo of another form");
    put(shop.path(), "root/cover.png", &picture(1, 4, 4));
    fs::create_dir_all(root.join("empty/deep")).unwrap();
    symlink("nowhere", root.join("a/list.txt")).unwrap();
    symlink("nowhere", root.join("lost")).unwrap();
    symlink(&root, root.join("a/up")).unwrap();
    let _socket = UnixListener::bind(root.join("b/socket")).unwrap();
    fs::write(root.join("c").join(OsStr::from_bytes(b"caf\xe9.txt")), "").unwrap();
    // What the program itself writes, beside and among the images.
    put(shop.path(), "root/runs/a/1/show.png", &picture(1, 4, 4));
    put(shop.path(), "root/.dnc/store/x.png", b"");
    put(shop.path(), "root/sop.toml", b"name = 'sop'");
    shop.own = vec![root.join("runs"), root.join(".dnc/store"), root.join("sop.toml")];
    let found = images(&shop, params);
    assert_eq!(found.sources().unwrap(), plain.sources().unwrap());
    assert_eq!(found.splits().unwrap(), plain.splits().unwrap());
    let log = shop.log.0.lock().unwrap();
    let warning = log.iter().find(|line| line.contains("passed over")).unwrap();
    insta::assert_snapshot!(warning.replace("; ", ";\n"), @r"
    Warning: 10 files or folders were passed over: `empty/deep` contains no images;
    2 such as `README.txt`: each does not end like an image file;
    `c/caf�.txt` has a name that is not UTF-8;
    2 such as `a/list.txt`: each is a link that leads nowhere;
    `a/up` is a link to a folder that contains it;
    `b/socket` is a pipe, socket or device;
    `a/old.heic` is an image of a form that is not read;
    convert it to JPEG or PNG;
    `cover.png` lies outside of the class folders
    ");
}

#[test]
fn a_data_set_by_split_has_strays_as_well() {
    let shop = Workshop::new();
    for (shade, name) in ["Train/x/1.png", "val/y/1.png", "val/y/2.png", "val/z/1.png", "val/z/2.png", "test/w/1.png"]
        .into_iter()
        .enumerate()
    {
        put(shop.path(), &format!("root/{name}"), &picture(shade as u8, 4, 4));
    }
    put(shop.path(), "root/README.txt", b"text");
    put(shop.path(), "root/__MACOSX/._x", b"text");
    put(shop.path(), "root/labels/x.csv", b"text");
    let params = json!({ "dataset": { "kind": "folder", "by_split": true }, "root": "root" });
    let splits = images(&shop, params.clone()).splits().unwrap();
    assert_eq!(
        splits.iter().map(|split| split.name()).collect::<Vec<_>>().join(" "),
        "train test validation validation validation validation"
    );
    let without = json!({ "dataset": "folder", "root": "root", "split": { "train": 0.5 } });
    assert_eq!(images(&shop, without).classes().unwrap()[0], "Train/x");
    let warnings = shop.warnings();
    assert!(warnings.contains("Warning: `Train` and `test` and `val` are taken for folders of classes"), "{warnings}");
    put(shop.path(), "root/elsewhere/z/1.png", &picture(9, 4, 4));
    assert!(failure(&shop, params).contains("Unknown split `elsewhere`"));
}

/// What is broken obeys `on_error`, and is named in either case.
#[test]
fn broken_images_obey_on_error() {
    let broken: [(&str, fn(&std::path::Path)); 4] = [
        ("a link that leads nowhere", |path| symlink("nowhere", path).unwrap()),
        ("a pipe, socket or device", |path| drop(UnixListener::bind(path).unwrap())),
        ("cannot be decoded as PNG", |path| fs::write(path, &picture(0, 12, 8)[..60]).unwrap()),
        ("is not a JPEG", |path| fs::write(path, "text").unwrap()),
    ];
    for (reason, make) in broken {
        let shop = Workshop::new();
        folders(&shop);
        make(&shop.path().join("root/b/9.png"));
        let params = |on_error: &str| json!({ "dataset": "folder", "root": "root", "split": { "train": 0.5 }, "on_error": on_error });
        let message = failure(&shop, params("fail"));
        assert!(
            message.contains("b/9.png") && message.contains(reason) && message.contains("`on_error = \"skip\"`"),
            "{message}"
        );
        assert_eq!(images(&shop, params("skip")).len(), 12, "{reason}");
        let log = shop.log.0.lock().unwrap().join("\n");
        assert!(log.contains("Warning: 1 of 13 images were skipped; the first is `b/9.png`"), "{log}");
    }
    let shop = Workshop::new();
    folders(&shop);
    fs::write(shop.path().join("root/c").join(OsStr::from_bytes(b"caf\xe9.png")), picture(0, 4, 4)).unwrap();
    let params = json!({ "dataset": "folder", "root": "root", "split": { "train": 0.5 } });
    insta::assert_snapshot!(failure(&shop, params), @r#"The image `HERE/root/c/caf�.png` has a name that is not UTF-8; `on_error = "skip"` leaves out such images and lists them"#);
}

#[test]
fn endings_of_images_that_are_less_usual_are_read() {
    let shop = Workshop::new();
    for (shade, ending) in ["jfif", "jpe", "JPEG", "JFI", "dib", "jpeg2"].into_iter().enumerate() {
        put(shop.path(), &format!("root/a/x.{ending}"), &picture(shade as u8, 4, 4));
    }
    let params = json!({ "dataset": "folder", "root": "root", "split": { "train": 1 } });
    let dataset = stage(params).dataset;
    let listing = dataset.list(&super::super::data_folder::DataFolder::new(&shop.path().join("root"), &[])).unwrap();
    assert_eq!(listing.entries.len(), 5);
    let [stray] = listing.strays.passed_over.as_slice() else { panic!("{:?}", listing.strays) };
    assert_eq!((stray.source.as_str(), stray.reason), ("a/x.jpeg2", "does not end like an image file"));
}

#[test]
fn the_garments_of_in_shop_are_found_where_the_archive_puts_them() {
    let shop = Workshop::new();
    put(shop.path(), "root/Img/img/WOMEN/id_1/01.jpg", &picture(1, 4, 4));
    put(
        shop.path(),
        "root/Eval/list_eval_partition.txt",
        b"1\nimage_name item_id evaluation_status\nimg/WOMEN/id_1/01.jpg id_1 train\n",
    );
    let images = images(&shop, json!({ "dataset": "in_shop", "root": "root" }));
    assert_eq!(images.sources().unwrap(), ["Img/img/WOMEN/id_1/01.jpg"]);
}
