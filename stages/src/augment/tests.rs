//! Tests of the `augment` stage.

use dnc_tables::Split;
use dnc_tables::images::{ImageRow, ImagesWriter};
use dnc_tables::views::{self, Region, View};
use serde_json::json;

use super::*;
use crate::api::{InputArtifact, StageKind};
use crate::testing::{Outputs, Workshop, artifact, digest, on_threads};

fn images(shop: &Workshop, sizes: &[(u16, u16)]) -> InputArtifact {
    let written = shop.write(ArtifactKind::Images, |output| {
        let mut writer = ImagesWriter::new(output);
        for &(height, width) in sizes {
            writer.push(&ImageRow {
                label: 0,
                class: "a",
                split: Split::Train,
                camera: None,
                source: "a.png",
                height,
                width,
                pixels: &vec![0; usize::from(height) * usize::from(width) * 3],
            })?;
        }
        writer.finish(output)
    });
    written.unwrap().0
}

fn run(shop: &Workshop, sizes: &[(u16, u16)], params: serde_json::Value) -> Outputs {
    let stage: Augment = serde_json::from_value(params).unwrap();
    shop.run(&stage, &[("images", &images(shop, sizes))]).unwrap()
}

fn drawn(sizes: &[(u16, u16)], count: u64, params: serde_json::Value) -> Vec<View> {
    let shop = Workshop::new();
    let outputs = run(&shop, sizes, params);
    let views = views::Views::open(&artifact(ArtifactKind::Views, &outputs["views"].folder)).unwrap();
    (0..sizes.len() as u32)
        .flat_map(|id| (0..count).map(move |view| (id, view)))
        .map(|(id, view)| views.view(id, view).unwrap())
        .collect()
}

#[test]
fn crops_follow_the_distribution_of_torchvision() {
    let views = drawn(&[(100, 150)], 2000, json!({ "views": 2000 }));
    let mut shares = Vec::new();
    for View { crop, .. } in &views {
        assert!(crop.top + crop.height <= 100 && crop.left + crop.width <= 150);
        let ratio = f64::from(crop.width) / f64::from(crop.height);
        assert!((0.7..1.4).contains(&ratio), "{ratio}");
        shares.push(f64::from(crop.height) * f64::from(crop.width) / 15_000.0);
    }
    assert!(shares.iter().all(|share| (0.07..=1.0).contains(share)));
    // Large areas often do not fit and are drawn again; the mean of torchvision over 30,000 crops of this shape is 0.392.
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    assert!((mean - 0.392).abs() < 0.02, "{mean}");
    let flipped = views.iter().filter(|view| view.flip).count();
    assert!((900..1100).contains(&flipped), "{flipped}");
}

#[test]
fn a_centred_crop_is_used_if_no_crop_fits() {
    for (height, width, expected) in [(10, 100, [0, 43, 10, 13]), (100, 10, [43, 0, 13, 10]), (1, 1, [0, 0, 1, 1])] {
        let view = drawn(&[(height, width)], 1, json!({ "views": 1, "scale": [1.0, 1.0] }))[0];
        let Region { top, left, height, width } = view.crop;
        assert_eq!([top, left, height, width], expected);
    }
}

#[test]
fn an_added_image_view_or_operation_changes_no_other_draw() {
    let plain = drawn(&[(50, 50), (40, 60)], 3, json!({ "views": 3 }));
    let coloured = drawn(&[(50, 50), (40, 60)], 3, json!({ "views": 3, "preset": "geometric-colour" }));
    let longer = drawn(&[(50, 50), (40, 60), (9, 9)], 4, json!({ "views": 4 }));
    assert!(coloured.iter().any(|view| view.colour.is_some()) && coloured.iter().all(|view| view.rotation.is_some()));
    for (row, view) in plain.iter().enumerate() {
        assert_eq!((view.crop, view.flip), (coloured[row].crop, coloured[row].flip));
        assert_eq!(*view, longer[row / 3 * 4 + row % 3]);
    }
}

#[test]
fn the_thread_count_does_not_change_the_bytes() {
    let sizes = vec![(30, 40); 5000];
    let shop = Workshop::new();
    let params = json!({ "views": 2, "preset": "geometric" });
    let digests = [1, 3].map(|threads| on_threads(threads, || digest(&run(&shop, &sizes, params.clone()))));
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn invalid_values_are_refused() {
    let check = |params: serde_json::Value, expected: &str| {
        let error = StageKind::of::<Augment>().parse(params).err().unwrap();
        assert_eq!(format!("{}: {error}", error.key), expected);
    };
    check(json!({ "views": 0 }), "views: `views` must be between 1 and 65536");
    check(json!({ "views": u32::MAX }), "views: `views` must be between 1 and 65536");
    let rotation = "rotation: `rotation` must be between 0 and 180 degrees; angles are drawn in both directions";
    check(json!({ "rotation": -15.0 }), rotation);
    check(json!({ "rotation": 1e300 }), rotation);
    let colour = "colour: `brightness`, `contrast` and `saturation` of `colour` must be between 0 and 100";
    check(json!({ "colour": { "contrast": 1e300 } }), colour);
    check(json!({ "colour": { "saturation": -0.5 } }), colour);
    check(
        json!({ "blur": { "share": 1.0, "range": [1.0, 1e39] } }),
        "blur.range: `blur.range` must be `[min, max]` with 0 < min <= max <= 1000",
    );
    check(json!({ "flip": 1.5 }), "flip: `flip` must be between 0 and 1");
    check(json!({ "scale": [0.5, 0.1] }), "scale: `scale` must be `[min, max]` with 0 < min <= max <= 1");
    check(
        json!({ "jpeg": { "share": 1.0, "range": [0, 50] } }),
        "jpeg.range: `jpeg.range` must be `[min, max]` with 1 <= min <= max <= 100",
    );
    check(json!({ "colour": { "hue": 0.6 } }), "colour.hue: `colour.hue` must be between 0 and 0.5 turns");
    check(
        json!({ "preset": "strong" }),
        "preset: unknown variant `strong`, expected one of `standard`, `geometric`, `geometric-colour`",
    );
}

/// Law 3: a commit that changes these bytes also raises [`Augment::VERSION`], and updates the digest.
#[test]
fn the_version_matches_the_bytes() {
    let shop = Workshop::new();
    let params = json!({ "views": 3, "preset": "geometric-colour", "jpeg": { "share": 0.5, "range": [30, 90] } });
    let outputs = run(&shop, &[(31, 17), (48, 48), (5, 90)], params);
    assert_eq!((Augment::VERSION, digest(&outputs).as_str()), (2, "aabf0300b032aa09"));
}
