//! Reuse of the images of an earlier run.

use std::fs;

use serde_json::json;

use super::{folders, picture, put, stage};
use crate::api::{ArtifactKind, InputArtifact};
use crate::testing::{Workshop, artifact, digest};

/// Ten images are added, one is renamed, one changes and one is removed: the others are not decoded again, and the bytes are
/// the same as without reuse.
#[test]
fn unchanged_images_are_not_decoded_again() {
    let mut shop = Workshop::new();
    folders(&shop);
    let params = json!({
        "dataset": "folder", "root": "root", "resize": { "exact": [5, 7] }, "split": { "train": 0.5 }, "on_error": "skip"
    });
    let before = shop.run(&stage(params.clone()), &[]).unwrap();
    for number in 0..10 {
        put(
            shop.path(),
            &format!("root/{}/new{number}.png", ["a", "bb"][number % 2]),
            &picture(99 + number as u8, 9, 9),
        );
    }
    fs::rename(shop.path().join("root/a/0.png"), shop.path().join("root/d/moved.png")).unwrap();
    put(shop.path(), "root/c/1.png", &picture(200, 12, 8));
    put(shop.path(), "root/c/2.png", b"damaged");
    let scratch = shop.run(&stage(params.clone()), &[]).unwrap();
    shop.earlier = [("images".to_owned(), artifact(ArtifactKind::Images, &before["images"].folder))].into();
    shop.log.0.lock().unwrap().clear();
    let incremental = shop.run(&stage(params), &[]).unwrap();
    assert_eq!(digest(&incremental), digest(&scratch));
    assert!(
        shop.log
            .0
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.starts_with("10 images reused from an earlier run, 11 decoded;"))
    );
}

/// Unchanged parts are kept wherever images are added or removed, and the bytes are those of a run from scratch.
#[test]
fn unchanged_parts_are_kept() {
    let mut shop = Workshop::new();
    for number in 0..150_u8 {
        put(shop.path(), &format!("root/{:02}/{number:03}.png", number / 5), &picture(number, 9, 6));
    }
    let params = json!({
        "dataset": "folder", "root": "root", "resize": { "exact": [300, 300] }, "split": { "train": 0.5 }, "on_error": "skip"
    });
    let before = shop.run(&stage(params.clone()), &[]).unwrap();
    fs::remove_file(shop.path().join("root/03/017.png")).unwrap();
    for name in ["00/000a.png", "12/new.png", "zz/last.png"] {
        put(shop.path(), &format!("root/{name}"), &picture(name.len() as u8, 9, 9));
    }
    put(shop.path(), "root/29/999.png", b"damaged");
    let scratch = shop.run(&stage(params.clone()), &[]).unwrap();

    let earlier = artifact(ArtifactKind::Images, &before["images"].folder);
    let parts = earlier.files.iter().filter(|file| file.name.starts_with("pixels-")).count();
    assert!(parts > 3, "{parts}");
    let mut check = |knows_digests: bool, earlier: InputArtifact, expected: &str| {
        shop.knows_digests = knows_digests;
        shop.earlier = [("images".to_owned(), earlier)].into();
        shop.log.0.lock().unwrap().clear();
        let incremental = shop.run(&stage(params.clone()), &[]).unwrap();
        assert_eq!(digest(&incremental), digest(&scratch));
        let (log, kept) = (shop.log.0.lock().unwrap(), incremental["images"].kept.len());
        let expected = format!("{expected}; {kept} parts of the table unchanged");
        assert!(log.contains(&expected), "{log:?}");
        kept
    };
    for knows_digests in [true, false] {
        let kept = check(knows_digests, earlier.clone(), "149 images reused from an earlier run, 3 decoded");
        assert!((1..parts).contains(&kept), "{kept} of {parts} parts");
    }
    // Without its first part, the earlier run can replace fewer images.
    let mut without = earlier;
    let first = without.files.iter().position(|file| file.name == "pixels-00000.arrow").unwrap();
    let first = without.files.remove(first);
    let reused = dnc_tables::pixels::PixelParts::of_files(&InputArtifact { files: vec![first], ..without.clone() });
    let reused = reused.unwrap().len();
    check(true, without, &format!("{} images reused from an earlier run, {} decoded", 149 - reused, 3 + reused));
}
