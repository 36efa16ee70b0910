//! `train` on tiny images of stripes, as the executor runs it.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::*;
use crate::augment::Augment;
use crate::context::{AmbientValues, InputArtifact, Observer, Surroundings};
use crate::device::DeviceChoice;
use crate::init::Init;
use crate::stage::StageKind;
use crate::tables::assignments;
use crate::tables::images::{ImageRow, ImagesWriter};
use crate::testing::{Outputs, Workshop, artifact, check_known_bytes, digest, on_threads};

const SIDE: u16 = 16;

/// Six training classes and a test class of six images each; the classes of even number are cluster 0.
struct Inputs {
    images: InputArtifact,
    clusters: InputArtifact,
    model: InputArtifact,
}

fn inputs(workshop: &Workshop) -> Inputs {
    let write = |context: &mut Context<'_>| {
        let mut writer = ImagesWriter::create(context, "images")?;
        for image in 0..42_u32 {
            let class = image / 6;
            let pixels: Vec<u8> = (0..u32::from(SIDE) * u32::from(SIDE) * 3)
                .map(|place| {
                    let (x, y, colour) = (place / 3 % 16, place / 48, place % 3);
                    let along = if class % 2 == 0 { x } else { y };
                    let light = if (along / (1 + class / 4)) % 2 == 0 { 200 } else { 40 };
                    let noise = place.wrapping_mul(2_654_435_761).wrapping_add(image * 40_503) >> 27;
                    (light / (1 + u32::from(colour != class % 3)) + noise) as u8
                })
                .collect();
            let split = if class == 6 { Split::Test } else { Split::Train };
            let (source, height, width) = ("stripes", SIDE, SIDE);
            // Labels are neither dense nor from 0 on.
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
        writer.finish(context)
    };
    let images = workshop.write(Kind::Images, "images", write).unwrap().0;
    let ids: Vec<u32> = (0..36).collect();
    let clusters: Vec<i32> = ids.iter().map(|id| if *id == 35 { -1 } else { (id / 6 % 2) as i32 }).collect();
    let (distances, centroids, sizes) = (vec![0.0; 36], [0.0; 2], [18, 17]);
    let division = assignments::Division {
        ids: &ids,
        clusters: &clusters,
        distances: &distances,
        centroids: &centroids,
        sizes: &sizes,
        dim: 1,
        nmi: None,
    };
    let write = |context: &mut Context<'_>| assignments::write(context, "assignments", division);
    let clusters = workshop.write(Kind::Assignments, "assignments", write).unwrap().0;
    let init: Init =
        serde_json::from_value(json!({ "backbone": "small", "dimension": 8, "crop": 16, "resize": 16 })).unwrap();
    let model = artifact(Kind::Model, &workshop.run(&init, &[]).unwrap()["model"].folder);
    Inputs { images, clusters, model }
}

fn stage(params: serde_json::Value) -> Train {
    let mut whole = json!({
        "epochs": 3,
        "sampler": { "kind": "class_balanced", "batch": 18, "per_class": 6 },
        "optimiser": { "lr": 1e-2 },
    });
    let serde_json::Value::Object(params) = params else { unreachable!("tests write tables") };
    params.into_iter().for_each(|(key, value)| whole[key] = value);
    serde_json::from_value(whole).unwrap()
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
    history::open(&artifact(Kind::History, &outputs["history"].folder)).unwrap()
}

#[test]
fn the_loss_falls_and_the_history_says_how() {
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
    assert!(of("orthogonality")[0].value > 0.999, "both masks begin as copies");
    let log = workshop.log.0.lock().unwrap();
    let epochs: Vec<&String> = log.iter().filter(|line| line.starts_with("Epoch ")).collect();
    assert_eq!(epochs.len(), 8);
    let means =
        ["loss", "informative", "negative_distance"].map(|term| format!(", {term} {:.4}", mean(&of(term)[14..])));
    assert_eq!(*epochs[7], format!("Epoch 7: 2 steps{}", means.concat()));
    let model = model::Model::open(&artifact(Kind::Model, &outputs["model"].folder)).unwrap();
    assert_eq!(model.step, 16);
    assert!(model.parameters.iter().any(|tensor| tensor.name == "masks" && tensor.shape == [2, 8]));
    assert!(model.moments.iter().any(|tensor| tensor.name == "masks.first"));
}

#[test]
fn one_learner_gives_the_same_bytes_under_both_schedules_and_for_any_threads() {
    let both = [None, Some(0)].map(|learner| {
        let mut workshop = workshop(1, learner);
        let mut inputs = inputs(&workshop);
        // All images in one cluster.
        workshop.ambient.learners = Some(1);
        let ids: Vec<u32> = (0..36).collect();
        let division = assignments::Division {
            ids: &ids,
            clusters: &[0; 36],
            distances: &[0.0; 36],
            centroids: &[0.0],
            sizes: &[36],
            dim: 1,
            nmi: None,
        };
        let write = |context: &mut Context<'_>| assignments::write(context, "assignments", division);
        inputs.clusters = workshop.write(Kind::Assignments, "assignments", write).unwrap().0;
        on_threads(1 + 2 * learner.map_or(0, |_| 1), || digest(&run(&workshop, &stage(json!({})), &inputs)))
    });
    assert_eq!(both[0], both[1]);
}

#[test]
fn materialised_views_train_the_same_model() {
    let workshop = workshop(2, None);
    let inputs = inputs(&workshop);
    let trained = [false, true].map(|materialise| {
        // Cutouts show the colour that the backbone takes for nothing.
        let params = json!({ "views": 3, "preset": "geometric-colour", "materialise": materialise });
        let augment: Augment = serde_json::from_value(params).unwrap();
        let ports = [("images", &inputs.images), ("model", &inputs.model)];
        let views = workshop.run(&augment, &ports[..1 + usize::from(materialise)]).unwrap();
        let views = artifact(Kind::Views, &views["views"].folder);
        assert_eq!(views.files.iter().any(|file| file.name == "pixels-00000.arrow"), materialise);
        let ports =
            [("images", &inputs.images), ("clusters", &inputs.clusters), ("model", &inputs.model), ("views", &views)];
        digest(&workshop.run(&stage(json!({})), &ports).unwrap())
    });
    assert_eq!(trained[0], trained[1]);
    assert_ne!(trained[0], digest(&run(&workshop, &stage(json!({})), &inputs)));
}

/// Cancels after so many batches.
struct Impatient {
    cancelled: AtomicBool,
    batches: std::sync::atomic::AtomicU64,
    after: u64,
}

impl Observer for Impatient {
    fn progress(&self, _: u64, _: u64, _: &str) {
        if self.batches.fetch_add(1, Ordering::Relaxed) + 1 == self.after {
            self.cancelled.store(true, Ordering::Relaxed);
        }
    }
    fn log(&self, _: &str) {}
    fn measured(&self, _: &str, _: f64) {}
}

#[test]
fn a_stopped_training_goes_on_and_ends_with_the_same_bytes() {
    let workshop = workshop(2, None);
    let inputs = inputs(&workshop);
    let stage = stage(json!({ "freeze_backbone": 1 }));
    let whole = digest(&run(&workshop, &stage, &inputs));

    let scratch = workshop.path().join("scratch");
    fs::create_dir_all(&scratch).unwrap();
    // Stopped in the first epoch, in the second and in the third; then left alone.
    for (attempt, after) in [1, 3, 3, u64::MAX].into_iter().enumerate() {
        let folder = || Ok(tempfile::tempdir_in(workshop.path())?.keep());
        let observer = Impatient { cancelled: AtomicBool::new(false), batches: 0.into(), after };
        let columns = |port: &str| stage.ports().inputs.into_iter().find(|input| input.name == port).unwrap().columns;
        let given = [("images", &inputs.images), ("clusters", &inputs.clusters), ("model", &inputs.model)]
            .map(|(port, found)| (port.to_owned(), vec![InputArtifact { columns: columns(port), ..found.clone() }]));
        let ambient = AmbientValues { previous_learners: None, ..workshop.ambient };
        let kept = || Ok(scratch.clone());
        let mut context = Context::new(Surroundings {
            inputs: given.into(),
            sources: BTreeMap::new(),
            ambient,
            device: DeviceChoice::Cpu,
            earlier: BTreeMap::new(),
            known_digest: &|_| None,
            output: &folder,
            folder: &folder,
            scratch: &kept,
            observer: &observer,
            cancelled: &observer.cancelled,
        });
        let result = Stage::run(&stage, &mut context);
        if after < u64::MAX {
            assert!(matches!(result, Err(StageError::Cancelled)), "attempt {attempt}");
        } else {
            result.unwrap();
            assert_eq!(observer.batches.load(Ordering::Relaxed), 2, "only the last epoch is trained again");
            assert_eq!(digest(&context.finish()), whole);
        }
    }
}

#[test]
fn a_frozen_backbone_stays_and_the_embedding_moves() {
    let workshop = workshop(2, Some(1));
    let inputs = inputs(&workshop);
    let outputs = run(&workshop, &stage(json!({ "freeze_backbone": 1, "epochs": 1 })), &inputs);
    let open = |artifact: &InputArtifact| model::Model::open(artifact).unwrap().parameters;
    let (before, after) = (open(&inputs.model), open(&artifact(Kind::Model, &outputs["model"].folder)));
    for tensor in before {
        let now = after.iter().find(|now| now.name == tensor.name).unwrap();
        assert_eq!(*now == tensor, !tensor.name.starts_with("embedding."), "{}", tensor.name);
    }
    assert!(history_of(&outputs).iter().all(|row| row.learner == 1));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let check = |params: serde_json::Value, expected: &str| {
        let error = StageKind::of::<Train>().parse(params).err().unwrap();
        assert_eq!(format!("{}: {error}", error.key), expected);
    };
    check(json!({ "epochs": 0 }), "epochs: A training has at least one epoch");
    check(
        json!({ "loss": { "kind": "margin", "beta": 3.0 } }),
        "loss.beta: `beta` cannot be 3: it must lie between 0 and 2",
    );
    check(
        json!({ "loss": { "kind": "n_pairs" }, "miner": { "kind": "hard" } }),
        "miner: This loss looks at the whole batch and takes no miner",
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
    check(json!({ "freeze_backbone": 3 }), "freeze_backbone: 3 frozen epochs do not fit a round of 2");
    check(
        json!({ "optimiser": { "masks": { "lr": -1.0 } } }),
        "optimiser.masks.lr: -1 is no rate: it must be 0 or more",
    );
    check(
        json!({ "sampler": { "kind": "class_balanced", "batch": 10 } }),
        "sampler.batch: `batch` cannot be 10: it must be a multiple of `per_class`, 4, and hold two classes",
    );
}

#[test]
fn inputs_that_do_not_fit_are_told() {
    let mut workshop = workshop(2, None);
    let inputs = inputs(&workshop);
    let stage = stage(json!({}));
    let error = workshop.run(&stage, &[("images", &inputs.images), ("model", &inputs.model)]).err().unwrap();
    assert_eq!(error.to_string(), "2 learners are to be trained, but the port `clusters` is empty");
    workshop.ambient.learners = Some(1);
    let ports = [("images", &inputs.images), ("clusters", &inputs.clusters), ("model", &inputs.model)];
    let error = workshop.run(&stage, &ports).err().unwrap();
    assert_eq!(error.to_string(), "Image 6 is in cluster 1, but there are 1 learners");
}

/// Law 3: whoever changes these bytes raises [`Train::VERSION`] in the same commit, and then this digest.
#[test]
fn the_version_stands_for_these_bytes() {
    let workshop = workshop(2, None);
    let outputs = run(&workshop, &stage(json!({ "epochs": 2 })), &inputs(&workshop));
    check_known_bytes((Train::VERSION, &outputs), (6, "709542e685156c23"));
}
