//! The data summary.

use dnc_tables::summary::{self, Subject};
use serde_json::json;

use super::{picture, put, stage};
use crate::testing::Workshop;

/// The rows of a summary, one a line, and its warnings.
fn summarised(shop: &Workshop, params: serde_json::Value) -> (String, Vec<String>) {
    let outputs = shop.run(&stage(params), &[]).unwrap();
    let path = outputs["summary"].folder.join("summary.parquet");
    let mut lines = String::new();
    for row in summary::read(&path).unwrap().into_iter().filter(|row| !row.is_warning && row.subject != Subject::Class)
    {
        let parts = [row.split.map(|split| split.name().to_owned()), row.class, row.source, row.message];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        lines += &format!("{} {} {}\n", row.subject, row.count, parts.join(" | "));
    }
    (lines, summary::warnings(&path).unwrap())
}

#[test]
fn counts_duplicates_leaks_and_queries_without_a_match() {
    let shop = Workshop::new();
    let files: [(&str, u8); 12] = [
        ("train/cat/1.png", 1),
        ("train/cat/2.png", 2),
        ("train/cat/again.png", 1),
        ("train/dog/1.png", 3),
        ("train/Dog /1.png", 4),
        ("train/dog/cat.png", 2),
        ("test/cat/3.png", 5),
        ("test/cat/1.png", 1),
        ("test/cow/1.png", 6),
        ("query/ape/1.png", 7),
        ("query/bee/1.png", 8),
        ("gallery/bee/2.png", 9),
    ];
    for (name, shade) in files {
        put(shop.path(), &format!("root/{name}"), &picture(shade, 4, 4));
    }
    put(shop.path(), "root/gallery/bee/broken.png", b"text");
    put(shop.path(), "root/gallery/bee/list.txt", b"text");
    put(shop.path(), "root/gallery/Thumbs.db", b"text");
    let params = json!({ "dataset": { "kind": "folder", "by_split": true }, "root": "root", "on_error": "skip" });
    let (rows, warnings) = summarised(&shop, params);
    insta::assert_snapshot!(rows, @r"
    split 6 train
    classes 3 train
    split 3 test
    classes 2 test
    split 2 query
    classes 2 query
    split 1 gallery
    classes 1 gallery
    skipped 1 gallery/bee/broken.png | is not a JPEG, PNG, WebP, GIF, BMP or TIFF image
    passed_over 1 gallery/Thumbs.db | is hidden, or was left by an operating system or an archive program
    passed_over 1 gallery/bee/list.txt | does not end like an image file
    conflict 2 train | cat | train/cat/2.png | the same as `train/dog/cat.png` (train, class `dog`)
    leak 3 test | cat | test/cat/1.png | the same as `train/cat/1.png` (train, class `cat`), `train/cat/again.png` (train, class `cat`)
    shared_class 5 cat
    similar_classes 2 `Dog `, `dog`
    unmatched 1 test | cow | test/cow/1.png
    unmatched 1 query | ape | query/ape/1.png
    ");
    insta::assert_snapshot!(warnings.join("\n"), @r"
    query is searched among images of a single class, so that every model is always right
    1 of 13 images were skipped; the first is `gallery/bee/broken.png`, which is not a JPEG, PNG, WebP, GIF, BMP or TIFF image
    1 file or folder was passed over: `gallery/bee/list.txt` does not end like an image file
    1 picture is in several classes, as `train/cat/2.png` (train, class `cat`) and `train/dog/cat.png` (train, class `dog`)
    1 picture is in training and in evaluation alike, as `test/cat/1.png` (test, class `cat`) and `train/cat/1.png` (train, class `cat`): what is learned from must not be evaluated on
    1 of 6 classes are in training and in evaluation alike, as `cat`: metrics on them do not measure how well the embedding serves new classes
    the classes `Dog ` and `dog` differ only in case or outer blanks
    1 of 3 queries in test have no image of their class to find, as `test/cow/1.png` (test, class `cow`); they are left out of the metrics
    1 of 2 queries in query have no image of their class to find, as `query/ape/1.png` (query, class `ape`); they are left out of the metrics
    ");
}

#[test]
fn an_ordinary_data_set_has_no_warnings() {
    let shop = Workshop::new();
    for (shade, name) in ["a/1", "a/2", "b/1", "b/2", "c/1", "c/2", "d/1", "d/2"].into_iter().enumerate() {
        put(shop.path(), &format!("root/{name}.png"), &picture(shade as u8, 4, 4));
    }
    put(shop.path(), "root/a/Thumbs.db", b"text");
    let params = json!({ "dataset": "folder", "root": "root", "split": { "train": 2, "choose": "first" } });
    let (rows, warnings) = summarised(&shop, params);
    assert!(warnings.is_empty(), "{warnings:?}");
    insta::assert_snapshot!(rows, @r"
    split 4 train
    classes 2 train
    split 4 test
    classes 2 test
    passed_over 1 a/Thumbs.db | is hidden, or was left by an operating system or an archive program
    ");
}
