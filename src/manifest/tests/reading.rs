//! The meaning of valid manifests.

use super::{PIPELINE, read, refused};
use crate::manifest::{Connection, Per, Reference, When, Which};

#[test]
fn a_pipeline_is_read() {
    let manifest = read(PIPELINE, &[]).expect("the pipeline is valid");
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
fn references_are_resolved_as_documented() {
    let manifest = read(PIPELINE, &[]).expect("the pipeline is valid");
    let connection = |stage: usize, port: usize| manifest.stages[stage].inputs[port].clone();
    let reference = |stage, output, when, which| Reference { stage, output, when, which };
    for (stage, port, expected) in [
        // embed.model = "merge@previous or init"
        (2, 1, vec![reference(5, 0, When::Previous, Which::Shared), reference(1, 0, When::Once, Which::Shared)]),
        // cluster.embeddings = "embed"
        (3, 0, vec![reference(2, 0, When::Same, Which::Shared)]),
        // merge.learners = "train": the output of kind `model`, of all learners
        (5, 0, vec![reference(4, 0, When::Same, Which::All)]),
        // evaluate.model = "merge": evaluate runs once, so it reads from the last round
        (6, 1, vec![reference(5, 0, When::Last, Which::Shared)]),
    ] {
        assert_eq!(connection(stage, port), Connection { feeds: vec![expected] }, "stage {stage}, port {port}");
    }
}

#[test]
fn defaults_are_written_out() {
    let manifest = read(PIPELINE, &[]).expect("the pipeline is valid");
    let loss = &manifest.stages[4].params["loss"];
    assert_eq!(loss, &serde_json::json!({ "kind": "margin", "beta": 1.0, "margin": 0.3 }));
}

/// A manifest that is long enough to be parsed in pieces.
fn long(last: &str) -> String {
    let stage = |index| format!("[stage.images-{index}]\nkind = \"decode\"\nroot = \"images/{index}\"\n\n");
    format!("name = \"long\"\nseed = 7\n\n{}{last}", (0..5_000).map(stage).collect::<String>())
}

#[test]
fn a_long_manifest_is_the_same_in_pieces_as_in_one() {
    let text = long("[stage.images]\nkind = \"decode\"\nroot = \"images\"\n");
    let in_pieces = read(&text, &[]).expect("the manifest is valid");
    assert_eq!(in_pieces.stages.len(), 5_001);
    assert_eq!(in_pieces.stages[4_321].name, "images-4321");
    let in_one = read(&text, &["seed=7"]).expect("the manifest is valid");
    assert!(in_pieces.to_toml() == in_one.to_toml(), "with an override it is parsed in one piece");
    // Text that is not ASCII, or a subtable far from its stage, is parsed in one piece.
    let umlaut = read(&text.replace("images/17\"", "bäume\""), &[]).expect("the manifest is valid");
    assert_eq!(umlaut.stages[17].params["root"], "bäume");
    let apart = read(&long("[stage.images-3.resources]\nthreads = 2\n"), &[]).expect("the manifest is valid");
    assert_eq!(apart.stages[3].resources.threads, Some(2));
}

#[test]
fn problems_of_a_long_manifest_have_the_right_line() {
    let twice = refused(&long("[stage.images-5]\nkind = \"decode\"\nroot = \"x\"\n"));
    assert!(twice.contains("Duplicate stage `images-5`") && twice.contains(":20004:8"), "{twice}");
    let unknown = refused(&long("[stage.last]\nkind = \"decode\"\nrot = \"x\"\n"));
    assert!(unknown.contains(":20006:1"), "{unknown}");
}
