//! What a right manifest means.

use super::{PIPELINE, read};
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
