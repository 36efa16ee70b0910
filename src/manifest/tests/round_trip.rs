//! The resolved manifest is equivalent to the original.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::{Manifest, PIPELINE, read};

#[test]
fn the_resolved_pipeline() {
    assert_snapshot!(read(PIPELINE, &["seed=3"]).expect("the pipeline is valid").to_toml(), @r#"
        name = "emoji"
        seed = 3

        [rounds]
        learners = [1, 2, 4, 4]

        [stage.decode]
        kind = "decode"
        per = "once"
        root = "images"

        [stage.init]
        kind = "init"
        per = "once"
        backbone = "resnet18"
        dimension = 64

        [stage.embed]
        kind = "embed"
        per = "round"
        in = { images = "decode.images", model = "merge.model@previous or init.model" }
        batch = 80

        [stage.cluster]
        kind = "cluster"
        per = "round"
        in = { embeddings = "embed.embeddings", previous = "cluster.assignments@previous" }

        [stage.train]
        kind = "train"
        per = "learner"
        in = { images = "decode.images", clusters = "cluster.assignments", model = "merge.model@previous or init.model" }
        decay = []
        loss = { beta = 1.0, kind = "margin", margin = 0.3 }

        [stage.merge]
        kind = "merge"
        per = "round"
        in = { learners = "train.model" }

        [stage.evaluate]
        kind = "evaluate"
        per = "once"
        in = { images = "decode.images", model = "merge.model@last" }
        recall = [1, 10]
        "#);
}

/// The parts in which two equivalent manifests must agree, as text.
fn contents(manifest: &Manifest) -> String {
    let stages = manifest.stages.iter().map(|stage| {
        let (name, kind, per, retain) = (&stage.name, stage.kind.name, stage.per, stage.retain);
        let (ports, inputs, resources) = (&stage.ports, &stage.inputs, stage.resources);
        format!("{name} {kind} {per:?} {retain:?} {} {ports:?} {inputs:?} {resources:?}\n", stage.params)
    });
    let stages: String = stages.collect();
    format!("{} {} {:?}\n{stages}", manifest.name, manifest.seed, manifest.learners)
}

fn check(text: &str, sets: &[&str]) -> Result<(), TestCaseError> {
    let manifest = read(text, sets).map_err(|problems| TestCaseError::fail(problems.to_string()))?;
    let again = read(&manifest.to_toml(), &[]).map_err(|problems| TestCaseError::fail(problems.to_string()))?;
    prop_assert_eq!(contents(&manifest), contents(&again));
    prop_assert_eq!(manifest.to_toml(), again.to_toml());
    Ok(())
}

#[test]
fn rare_features() {
    for set in [
        "stage.embed.retain=\"last\"",
        "stage.embed.resources={ threads = 2, memory = \"1.5GiB\", gpu = false }",
        "stage.evaluate.in.model=merge@2",
        "stage.merge.in.learners=[\"train\", \"merge@previous or init\", \"train@0\"]",
        "seed=18446744073709551615",
        "rounds.learners={ first = 2, double_to = 8, hold = 5 }",
    ] {
        check(PIPELINE, &[set]).expect(set);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_value_survives(
        seed: u64,
        words in proptest::collection::vec(".*", 1..4),
        environment in proptest::collection::btree_map(".*", any::<String>(), 0..4),
        margin in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO,
        doublings in 0u32..5,
    ) {
        let words = serde_json::json!(words).to_string().replace('\u{7f}', "\\u007f");
        let entries = environment.iter().map(|(key, value)| {
            format!("{} = {}", serde_json::json!(key), serde_json::json!(value)).replace('\u{7f}', "\\u007f")
        });
        let command = format!(
            "[stage.echo]\nkind = \"command\"\nprogram = {words}\nenvironment = {{ {} }}\n",
            entries.collect::<Vec<_>>().join(", ")
        );
        let learners = format!("rounds.learners={{ double_to = {} }}", 1 << doublings);
        let sets = [format!("seed={seed}"), format!("stage.train.loss.margin={margin:?}"), learners];
        check(&format!("{PIPELINE}\n{command}"), &sets.each_ref().map(String::as_str))?;
    }
}
