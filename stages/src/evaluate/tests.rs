//! Tests of the `evaluate` stage on small tables.

use candle_core::DType;
use dnc_learn::subspaces::MASKS;
use dnc_learn::weights::NamedTensor;
use dnc_tables::embeddings::{self, EmbeddingRows};
use dnc_tables::images::{ImageRow, ImagesWriter};
use dnc_tables::metrics::MetricRow;
use dnc_tables::queries::QueryRow;
use serde_json::json;

use super::*;
use crate::api::{InputArtifact, StageKind, WantedMetric};
use crate::embed::Embed;
use crate::init::Init;
use crate::testing::{Outputs, Workshop, artifact, digest, on_threads};

fn stage(params: serde_json::Value) -> Evaluate {
    serde_json::from_value(params).unwrap()
}

/// A table of unit vectors at these angles, as (degrees, label, split).
fn embedded(shop: &Workshop, rows: &[(f32, u32, Split)]) -> InputArtifact {
    let ids: Vec<u32> = (0..rows.len() as u32).map(|row| row * 10).collect();
    let labels: Vec<u32> = rows.iter().map(|row| row.1).collect();
    let splits: Vec<Split> = rows.iter().map(|row| row.2).collect();
    let unit = |row: &(f32, u32, Split)| [row.0.to_radians().cos(), row.0.to_radians().sin()];
    let vectors: Vec<f32> = rows.iter().flat_map(unit).collect();
    let rows = EmbeddingRows { ids: &ids, labels: &labels, splits: &splits, vectors: &vectors, dim: 2 };
    shop.write(ArtifactKind::Embeddings, |output| embeddings::write(output, rows)).unwrap().0
}

/// Images of two pixels, one above the other, as (upper, lower, label, split, camera).
fn pictures(shop: &Workshop, rows: &[(u8, u8, u32, Split, Option<u16>)]) -> InputArtifact {
    let written = shop.write(ArtifactKind::Images, |output| {
        let mut writer = ImagesWriter::new(output);
        for &(upper, lower, label, split, camera) in rows {
            let pixels = [[upper; 3], [lower; 3]].concat();
            let (class, source, height, width) = ("a", "a.png", 2, 1);
            writer.push(&ImageRow { label, class, split, camera, source, height, width, pixels: &pixels })?;
        }
        writer.finish(output)
    });
    written.unwrap().0
}

fn metrics_of(outputs: &Outputs) -> String {
    let rows = metrics::open(&artifact(ArtifactKind::Metrics, &outputs["metrics"].folder)).unwrap();
    let k = |k: Option<i32>| k.map(|k| format!("@{k}")).unwrap_or_default();
    let line = |row: &MetricRow| format!("{} {} {}{} {:.4}\n", row.round, row.split, row.metric, k(row.k), row.value);
    rows.iter().map(line).collect()
}

fn queries_of(outputs: &Outputs) -> Vec<QueryRow> {
    queries::open(&artifact(ArtifactKind::Queries, &outputs["queries"].folder)).unwrap()
}

use Split::{Gallery as G, Query as Q, Test as T, Train, Validation as V};

#[test]
fn each_split_is_searched_by_itself() {
    let shop = Workshop::new();
    // In the test split, the nearest neighbour of 0° is 10° (a hit), of 10° is 0° (a hit), of 25° is 10° (a miss) and of
    // 60° is 25° (a hit).
    let rows = [
        (0.0, 5, T),
        (10.0, 5, T),
        (25.0, 6, T),
        (60.0, 6, T),
        (5.0, 5, Train),
        (0.0, 7, V),
        (90.0, 7, V),
        (91.0, 8, V),
    ];
    let embeddings = embedded(&shop, &rows);
    let outputs =
        shop.run(&stage(json!({ "recall": [1, 2], "neighbours": 2 })), &[("embeddings", &embeddings)]).unwrap();
    insta::assert_snapshot!(metrics_of(&outputs), @r"
    0 validation map_at_r 0.5000
    0 validation r_precision 0.5000
    0 validation recall@1 0.5000
    0 validation recall@2 1.0000
    0 validation unmatched_queries 1.0000
    0 test map_at_r 0.7500
    0 test r_precision 0.7500
    0 test recall@1 0.7500
    0 test recall@2 0.7500
    ");
    let queries = queries_of(&outputs);
    assert_eq!(queries.iter().map(|query| query.id).collect::<Vec<_>>(), [50, 60, 70, 0, 10, 20, 30]);
    let third = &queries[5];
    assert_eq!((third.neighbours.as_slice(), third.hit, third.split), (&[10, 0][..], false, T));
    // The chord of an angle of 15°.
    assert!((third.distances[0] - 2.0 * 7.5_f32.to_radians().sin()).abs() < 1e-6);
}

#[test]
fn numbers_beyond_what_there_is_fill_no_memory() {
    let shop = Workshop::new();
    let embeddings = embedded(&shop, &[(0.0, 5, T), (10.0, 5, T), (25.0, 6, T), (60.0, 6, T)]);
    let stage = stage(json!({ "recall": [1, i32::MAX], "neighbours": u32::MAX }));
    let outputs = shop.run(&stage, &[("embeddings", &embeddings)]).unwrap();
    assert_eq!(value(&outputs, "recall", Some(i32::MAX)), Some(1.0));
    assert_eq!(queries_of(&outputs)[0].neighbours.len(), 3);
    let refused = |params: serde_json::Value| StageKind::of::<Evaluate>().parse(params).err().unwrap().to_string();
    insta::assert_snapshot!(refused(json!({ "recall": [u32::MAX] })), @"`recall` needs at least one value of k, each from 1 to 2147483647");
    insta::assert_snapshot!(refused(json!({ "thumbnail": u16::MAX })), @"`thumbnail` must be between 1 and 4096");
    insta::assert_snapshot!(refused(json!({ "random_galleries": u32::MAX })), @"`random_galleries` must be between 1 and 1000");
    insta::assert_snapshot!(refused(json!({ "few_shot": { "episodes": u32::MAX } })), @"`episodes` of `few_shot` must be at most 1000000");
}

#[test]
fn a_collapsed_embedding_is_a_warning() {
    let warnings = |angles: [f32; 4]| {
        let shop = Workshop::new();
        let rows = [(angles[0], 1, T), (angles[1], 1, T), (angles[2], 2, T), (angles[3], 2, T), (90.0, 3, V)];
        shop.run(&stage(json!({})), &[("embeddings", &embedded(&shop, &rows))]).unwrap();
        shop.warnings()
    };
    assert_eq!(warnings([10.0, 20.0, 10.0, 10.0]), "");
    insta::assert_snapshot!(warnings([10.0; 4]), @"Warning: all 4 vectors of the split `test` are equal, so the metrics are meaningless; the model has collapsed, or the images are equal");
}

#[test]
fn a_single_class_is_a_warning() {
    let warnings = |rows: &[(f32, u32, Split)]| {
        let shop = Workshop::new();
        shop.run(&stage(json!({})), &[("embeddings", &embedded(&shop, rows))]).unwrap();
        shop.warnings()
    };
    assert_eq!(warnings(&[(10.0, 1, T), (20.0, 1, T), (30.0, 2, T), (5.0, 3, V)]), "");
    insta::assert_snapshot!(warnings(&[(10.0, 1, T), (20.0, 1, T), (30.0, 1, T)]), @"Warning: all 3 images that the split `test` is searched in are of one class, so that every neighbour is right or every one is wrong and the metrics say nothing; images of at least two classes are needed");
    let gallery = [(10.0, 1, Q), (20.0, 2, Q), (30.0, 1, G), (40.0, 1, G)];
    assert!(warnings(&gallery).starts_with("Warning: all 2 images that the split `query` is searched in"));
}

#[test]
fn embeddings_must_be_those_of_the_images() {
    let shop = Workshop::new();
    let images = pictures(&shop, &[(200, 10, 1, T, None), (200, 20, 1, T, None), (20, 200, 2, T, None)]);
    let evaluate = |ids: [u32; 3], labels: [u32; 3], splits: [Split; 3]| {
        let vectors = [1.0, 0.0, 0.8, 0.6, 0.0, 1.0];
        let rows = EmbeddingRows { ids: &ids, labels: &labels, splits: &splits, vectors: &vectors, dim: 2 };
        let table = shop.write(ArtifactKind::Embeddings, |output| embeddings::write(output, rows)).unwrap().0;
        let outputs = shop.run(&stage(json!({})), &[("images", &images), ("embeddings", &table)]);
        outputs.map_or_else(|error| error.to_string(), |_| "evaluated".to_owned())
    };
    assert_eq!(evaluate([2, 0, 1], [2, 1, 1], [T; 3]), "evaluated");
    insta::assert_snapshot!(evaluate([0, 0, 1], [1, 1, 1], [T; 3]), @"`embeddings` has several rows for image 0; each image must have one");
    insta::assert_snapshot!(evaluate([0, 1, 7], [1, 1, 2], [T; 3]), @"`embeddings` has a row for image 7, which `images` does not have; connect the images that they were computed from");
    insta::assert_snapshot!(evaluate([0, 1, 2], [1, 1, 1], [T; 3]), @"`embeddings` and `images` do not agree on image 2: label 1 and split `test` in `embeddings`, label 2 and split `test` in `images`; connect the images that the embeddings were computed from");
    assert!(evaluate([0, 1, 2], [1, 1, 2], [T, T, V]).contains("label 2 and split `validation` in `embeddings`"));
}

#[test]
fn what_is_measured_was_announced() {
    let shop = Workshop::new();
    let embeddings = embedded(&shop, &[(0.0, 1, T), (10.0, 1, T), (90.0, 2, T), (110.0, 2, T)]);
    let few_shot = json!({ "ways": 2, "shots": [1], "queries": 1, "episodes": 5 });
    let evaluate = stage(json!({ "nmi": true, "shape": true, "few_shot": few_shot }));
    let outputs = shop.run(&evaluate, &[("embeddings", &embeddings)]).unwrap();
    let measures = evaluate.measures_of(T);
    for row in metrics::open(&artifact(ArtifactKind::Metrics, &outputs["metrics"].folder)).unwrap() {
        let wanted = WantedMetric { names: vec![row.metric], k: row.k.map(|k| k as u32), split: row.split };
        assert!(wanted.is_among(&measures), "{}", wanted.label());
    }
    assert!(evaluate.measures_of(Train).is_empty() && evaluate.measures_of(G).is_empty());
}

#[test]
fn queries_are_searched_in_the_gallery() {
    let shop = Workshop::new();
    let embeddings = embedded(&shop, &[(0.0, 1, Q), (2.0, 2, Q), (3.0, 2, G), (9.0, 1, G), (50.0, 2, G)]);
    let outputs = shop.run(&stage(json!({ "recall": [1] })), &[("embeddings", &embeddings)]).unwrap();
    insta::assert_snapshot!(metrics_of(&outputs), @r"
    0 query map_at_r 0.2500
    0 query r_precision 0.2500
    0 query recall@1 0.5000
    ");
}

#[test]
fn images_of_the_same_class_and_camera_are_ignored() {
    let shop = Workshop::new();
    let rows = [(200, 10, 1, Q, Some(1)), (200, 11, 1, G, Some(1)), (200, 30, 2, G, Some(1)), (200, 90, 1, G, Some(2))];
    let images = pictures(&shop, &rows);
    let run = |params| shop.run(&stage(params), &[("images", &images)]).unwrap();
    insta::assert_snapshot!(metrics_of(&run(json!({ "recall": [1], "cameras": false }))), @r"
    0 query map_at_r 0.5000
    0 query r_precision 0.5000
    0 query recall@1 1.0000
    0 query same_camera_counted 1.0000
    ");
    let across = metrics_of(&run(json!({ "recall": [1, 2], "cameras": true })));
    insta::assert_snapshot!(across, @r"
    0 query cmc@1 0.0000
    0 query cmc@2 1.0000
    0 query map 0.5000
    ");
    assert_eq!(metrics_of(&run(json!({ "recall": [1, 2] }))), across, "images have cameras, so they are used");
}

/// An image without a camera among others with one is found, and finds others.
#[test]
fn an_image_without_a_camera_has_one_of_its_own() {
    let shop = Workshop::new();
    let rows = [
        (200, 10, 1, T, Some(1)),
        (200, 11, 1, T, Some(1)),
        (200, 12, 1, T, None),
        (200, 90, 2, T, None),
        (200, 91, 2, T, None),
        (200, 99, 3, T, Some(1)),
    ];
    let images = pictures(&shop, &rows);
    let outputs = shop.run(&stage(json!({ "recall": [1] })), &[("images", &images)]).unwrap();
    insta::assert_snapshot!(metrics_of(&outputs), @r"
    0 test cmc@1 1.0000
    0 test map 1.0000
    0 test unmatched_queries 1.0000
    ");
}

#[test]
fn queries_without_a_match_are_counted_and_have_neighbours() {
    let shop = Workshop::new();
    let run = |rows: &[(f32, u32, Split)]| {
        shop.run(&stage(json!({ "recall": [1], "neighbours": 2 })), &[("embeddings", &embedded(&shop, rows))]).unwrap()
    };
    let outputs = run(&[(0.0, 1, Q), (2.2, 7, Q), (3.0, 2, G), (1.0, 1, G), (50.0, 2, G)]);
    insta::assert_snapshot!(metrics_of(&outputs), @r"
    0 query map_at_r 1.0000
    0 query r_precision 1.0000
    0 query recall@1 1.0000
    0 query unmatched_queries 1.0000
    ");
    let unmatched = &queries_of(&outputs)[1];
    assert_eq!((unmatched.id, unmatched.neighbours.as_slice(), unmatched.hit), (10, &[20, 30][..], false));
    assert_eq!((unmatched.r_precision, unmatched.average_precision, unmatched.first_hit), (None, None, None));
    let outputs = run(&[(0.0, 1, Q), (3.0, 2, G)]);
    assert_eq!(metrics_of(&outputs), "0 query unmatched_queries 1.0000\n");
    assert_eq!(queries_of(&outputs).len(), 1);
}

#[test]
fn clusters_are_compared_with_classes() {
    let shop = Workshop::new();
    let rows: Vec<_> = (0..12).map(|n| ((n % 3) as f32 * 100.0 + n as f32 / 10.0, n % 3, T)).collect();
    let embeddings = embedded(&shop, &rows);
    let outputs = shop.run(&stage(json!({ "recall": [1], "nmi": true })), &[("embeddings", &embeddings)]).unwrap();
    assert!(metrics_of(&outputs).contains("test nmi 1.0000"), "{}", metrics_of(&outputs));
}

#[test]
fn missing_inputs_are_errors() {
    let shop = Workshop::new();
    let check = |params, inputs: &[(&str, &InputArtifact)], expected: &str| {
        assert_eq!(shop.run(&stage(params), inputs).unwrap_err().to_string(), expected);
    };
    check(
        json!({}),
        &[],
        "The input `images` is not connected, but it is needed to compute embeddings, since `embeddings` is not connected either",
    );
    let training = embedded(&shop, &[(0.0, 0, Train)]);
    let nothing = "There are no images to evaluate: every image is in a split that `splits` leaves out (without `splits`, \
                   `train` is left out)";
    check(json!({}), &[("embeddings", &training)], nothing);
    let single = embedded(&shop, &[(0.0, 0, T), (90.0, 1, T)]);
    let no_queries = "`random_galleries` leaves no queries: a gallery has one image of each class, and no class has a second \
                      one. Leave it out to search each image among all others";
    check(json!({ "random_galleries": 2 }), &[("embeddings", &single)], no_queries);
    let queries = embedded(&shop, &[(0.0, 0, Q)]);
    let no_gallery = "There are images in the split `query` but none in the split `gallery` to search";
    check(json!({}), &[("embeddings", &queries)], no_gallery);
    let images = pictures(&shop, &[(1, 2, 0, Q, None), (1, 2, 0, G, Some(1))]);
    check(
        json!({ "cameras": true }),
        &[("images", &images)],
        "Image 0 has no camera, which `cameras = true` needs; without `cameras`, such images count as seen by a camera of their own",
    );
    let error = StageKind::of::<Evaluate>().parse(json!({ "recall": [] })).err().unwrap();
    assert_eq!(error.key, "recall");
}

/// Square images, each of one colour with a small pattern of its own, as (colour, label).
fn squares(shop: &Workshop, side: u16, rows: &[([u8; 3], u32)]) -> InputArtifact {
    let written = shop.write(ArtifactKind::Images, |output| {
        let mut writer = ImagesWriter::new(output);
        for (number, &(colour, label)) in rows.iter().enumerate() {
            let shade = |index: usize| (index * (number + 3) % 7) as u8;
            let pixels: Vec<u8> =
                (0..usize::from(side).pow(2)).flat_map(|index| colour.map(|value| value + shade(index))).collect();
            let (class, source, camera) = ("a", "a.png", None);
            writer.push(&ImageRow {
                label,
                class,
                split: T,
                camera,
                source,
                height: side,
                width: side,
                pixels: &pixels,
            })?;
        }
        writer.finish(output)
    });
    written.unwrap().0
}

fn value(outputs: &Outputs, metric: &str, k: Option<i32>) -> Option<f64> {
    let rows = metrics::open(&artifact(ArtifactKind::Metrics, &outputs["metrics"].folder)).unwrap();
    rows.into_iter().find(|row| row.metric == metric && row.k == k).map(|row| row.value)
}

#[test]
fn random_galleries_are_drawn_several_times() {
    let shop = Workshop::new();
    // Three classes far apart, of 5, 4 and 2 images; a fourth of one image, which is in every gallery and never a query.
    let labels = [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3];
    let rows: Vec<_> =
        labels.iter().enumerate().map(|(n, &label)| (label as f32 * 90.0 + n as f32, label, T)).collect();
    let embeddings = embedded(&shop, &rows);
    let run = |params| shop.run(&stage(params), &[("embeddings", &embeddings)]).unwrap();
    let outputs = run(json!({ "recall": [1], "random_galleries": 5 }));
    insta::assert_snapshot!(metrics_of(&outputs), @r"
    0 test map_at_r 1.0000
    0 test r_precision 1.0000
    0 test recall@1 1.0000
    ");
    let queries = queries_of(&outputs);
    assert_eq!(queries.len(), 5 * (labels.len() - 4));
    assert!(
        queries.iter().all(|query| query.neighbours.len() == 4 && query.id != 110),
        "each gallery has one image per class"
    );
    let galleries: std::collections::BTreeSet<_> = queries.iter().map(|query| query.neighbours[0]).collect();
    assert!(galleries.len() > 3, "the galleries differ: {galleries:?}");
}

#[test]
fn few_shot_accuracy_is_reported_for_each_number_of_shots() {
    let shop = Workshop::new();
    let rows: Vec<_> = (0..24).map(|n| ((n % 3) as f32 * 100.0 + n as f32 / 10.0, n % 3, T)).collect();
    let embeddings = embedded(&shop, &rows);
    let few_shot = json!({ "ways": 3, "shots": [1, 5], "queries": 2, "episodes": 10 });
    let run = |params| shop.run(&stage(params), &[("embeddings", &embeddings)]);
    let outputs = run(json!({ "recall": [1], "few_shot": few_shot })).unwrap();
    for shots in [1, 5] {
        assert_eq!(value(&outputs, "few_shot_3_way", Some(shots)), Some(1.0));
        assert_eq!(value(&outputs, "few_shot_3_way_half_width", Some(shots)), Some(0.0));
    }
    let error = run(json!({ "few_shot": { "ways": 4 } })).unwrap_err();
    assert_eq!(error.to_string(), "Cannot compute `few_shot` on the split `test`");
}

#[test]
fn shape_metrics_have_their_known_values() {
    let shop = Workshop::new();
    let embeddings =
        embedded(&shop, &[(0.0, 0, T), (0.0, 0, T), (90.0, 1, T), (180.0, 2, T), (270.0, 3, T), (90.0, 1, T)]);
    let outputs = shop.run(&stage(json!({ "recall": [1], "shape": true })), &[("embeddings", &embeddings)]).unwrap();
    assert!(value(&outputs, "alignment", None).unwrap() < 1e-12, "images of a class have the same vector");
    // Of 15 pairs 2 are at distance 0, 9 at √2 and 4 at 2.
    let uniformity = ((2.0 + 9.0 * (-4.0f64).exp() + 4.0 * (-8.0f64).exp()) / 15.0).ln();
    assert!((value(&outputs, "uniformity", None).unwrap() - uniformity).abs() < 1e-5);
    assert!(
        value(&outputs, "effective_rank", None).unwrap() > 1.99
            && value(&outputs, "spectral_decay", None).unwrap() < 0.01
    );
}

#[test]
fn a_nuisance_that_hides_what_classes_differ_in_lowers_recall() {
    let shop = Workshop::new();
    // Classes differ only in colour and have about the same grey level.
    let colours = [[120, 60, 60], [60, 90, 60], [60, 60, 220]];
    let rows: Vec<_> = (0..30).map(|n| (colours[n % 3], (n % 3) as u32)).collect();
    let images = squares(&shop, 8, &rows);
    let params = json!({ "recall": [1], "nuisances": ["grey", "jpeg", "aberration"] });
    let outputs = shop.run(&stage(params), &[("images", &images)]).unwrap();
    assert_eq!(value(&outputs, "recall", Some(1)), Some(1.0));
    assert!(value(&outputs, "drop_grey", Some(1)).unwrap() > 0.1, "{}", metrics_of(&outputs));
    assert!(value(&outputs, "drop_aberration", Some(1)).unwrap() < 0.1, "{}", metrics_of(&outputs));
    // The drop is the share of the queries that flip, since all of them were right; each row names what was found.
    let table = artifact(ArtifactKind::Nuisances, &outputs["nuisances"].folder);
    let grey: Vec<_> = nuisance_table::open(&table).unwrap().into_iter().filter(|row| row.nuisance == "grey").collect();
    assert_eq!(grey.iter().map(|row| row.id).collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
    let lost = grey.iter().filter(|row| row.hit == Some(false)).count();
    assert!((value(&outputs, "drop_grey", Some(1)).unwrap() - lost as f64 / 30.0).abs() < 1e-12);
    assert!(grey.iter().all(|row| row.nearest.is_some_and(|(id, _)| (id % 3 == row.id % 3) == row.hit.unwrap())));
    let narrow = pictures(&shop, &[(200, 10, 1, T, None), (200, 11, 1, T, None)]);
    let error = shop.run(&stage(json!({ "nuisances": ["blur"] })), &[("images", &narrow)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`nuisances` can be applied to raw pixels only if the images are square; set `thumbnail = 32`"
    );
    let outputs =
        shop.run(&stage(json!({ "recall": [1], "nuisances": ["blur"], "thumbnail": 8 })), &[("images", &narrow)]);
    assert!(value(&outputs.unwrap(), "drop_blur", Some(1)).is_some());
}

#[test]
fn each_subspace_is_searched_by_itself() {
    let shop = Workshop::new();
    let rows: Vec<_> = (0..18_u8).map(|n| ([n * 11, 200 - n * 9, n % 5 * 40], u32::from(n) / 3)).collect();
    let images = squares(&shop, 32, &rows);
    let init = json!({ "backbone": "small", "dimension": 4, "crop": 32, "resize": 32 });
    let init: Init = serde_json::from_value(init).unwrap();
    let initial = artifact(ArtifactKind::Model, &shop.run(&init, &[]).unwrap()["model"].folder);
    let mut divided = model::Model::open(&initial).unwrap();
    let masks: Vec<u8> =
        [1.0f32, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    divided.parameters.push(NamedTensor { name: MASKS.into(), dtype: DType::F32, shape: vec![2, 4], bytes: masks });
    let divided = shop.write(ArtifactKind::Model, |output| model::write(output, &divided)).unwrap().0;

    let run = |model, merged: &str| {
        let params = json!({ "recall": [1], "subspaces": true, "merged": merged });
        shop.run(&stage(params), &[("images", &images), ("model", model)]).unwrap()
    };
    let outputs = run(&divided, "plain");
    let inputs = [("images", &images), ("model", &divided)];
    let vectors =
        artifact(ArtifactKind::Embeddings, &shop.run(&Embed::default(), &inputs).unwrap()["embeddings"].folder);
    let vectors = embeddings::Embeddings::open(&vectors).unwrap();
    let written = artifact(ArtifactKind::Embeddings, &outputs["embeddings"].folder);
    let written = embeddings::Embeddings::open(&written).unwrap();
    assert_eq!(written.ids().unwrap(), vectors.ids().unwrap());
    assert_eq!(written.vectors().unwrap(), vectors.vectors().unwrap(), "the output is what `embed` writes");
    for learner in 0..2 {
        let half = vectors.vectors().unwrap().chunks_exact(4).flat_map(|row| {
            let half = &row[learner * 2..][..2];
            let norm = half.iter().map(|value| value * value).sum::<f32>().sqrt();
            half.iter().map(|value| value / norm).collect::<Vec<_>>()
        });
        let (ids, labels) = (vectors.ids().unwrap(), vectors.labels().unwrap());
        let splits = vectors.splits().unwrap();
        let rows = EmbeddingRows { ids, labels, splits: &splits, vectors: &half.collect::<Vec<_>>(), dim: 2 };
        let half = shop.write(ArtifactKind::Embeddings, |output| embeddings::write(output, rows)).unwrap().0;
        let alone = shop.run(&stage(json!({ "recall": [1] })), &[("embeddings", &half)]).unwrap();
        let found = value(&outputs, "subspace_recall", Some(learner as i32));
        assert_eq!(found, value(&alone, "recall", Some(1)), "learner {learner}");
    }
    assert_eq!(value(&run(&divided, "masks"), "subspace_recall", Some(1)), value(&outputs, "subspace_recall", Some(1)));
    assert_eq!(
        value(&run(&initial, "plain"), "subspace_recall", Some(0)),
        None,
        "there are no masks before the first division"
    );
}

/// Law 3: a commit that changes these bytes also raises [`Evaluate::VERSION`], and updates the digest.
#[test]
fn the_version_matches_the_bytes() {
    let shop = Workshop::new();
    let rows: Vec<_> = (0..40_u8).map(|n| ([n * 6, n.wrapping_mul(91) / 2, 7], u32::from(n % 7))).collect();
    let images = squares(&shop, 8, &rows);
    let few_shot = json!({ "ways": 2, "shots": [1], "queries": 2, "episodes": 5 });
    let nuisances = json!(["aberration", "blur", "jpeg", "grey", "colour_cast", "noise"]);
    let params = json!({ "recall": [1, 5], "nmi": true, "few_shot": few_shot, "nuisances": nuisances });
    let run =
        |threads| on_threads(threads, || digest(&shop.run(&stage(params.clone()), &[("images", &images)]).unwrap()));
    assert_eq!((Evaluate::VERSION, run(1).as_str()), (6, "9fdf835a0d7e67d3"));
    assert_eq!(run(1), run(3));
}
