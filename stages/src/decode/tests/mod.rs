//! The stage on small data sets of real image files.

mod corrections;
mod datasets;
mod lists;
mod reuse;
mod strays;
mod summary;

use std::fs;
use std::path::Path;

use dnc_tables::Split;
use dnc_tables::images::Images;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::json;

use super::Decode;
use crate::api::{ArtifactKind, Stage, StageKind};
use crate::testing::{Workshop, artifact, digest, on_threads};

fn stage(params: serde_json::Value) -> Decode {
    serde_json::from_value(params).unwrap()
}

fn picture(shade: u8, width: u32, height: u32) -> Vec<u8> {
    let image = RgbImage::from_fn(width, height, |x, y| Rgb([shade, (x * 5) as u8, (y * 3) as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(image).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn put(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Four classes `a` to `d` with three images each, in folders below `root`.
fn folders(shop: &Workshop) {
    for (shade, class) in ["b", "a", "d", "c"].into_iter().enumerate() {
        for number in 0..3 {
            put(shop.path(), &format!("root/{class}/{number}.png"), &picture(shade as u8 * 9 + number, 12, 8));
        }
    }
    put(shop.path(), "root/a/Thumbs.db", b"not an image");
    put(shop.path(), "root/.cache/x.png", b"hidden");
}

fn images(shop: &Workshop, params: serde_json::Value) -> Images {
    let outputs = shop.run(&stage(params), &[]).unwrap();
    Images::open(&artifact(ArtifactKind::Images, &outputs["images"].folder)).unwrap()
}

fn failure(shop: &Workshop, params: serde_json::Value) -> String {
    let message = shop.run(&stage(params), &[]).unwrap_err().to_string();
    message.replace(&shop.path().display().to_string(), "HERE")
}

#[test]
fn splits_are_made_of_whole_classes() {
    let mut shop = Workshop::new();
    for class in 0..20 {
        for name in ["x", "y"] {
            put(shop.path(), &format!("root/{class:02}/{name}.png"), &picture(class * 2 + u8::from(name == "y"), 4, 4));
        }
    }
    let split = json!({ "train": 0.5, "validation": 0.2 });
    let params = json!({ "dataset": "folder", "root": "root", "split": split });
    let first = images(&shop, params.clone()).splits().unwrap();
    let count = |split| first.iter().filter(|&&found| found == split).count();
    assert_eq!((count(Split::Train), count(Split::Validation), count(Split::Test)), (16, 4, 20));
    assert_eq!(images(&shop, params.clone()).splits().unwrap(), first);
    shop.ambient.seed = Some(1);
    assert_eq!(images(&shop, params).splits().unwrap(), first, "the seed of the run does not change what is evaluated");
    let split = json!({ "train": 0.5, "validation": 0.2, "seed": 1 });
    let params = json!({ "dataset": "folder", "root": "root", "split": split });
    assert_ne!(images(&shop, params).splits().unwrap(), first);
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": "folder", "root": "root", "split": { "train": 21 } })),
        @"`split.train` selects 21 of 20 classes; it must select at least one and at most all"
    );
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": "folder", "root": "root", "split": { "train": 20 } })),
        @"`split.train` selects all 20 classes, so that none are left for testing"
    );
    insta::assert_snapshot!(
        failure(&shop, json!({ "dataset": "folder", "root": "root" })),
        @"The data set assigns no split to `00/x.png`; set, for example, `split = { train = 0.5 }` to train on half of the classes"
    );
}

/// One class makes every model right, and classes of one image make none right.
#[test]
fn validation_images_must_be_able_to_choose() {
    let shop = Workshop::new();
    for (class, count) in [("a", 3), ("b", 3), ("c", 3), ("d", 1), ("e", 1)] {
        for number in 0..count {
            put(shop.path(), &format!("root/{class}/{number}.png"), &picture(class.as_bytes()[0] * 2 + number, 4, 4));
        }
    }
    let params = |train: u32, validation: u32| {
        let split = json!({ "train": train, "validation": validation, "choose": "first" });
        json!({ "dataset": "folder", "root": "root", "split": split })
    };
    assert_eq!(images(&shop, params(3, 2)).len(), 11);
    insta::assert_snapshot!(failure(&shop, params(3, 1)), @"The split `validation` cannot choose a model: of its 1 class, 1 have at least two images; at least two such classes are needed. Hold out more classes (`split.validation`), or give them more images");
    fs::remove_dir_all(shop.path().join("root/a")).unwrap();
    fs::remove_dir_all(shop.path().join("root/b")).unwrap();
    insta::assert_snapshot!(failure(&shop, params(3, 2)), @"`split.train` selects all 3 classes, so that none are left for testing");
    fs::rename(shop.path().join("root"), shop.path().join("classes")).unwrap();
    let list = "image,class,split,camera\nclasses/c/0.png,c,validation,1\nclasses/c/1.png,c,validation,1\n\
                classes/d/0.png,d,validation,1\nclasses/c/2.png,d,validation,2\nclasses/e/0.png,e,train,1\n";
    put(shop.path(), "list.csv", list.as_bytes());
    let params = json!({ "dataset": { "kind": "list", "file": "list.csv" }, "root": "." });
    insta::assert_snapshot!(failure(&shop, params.clone()), @"The split `validation` cannot choose a model: of its 2 classes, 1 have at least two images under different cameras; at least two such classes are needed. Hold out more classes (`split.validation`), or give them more images");
    put(shop.path(), "list.csv", list.replace("1.png,c,validation,1", "1.png,c,validation,2").as_bytes());
    assert_eq!(images(&shop, params).len(), 5);
}

#[test]
fn undecodable_images_fail_or_are_skipped() {
    let shop = Workshop::new();
    folders(&shop);
    put(shop.path(), "root/b/1.png", &picture(0, 12, 8)[..60]);
    put(shop.path(), "root/d/2.png", b"");
    let params = |on_error: &str| json!({ "dataset": "folder", "root": "root", "split": { "train": 0.5 }, "on_error": on_error });
    insta::assert_snapshot!(failure(&shop, params("fail")), @r#"The image `HERE/root/b/1.png` cannot be decoded as PNG: unexpected end of file; `on_error = "skip"` leaves out such images and lists them"#);
    let outputs = shop.run(&stage(params("skip")), &[]).unwrap();
    let images = Images::open(&artifact(ArtifactKind::Images, &outputs["images"].folder)).unwrap();
    assert_eq!(images.ids().unwrap(), (0..10).collect::<Vec<_>>());
    assert!(outputs["images"].facets.contains_key("skipped.reason"));
    let log = shop.log.0.lock().unwrap().iter().filter(|line| line.starts_with("Skipped")).cloned().collect::<Vec<_>>();
    insta::assert_snapshot!(log.join("\n"), @r"
    Skipped `b/1.png`, which cannot be decoded as PNG: unexpected end of file
    Skipped `d/2.png`, which is empty
    ");
}

#[test]
fn an_empty_data_set_is_an_error() {
    let shop = Workshop::new();
    fs::create_dir_all(shop.path().join("root/empty")).unwrap();
    put(shop.path(), "root/notes.txt", b"");
    let params = json!({ "dataset": "folder", "root": "root", "split": { "train": 1 } });
    insta::assert_snapshot!(failure(&shop, params.clone()), @"There are no images in `HERE/root`: 2 files or folders were passed over: `empty` contains no images; `notes.txt` does not end like an image file; `dnc-run stages decode` describes the layout that each data set expects");
    fs::remove_dir(shop.path().join("root/empty")).unwrap();
    fs::remove_file(shop.path().join("root/notes.txt")).unwrap();
    insta::assert_snapshot!(failure(&shop, params.clone()), @"There are no images in `HERE/root`; `dnc-run stages decode` describes the layout that each data set expects");
    put(shop.path(), "root/1.png", &picture(1, 4, 4));
    insta::assert_snapshot!(failure(&shop, params.clone()), @r#"Images in `HERE/root`: 1, but there are no class folders; expected `HERE/root/CLASS/IMAGE`, or a list that names the class of each image (`dataset = { kind = "list", file = "…" }`)"#);
    fs::remove_dir_all(shop.path().join("root")).unwrap();
    insta::assert_snapshot!(failure(&shop, params), @"Cannot read the folder `HERE/root`");
}

#[test]
fn images_are_resized() {
    let shop = Workshop::new();
    put(shop.path(), "root/a/1.png", &picture(3, 30, 20));
    put(shop.path(), "root/b/1.png", &picture(3, 6, 9));
    let sizes = |resize: serde_json::Value| {
        let split = json!({ "train": 1 });
        images(&shop, json!({ "dataset": "folder", "root": "root", "split": split, "resize": resize })).sizes().unwrap()
    };
    assert_eq!(sizes(json!(null)), [(20, 30), (9, 6)]);
    assert_eq!(sizes(json!({ "exact": [5, 7] })), [(5, 7), (5, 7)]);
    assert_eq!(sizes(json!({ "shorter": 10 })), [(10, 15), (9, 6)]);
}

#[test]
fn neither_threads_nor_chunks_matter() {
    let shop = Workshop::new();
    for number in 0..90 {
        let class = number % 7;
        put(shop.path(), &format!("root/{class}/{number}.png"), &picture(number, 40 + u32::from(number), 30));
    }
    let params = json!({ "dataset": "folder", "root": "root", "split": { "train": 0.5 }, "resize": { "shorter": 16 } });
    let digests =
        [1, 2, 5].map(|threads| on_threads(threads, || digest(&shop.run(&stage(params.clone()), &[]).unwrap())));
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
}

#[test]
fn a_renamed_class_keeps_its_label_and_its_pixels() {
    let shop = Workshop::new();
    folders(&shop);
    let params = json!({ "dataset": "folder", "root": "root", "split": { "train": 2, "choose": "first" } });
    let facets = || shop.run(&stage(params.clone()), &[]).unwrap()["images"].facets.clone();
    let before = facets();
    fs::rename(shop.path().join("root/b"), shop.path().join("root/bb")).unwrap();
    let after = facets();
    let changed: Vec<_> = before.keys().filter(|key| before[*key] != after[*key]).collect();
    assert_eq!(changed, ["class", "source"]);
}

#[test]
fn invalid_parameters_are_refused() {
    let kind = StageKind::of::<Decode>();
    let check = |params: serde_json::Value| {
        let error = kind.parse(params).err().unwrap();
        format!("{}: {error}", error.key)
    };
    insta::assert_snapshot!(check(json!({ "dataset": "folders", "root": "x" })), @"dataset: unknown variant `folders`, expected one of `folder`, `idx`, `list`, `parquet`, `sop`, `cars`, `cub`, `in_shop`, `vehicle_id`, `market`");
    insta::assert_snapshot!(check(json!({ "dataset": { "kind": "folder", "split": true }, "root": "x" })), @"dataset: unknown field `split`, expected `by_split`");
    insta::assert_snapshot!(check(json!({ "dataset": 3, "root": "x" })), @"dataset: invalid type: integer `3`, expected the name of a data set, or a table with its `kind`");
    insta::assert_snapshot!(check(json!({ "dataset": "folder" })), @": missing field `root`");
    insta::assert_snapshot!(check(json!({ "dataset": "folder", "root": "x", "resize": { "exact": [u16::MAX, u16::MAX] } })), @"resize: `resize` makes images of 4294836225 pixels, more than `limits.pixels`, 32000000");
    insta::assert_snapshot!(check(json!({ "dataset": "folder", "root": "x", "resize": { "shorter": 0 } })), @"resize: The sides given in `resize` must be at least 1 pixel");
    insta::assert_snapshot!(check(json!({ "dataset": "folder", "root": "x", "split": { "train": 1.5 } })), @"split.train: `split.train` must be a whole number of classes, or a fraction between 0 and 1");
}

/// Law 3: a change of these bytes needs a higher [`Decode::VERSION`] in the same commit, and then the new digest here.
#[test]
fn the_version_stands_for_these_bytes() {
    let shop = Workshop::new();
    folders(&shop);
    let split = json!({ "train": 3, "validation": 2, "choose": "first" });
    let params = json!({ "dataset": "folder", "root": "root", "split": split, "resize": { "exact": [6, 5] } });
    assert_eq!((Decode::VERSION, digest(&shop.run(&stage(params), &[]).unwrap()).as_str()), (6, "839dfca1c1e2a2a5"));
}
