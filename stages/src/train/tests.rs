//! Tests of the `train` stage on tiny images of stripes.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use dnc_tables::Split;
use dnc_tables::assignments;
use dnc_tables::images::{ImageRow, ImagesWriter};
use serde_json::json;

use super::*;
use crate::api::{
    AmbientValues, DeviceChoice, Devices, Environment, InputArtifact, Observer, OutputArtifact, StageKind,
};
use crate::augment::Augment;
use crate::init::Init;
use crate::testing::{Outputs, Workshop, artifact, check_known_bytes, digest, on_threads};

const SIDE: u16 = 16;

/// Six training classes and a test class of six images each. Classes with an even number are in cluster 0, the others in
/// cluster 1; the last training image is pruned.
struct Inputs {
    images: InputArtifact,
    clusters: InputArtifact,
    model: InputArtifact,
}

fn inputs(workshop: &Workshop) -> Inputs {
    let write = |output: &mut OutputArtifact| {
        let mut writer = ImagesWriter::new(output);
        for image in 0..42_u32 {
            let class = image / 6;
            let pixels: Vec<u8> = (0..u32::from(SIDE) * u32::from(SIDE) * 3)
                .map(|index| {
                    let (x, y, colour) = (index / 3 % 16, index / 48, index % 3);
                    let along = if class % 2 == 0 { x } else { y };
                    let light = if (along / (1 + class / 4)) % 2 == 0 { 200 } else { 40 };
                    let noise = index.wrapping_mul(2_654_435_761).wrapping_add(image * 40_503) >> 27;
                    (light / (1 + u32::from(colour != class % 3)) + noise) as u8
                })
                .collect();
            let split = if class == 6 { Split::Test } else { Split::Train };
            let (source, height, width) = ("stripes", SIDE, SIDE);
            // Labels have gaps and do not start at 0.
            let row = ImageRow {
                label: 10 * class + 5,
                class: "c",
                split,
                camera: None,
                source,
                height,
                width,
                pixels: &pixels,
            };
            writer.push(&row)?;
        }
        writer.finish(output)
    };
    let images = workshop.write(ArtifactKind::Images, write).unwrap().0;
    let ids: Vec<u32> = (0..36).collect();
    let clusters: Vec<i32> = ids.iter().map(|id| if *id == 35 { -1 } else { (id / 6 % 2) as i32 }).collect();
    let (distances, centroids, sizes) = (vec![0.0; 36], [0.0; 2], [18, 17]);
    let division = assignments::ClusterRows {
        ids: &ids,
        clusters: &clusters,
        distances: &distances,
        centroids: &centroids,
        sizes: &sizes,
        dim: 1,
        nmi: None,
    };
    let write = |output: &mut OutputArtifact| assignments::write(output, division);
    let clusters = workshop.write(ArtifactKind::Assignments, write).unwrap().0;
    let init: Init =
        serde_json::from_value(json!({ "backbone": "small", "dimension": 8, "crop": 16, "resize": 16 })).unwrap();
    let model = artifact(ArtifactKind::Model, &workshop.run(&init, &[]).unwrap()["model"].folder);
    Inputs { images, clusters, model }
}

fn stage(params: serde_json::Value) -> Train {
    let mut merged = json!({
        "epochs": 3,
        "sampler": { "kind": "class_balanced", "batch": 18, "per_class": 6 },
        "optimiser": { "lr": 1e-2 },
    });
    let serde_json::Value::Object(params) = params else { unreachable!("tests write tables") };
    params.into_iter().for_each(|(key, value)| merged[key] = value);
    serde_json::from_value(merged).unwrap()
}

fn run(workshop: &Workshop, stage: &Train, inputs: &Inputs) -> Outputs {
    let ports = [("images", &inputs.images), ("clusters", &inputs.clusters), ("model", &inputs.model)];
    workshop.run(stage, &ports).unwrap()
}

fn workshop(learners: u32, learner: Option<u32>) -> Workshop {
    let mut workshop = Workshop::new();
    workshop.ambient.learners = Some(learners);
    workshop.ambient.learner = learner;
    workshop
}

fn history_of(outputs: &Outputs) -> Vec<HistoryRow> {
    history::open(&artifact(ArtifactKind::History, &outputs["history"].folder)).unwrap()
}

#[test]
fn a_model_that_the_last_step_broke_is_not_done() {
    let workshop = workshop(1, None);
    let inputs = inputs(&workshop);
    let ports = [("images", &inputs.images), ("model", &inputs.model)];
    let sampler = json!({ "kind": "class_balanced", "batch": 36, "per_class": 6 });
    let run = |lr: f64| {
        let stage = stage(json!({ "epochs": 1, "sampler": sampler, "optimiser": { "lr": lr } }));
        workshop.run(&stage, &ports).err()
    };
    assert!(run(1e-3).is_none());
    let error = run(1e10).expect("the only step breaks the model");
    assert_eq!(error.to_string(), "Cannot train the model in epoch 0, last step");
    let cause = std::error::Error::source(&error).expect("it says what is wrong").to_string();
    assert_eq!(cause, "The embeddings are not all finite; try a lower learning rate");
}

#[test]
fn the_loss_falls_and_the_history_records_it() {
    let workshop = workshop(2, None);
    let inputs = inputs(&workshop);
    let stage = stage(json!({ "epochs": 8, "schedule": { "kind": "step", "every": 4, "factor": 0.5 } }));
    let outputs = run(&workshop, &stage, &inputs);
    let rows = history_of(&outputs);
    let of = |term: &str| -> Vec<&HistoryRow> { rows.iter().filter(|row| row.term == term).collect() };
    let losses = of("loss");
    assert_eq!(losses.len(), 8 * (36 / 18));
    assert!(losses.iter().enumerate().all(|(step, row)| row.step as usize == step && row.learner as usize == step % 2));
    let mean = |rows: &[&HistoryRow]| rows.iter().map(|row| row.value).sum::<f64>() / rows.len() as f64;
    assert!(mean(&losses[12..]) < mean(&losses[..4]), "{losses:?}");
    assert_eq!(of("lr").iter().map(|row| row.value).collect::<Vec<_>>(), [[1e-2; 8], [5e-3; 8]].concat());
    assert!(of("informative").iter().all(|row| (0.0..=1.0).contains(&row.value)));
    assert!(of("negative_distance").iter().all(|row| (0.0..=2.0).contains(&row.value)));
    assert!(of("orthogonality")[0].value > 0.999, "both masks start as copies");
    let log = workshop.log.0.lock().unwrap();
    let epochs: Vec<&String> = log.iter().filter(|line| line.starts_with("Epoch ")).collect();
    assert_eq!(epochs.len(), 8);
    let means =
        ["loss", "informative", "negative_distance"].map(|term| format!(", {term} {:.4}", mean(&of(term)[14..])));
    assert_eq!(*epochs[7], format!("Epoch 7: 2 steps{}", means.concat()));
    let model = model::Model::open(&artifact(ArtifactKind::Model, &outputs["model"].folder)).unwrap();
    assert_eq!(model.step, 16);
    assert!(model.parameters.iter().any(|tensor| tensor.name == "masks" && tensor.shape == [2, 8]));
    assert!(model.moments.iter().any(|tensor| tensor.name == "masks.first"));
}

#[test]
fn one_learner_gives_the_same_bytes_under_both_schedules_and_any_thread_count() {
    let both = [None, Some(0)].map(|learner| {
        let mut workshop = workshop(1, learner);
        let mut inputs = inputs(&workshop);
        // All images in one cluster.
        workshop.ambient.learners = Some(1);
        let ids: Vec<u32> = (0..36).collect();
        let division = assignments::ClusterRows {
            ids: &ids,
            clusters: &[0; 36],
            distances: &[0.0; 36],
            centroids: &[0.0],
            sizes: &[36],
            dim: 1,
            nmi: None,
        };
        let write = |output: &mut OutputArtifact| assignments::write(output, division);
        inputs.clusters = workshop.write(ArtifactKind::Assignments, write).unwrap().0;
        on_threads(1 + 2 * learner.map_or(0, |_| 1), || digest(&run(&workshop, &stage(json!({})), &inputs)))
    });
    assert_eq!(both[0], both[1]);
}

#[test]
fn materialised_views_train_the_same_model() {
    let workshop = workshop(2, None);
    let inputs = inputs(&workshop);
    let trained = [false, true].map(|materialise| {
        // Cutouts are filled with the colour that the backbone's preprocessing maps to zero.
        let params = json!({ "views": 3, "preset": "geometric-colour", "materialise": materialise });
        let augment: Augment = serde_json::from_value(params).unwrap();
        let ports = [("images", &inputs.images), ("model", &inputs.model)];
        let views = workshop.run(&augment, &ports[..1 + usize::from(materialise)]).unwrap();
        let views = artifact(ArtifactKind::Views, &views["views"].folder);
        assert_eq!(views.files.iter().any(|file| file.name == "pixels-00000.arrow"), materialise);
        let ports =
            [("images", &inputs.images), ("clusters", &inputs.clusters), ("model", &inputs.model), ("views", &views)];
        digest(&workshop.run(&stage(json!({})), &ports).unwrap())
    });
    assert_eq!(trained[0], trained[1]);
    assert_ne!(trained[0], digest(&run(&workshop, &stage(json!({})), &inputs)));
}

/// Observer that cancels the run after a number of batches.
struct CancelAfter {
    cancelled: AtomicBool,
    batches: std::sync::atomic::AtomicU64,
    after: u64,
}

impl Observer for CancelAfter {
    fn progress(&self, _: u64, _: u64, _: &str) {
        if self.batches.fetch_add(1, Ordering::Relaxed) + 1 == self.after {
            self.cancelled.store(true, Ordering::Relaxed);
        }
    }
    fn log(&self, _: &str) {}
    fn warn(&self, _: &str) {}
    fn measured(&self, _: &str, _: f64) {}
}

#[test]
fn a_cancelled_run_resumes_and_ends_with_the_same_bytes() {
    check_resuming(&stage(json!({ "freeze_backbone": 1 })));
}

#[test]
fn a_cancelled_run_resumes_with_its_cross_batch_memory() {
    check_resuming(&stage(json!({ "loss": { "kind": "xbm", "size": 40, "warm_up": 1 } })));
}

#[test]
fn a_new_round_starts_with_an_empty_cross_batch_memory() {
    let workshop = workshop(2, None);
    let mut inputs = inputs(&workshop);
    let stage = stage(json!({ "epochs": 2, "loss": { "kind": "xbm", "size": 100, "warm_up": 0 } }));
    for _ in 0..2 {
        let outputs = run(&workshop, &stage, &inputs);
        inputs.model = artifact(ArtifactKind::Model, &outputs["model"].folder);
        let tensors = model::Model::open(&inputs.model).unwrap().parameters;
        let state =
            |learner: u32| tensors.iter().find(|t| t.name == format!("loss.state.{learner}.embeddings")).unwrap();
        // Two epochs of one batch of 18 images per learner.
        assert_eq!((state(0).shape.as_slice(), state(1).shape.as_slice()), ([36, 8].as_slice(), [36, 8].as_slice()));
    }
}

/// Checks that a training that is cancelled several times gives the same bytes as an uninterrupted one.
fn check_resuming(stage: &Train) {
    let workshop = workshop(2, None);
    let inputs = inputs(&workshop);
    let uninterrupted = digest(&run(&workshop, stage, &inputs));

    let scratch = workshop.path().join("scratch");
    fs::create_dir_all(&scratch).unwrap();
    // Cancelled in the first epoch, in the second and in the third; then run to the end.
    for (attempt, after) in [1, 3, 3, u64::MAX].into_iter().enumerate() {
        let folder = || Ok(tempfile::tempdir_in(workshop.path())?.keep());
        let observer = CancelAfter { cancelled: AtomicBool::new(false), batches: 0.into(), after };
        let columns = |port: &str| stage.ports().inputs.into_iter().find(|input| input.name == port).unwrap().columns;
        let given = [("images", &inputs.images), ("clusters", &inputs.clusters), ("model", &inputs.model)]
            .map(|(port, found)| (port.to_owned(), vec![InputArtifact { columns: columns(port), ..found.clone() }]));
        let ambient = AmbientValues { previous_learners: None, ..workshop.ambient };
        let kept = || Ok(scratch.clone());
        let devices = Devices::default();
        let mut context = Context::new(Environment {
            inputs: given.into(),
            sources: BTreeMap::new(),
            own: Vec::new(),
            ambient,
            device: DeviceChoice::Cpu,
            devices: &devices,
            earlier: BTreeMap::new(),
            known_digest: &|_| None,
            output: &folder,
            folder: &folder,
            scratch: &kept,
            observer: &observer,
            cancelled: &observer.cancelled,
        });
        let result = Stage::run(stage, &mut context);
        if after < u64::MAX {
            assert!(matches!(result, Err(StageError::Cancelled)), "attempt {attempt}");
        } else {
            result.unwrap();
            assert_eq!(observer.batches.load(Ordering::Relaxed), 2, "only the last epoch is trained again");
            assert_eq!(digest(&context.finish()), uninterrupted);
        }
    }
}

#[test]
fn a_frozen_backbone_is_unchanged_and_the_embedding_is_trained() {
    let workshop = workshop(2, Some(1));
    let inputs = inputs(&workshop);
    let outputs = run(&workshop, &stage(json!({ "freeze_backbone": 1, "epochs": 1 })), &inputs);
    let open = |artifact: &InputArtifact| model::Model::open(artifact).unwrap().parameters;
    let (before, after) = (open(&inputs.model), open(&artifact(ArtifactKind::Model, &outputs["model"].folder)));
    for tensor in before {
        let now = after.iter().find(|now| now.name == tensor.name).unwrap();
        assert_eq!(*now == tensor, !tensor.name.starts_with("embedding."), "{}", tensor.name);
    }
    assert!(history_of(&outputs).iter().all(|row| row.learner == 1));
}

#[test]
fn invalid_values_are_refused() {
    let check = |params: serde_json::Value, expected: &str| {
        let error = StageKind::of::<Train>().parse(params).err().unwrap();
        assert_eq!(format!("{}: {error}", error.key), expected);
    };
    check(json!({ "epochs": 0 }), "epochs: `epochs` must be at least 1");
    check(
        json!({ "loss": { "kind": "margin", "beta": 3.0 } }),
        "loss.beta: `beta` cannot be 3: it must lie between 0 and 2",
    );
    check(
        json!({ "loss": { "kind": "xbm", "loss": { "kind": "margin", "beta": 3.0 } } }),
        "loss.loss.beta: `beta` cannot be 3: it must lie between 0 and 2",
    );
    check(
        json!({ "loss": { "kind": "n_pairs" }, "miner": { "kind": "hard" } }),
        "miner: This loss uses every image of a batch and takes no miner",
    );
    let miner = |miner: serde_json::Value| json!({ "miner": miner });
    check(
        miner(json!({ "kind": "distance_weighted", "dimension": 0 })),
        "miner.dimension: `dimension` cannot be 0: it must be above 0",
    );
    check(
        miner(json!({ "kind": "distance_weighted", "cutoff": 5.0 })),
        "miner.cutoff: `cutoff` cannot be 5: it must lie between 0 and 2",
    );
    check(
        miner(json!({ "kind": "distance_weighted", "cutoff": 0.0 })),
        "miner.cutoff: `cutoff` cannot be 0: it must be above 0",
    );
    check(
        miner(json!({ "kind": "distance_weighted", "beyond": 2.5 })),
        "miner.beyond: `beyond` cannot be 2.5: it must lie between 0 and 2",
    );
    check(
        miner(json!({ "kind": "nearest_beyond", "cutoff": 5.0 })),
        "miner.cutoff: `cutoff` cannot be 5: it must lie between 0 and 2",
    );
    check(
        miner(json!({ "kind": "multi_similarity", "epsilon": -0.1 })),
        "miner.epsilon: `epsilon` cannot be -0.1: it must be 0 or more",
    );
    check(
        json!({ "subspaces": { "kind": "learned_mask", "orthogonality": -1.0 } }),
        "subspaces.orthogonality: `orthogonality` cannot be -1: it must be 0 or more",
    );
    check(
        json!({ "freeze_backbone": 3 }),
        "freeze_backbone: `freeze_backbone` must not exceed `epochs`, but it is 3 and `epochs` is 2",
    );
    check(
        json!({ "optimiser": { "masks": { "lr": -1.0 } } }),
        "optimiser.masks.lr: `masks.lr` must be 0 or more, but is -1",
    );
    check(
        json!({ "sampler": { "kind": "class_balanced", "batch": 10 } }),
        "sampler.batch: `batch` cannot be 10: it must be a multiple of `per_class`, which is 4, and at least twice as large",
    );
}

#[test]
fn unusable_inputs_are_errors() {
    let mut workshop = workshop(2, None);
    let inputs = inputs(&workshop);
    let stage = stage(json!({}));
    let error = workshop.run(&stage, &[("images", &inputs.images), ("model", &inputs.model)]).err().unwrap();
    assert_eq!(error.to_string(), "The input `clusters` is not connected, but it is needed to train 2 learners");
    workshop.ambient.learners = Some(1);
    let ports = [("images", &inputs.images), ("clusters", &inputs.clusters), ("model", &inputs.model)];
    let error = workshop.run(&stage, &ports).err().unwrap();
    assert_eq!(error.to_string(), "Image 6 is in cluster 1, but the learners are numbered from 0 to 0");
}

#[test]
fn a_training_that_cannot_work_is_announced() {
    let warnings = |params: serde_json::Value| {
        let workshop = workshop(1, None);
        let Inputs { images, model, .. } = inputs(&workshop);
        workshop.run(&stage(params), &[("images", &images), ("model", &model)]).unwrap();
        let log = workshop.log.0.lock().unwrap().clone();
        log.into_iter().filter(|line| !line.starts_with("Epoch")).collect::<Vec<_>>().join("\n")
    };
    let batch = |batch: u32| json!({ "kind": "class_balanced", "batch": batch, "per_class": 6 });
    insta::assert_snapshot!(warnings(json!({ "epochs": 10 })), @"36 training images in batches of 18: 2 steps per epoch, 20 in all");
    insta::assert_snapshot!(
        warnings(json!({ "epochs": 2, "sampler": batch(48), "optimiser": { "lr": 1e-5 } })),
        @r"
        36 training images in batches of 48: 1 step per epoch, 2 in all
        Warning: the batch of 48 images is larger than the training set of 36; reduce `sampler.batch`
        Warning: 36 training images in batches of 48 are 1 step per epoch and 2 in all, too few to learn much; increase `epochs` or reduce `sampler.batch`
        Warning: `optimiser.lr` is 1e-5, too low for a network without pretrained weights; try 3e-4 to 3e-3
        "
    );
}

/// Law 3: a commit that changes these bytes also raises [`Train::VERSION`], and updates the digest.
#[test]
fn the_version_matches_the_bytes() {
    let workshop = workshop(2, None);
    let outputs = run(&workshop, &stage(json!({ "epochs": 2 })), &inputs(&workshop));
    check_known_bytes(
        (Train::VERSION, &outputs),
        (
            8,
            &[
                ("cpu/avx512/gnu", "b17a6d451f4b7943"),
                ("cpu/avx2/gnu", "b17a6d451f4b7943"),
                ("cpu/portable/gnu", "c328fa20c18ae22b"),
            ],
        ),
    );
}
