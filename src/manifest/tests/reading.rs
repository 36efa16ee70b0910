//! What a right manifest means.

use super::{PIPELINE, read, refused};
use crate::manifest::{Per, Reference, When, Which, Wire};

#[test]
fn a_pipeline_is_read() {
    let manifest = read(PIPELINE, &[]).expect("the pipeline is right");
    assert_eq!((manifest.name.as_str(), manifest.seed), ("emoji", 0));
    assert_eq!(manifest.learners, [1, 2, 4, 4]);
    let names: Vec<(&str, Per)> = manifest.stages.iter().map(|stage| (stage.name.as_str(), stage.per)).collect();
    assert_eq!(
        names,
        [
            ("decode", Per::Once),
            ("init", Per::Once),
            ("embed", Per::Round),
            ("cluster", Per::Round),
            ("train", Per::Learner),
            ("merge", Per::Round),
            ("evaluate", Per::Once),
        ]
    );
}

#[test]
fn references_mean_what_stands_in_the_guide() {
    let manifest = read(PIPELINE, &[]).expect("the pipeline is right");
    let wire = |stage: usize, port: usize| manifest.stages[stage].inputs[port].clone();
    let fed = |stage, output, when, which| Reference { stage, output, when, which };
    for (stage, port, expected) in [
        // embed.model = "merge@previous or init"
        (2, 1, vec![fed(5, 0, When::Previous, Which::Shared), fed(1, 0, When::Once, Which::Shared)]),
        // cluster.embeddings = "embed"
        (3, 0, vec![fed(2, 0, When::Same, Which::Shared)]),
        // merge.learners = "train": the model of its two outputs, of all learners
        (5, 0, vec![fed(4, 0, When::Same, Which::All)]),
        // evaluate.model = "merge": evaluate is done once, so the last round's
        (6, 1, vec![fed(5, 0, When::Last, Which::Shared)]),
    ] {
        assert_eq!(wire(stage, port), Wire { feeds: vec![expected] }, "stage {stage}, port {port}");
    }
}

#[test]
fn defaults_are_written_out() {
    let manifest = read(PIPELINE, &[]).expect("the pipeline is right");
    let loss = &manifest.stages[4].params["loss"];
    assert_eq!(loss, &serde_json::json!({ "kind": "margin", "beta": 1.0, "margin": 0.3 }));
}

/// A manifest long enough to be parsed in pieces.
fn long(last: &str) -> String {
    let stage = |index| format!("[stage.images-{index}]\nkind = \"decode\"\nroot = \"images/{index}\"\n\n");
    format!("name = \"long\"\nseed = 7\n\n{}{last}", (0..5_000).map(stage).collect::<String>())
}

#[test]
fn a_long_manifest_means_the_same_in_pieces() {
    let text = long("[stage.images]\nkind = \"decode\"\nroot = \"images\"\n");
    let in_pieces = read(&text, &[]).expect("it is right");
    assert_eq!(in_pieces.stages.len(), 5_001);
    assert_eq!(in_pieces.stages[4_321].name, "images-4321");
    let in_one = read(&text, &["seed=7"]).expect("it is right");
    assert!(in_pieces.to_toml() == in_one.to_toml(), "an override makes it be read in one piece");
    // Beyond ASCII, and with a table of a stage far from the stage, it is read in one piece.
    let umlaut = read(&text.replace("images/17\"", "bäume\""), &[]).expect("it is right");
    assert_eq!(umlaut.stages[17].params["root"], "bäume");
    let apart = read(&long("[stage.images-3.resources]\nthreads = 2\n"), &[]).expect("it is right");
    assert_eq!(apart.stages[3].resources.threads, Some(2));
}

#[test]
fn a_long_manifest_is_refused_at_the_right_place() {
    let twice = refused(&long("[stage.images-5]\nkind = \"decode\"\nroot = \"x\"\n"));
    assert!(twice.contains("Two stages are called `images-5`") && twice.contains(":20004:8"), "{twice}");
    let unknown = refused(&long("[stage.last]\nkind = \"decode\"\nrot = \"x\"\n"));
    assert!(unknown.contains(":20006:1"), "{unknown}");
}
