//! `--set` and `--vary`.

use insta::assert_snapshot;
use serde_json::json;

use super::{PIPELINE, read};
use crate::manifest::{Override, vary};

fn refused(set: &str) -> String {
    read(PIPELINE, &[set]).err().expect("the override is invalid").to_string()
}

#[test]
fn set_replaces_a_value_of_the_manifest() {
    for (set, stage, key, expected) in [
        ("stage.train.loss.margin=0.1", 4, "/loss/margin", json!(0.1)),
        ("stage.train.loss.margin = 1", 4, "/loss/margin", json!(1.0)),
        ("stage.train.loss.beta=2.5", 4, "/loss/beta", json!(2.5)),
        ("stage.train.epochs=3", 4, "/epochs", json!(3)),
        ("stage.train.loss={ kind = \"triplet\", margin = 0.5 }", 4, "/loss/kind", json!("triplet")),
        ("stage.init.backbone=resnet50", 1, "/backbone", json!("resnet50")),
        ("stage.init.backbone=\"resnet50\"", 1, "/backbone", json!("resnet50")),
        ("stage.decode.root=/data/Stanford Online", 0, "/root", json!("/data/Stanford Online")),
        ("stage.decode.root=2019-06-16", 0, "/root", json!("2019-06-16")),
        ("stage.\"decode\".root='a=b,c'", 0, "/root", json!("a=b,c")),
        ("stage.evaluate.recall=[1, 2, 4]", 6, "/recall", json!([1, 2, 4])),
        ("stage.evaluate.recall.1=100", 6, "/recall", json!([1, 100])),
    ] {
        let manifest = read(PIPELINE, &[set]).expect(set);
        assert_eq!(manifest.stages[stage].params.pointer(key), Some(&expected), "{set}");
    }
    assert_eq!(read(PIPELINE, &["seed=7"]).expect("a seed").seed, 7);
    assert_eq!(read(PIPELINE, &["seed=7", "seed=8"]).expect("two seeds").seed, 8);
    assert_eq!(read(PIPELINE, &["rounds.learners=[1, 1]"]).expect("a baseline").learners, [1, 1]);
    let added = "stage.score={ kind = \"evaluate\", in = { images = \"decode\", model = \"merge@0\" } }";
    assert_eq!(read(PIPELINE, &[added]).expect("a new stage").stages[7].name, "score");
}

#[test]
fn a_key_inside_a_default_keeps_the_kind_of_the_default() {
    let without_loss: String =
        PIPELINE.lines().filter(|line| !line.starts_with("loss")).map(|line| format!("{line}\n")).collect();
    assert_ne!(without_loss.len(), PIPELINE.len());
    let manifest = read(&without_loss, &["stage.train.loss.margin=0.1"]).expect("the default loss has a margin");
    let loss = &manifest.stages[4].params["loss"];
    assert_eq!((&loss["kind"], &loss["margin"]), (&json!("margin"), &json!(0.1)));
    let error = read(&without_loss, &["stage.train.loss.scale=1"]).err().expect("it has no scale").to_string();
    assert!(error.contains("scale"), "{error}");
}

#[test]
fn problems_are_underlined_in_the_argument() {
    assert_snapshot!(refused("stage.train.loss.mragin=0.1"), @r"
        error: Unknown parameter `loss.mragin` of `train`
        --> --set:1:18
         |
         | stage.train.loss.mragin=0.1
         |                  ^^^^^^
         |
         = hint: Did you mean `margin`?
        ");
    assert_snapshot!(refused("stage.tarin.loss.margin=0.1"), @r"
        error: Unknown stage `tarin`
        --> --set:1:7
         |
         | stage.tarin.loss.margin=0.1
         |       ^^^^^
         |
         = hint: Did you mean `train`?
        ");
    assert_snapshot!(refused("stage.train.loss.margin=wide"), @r"
        error: `loss.margin` must be a number
        --> --set:1:25
         |
         | stage.train.loss.margin=wide
         |                         ^^^^ found a string
        ");
    assert_snapshot!(refused("stage.train.loss.margin.x=1"), @r#"
        error: Cannot set a key inside a float
          --> --set:1:25
           |
           | stage.train.loss.margin.x=1
           |                         ^
           |
          ::: m.toml:24:36
           |
        24 | loss = { kind = "margin", margin = 0.3 }
           |                                    --- not a table
        "#);
    assert_snapshot!(refused("stage.evaluate.recall.2=1"), @r"
        error: `2` is not an index of an array of 2 items
        --> --set:1:23
         |
         | stage.evaluate.recall.2=1
         |                       ^
         |
         = hint: Indices start at 0.
        ");
    assert_snapshot!(refused("stage.evaluate.in.model=train.histroy"), @r"
        error: `train` has no output `histroy`
        --> --set:1:31
         |
         | stage.evaluate.in.model=train.histroy
         |                               ^^^^^^^
         |
         = hint: Did you mean `history`?
        ");
    assert_snapshot!(refused("rounds.learners=[1, 3]"), @r"
        error: `learners` cannot go from 1 to 3
        --> --set:1:21
         |
         | rounds.learners=[1, 3]
         |                  -  ^
         |                  |
         |                  the previous round
         |
         = hint: Stay at 1, double to 2 (each cluster is split in two) or restart at 1.

        error: Cannot divide an embedding of 64 dimensions among 3 learners
          --> --set:1:21
           |
           | rounds.learners=[1, 3]
           |                     ^ does not divide 64
           |
          ::: m.toml:10:8
           |
        10 | [stage.init]
           |        ---- has an embedding of 64 dimensions
           |
           = hint: Make the dimension a multiple of every number of learners.
        ");
    assert_snapshot!(refused("stage.decode.root=\"unclosed"), @r#"
        error: Invalid TOML value
        --> --set:1:28
         |
         | stage.decode.root="unclosed
         |                            ^ invalid basic string, expected `"`
        "#);
    assert_snapshot!(refused("stage..root=x"), @r"
        error: Invalid key `stage..root`
        --> --set:1:1
         |
         | stage..root=x
         | ^^^^^^^^^^^
         |
         = hint: Separate its parts with single dots, as in `stage.train.epochs`.
        ");
    assert_snapshot!(refused("seed"), @r"
        error: `--set` expects `KEY=VALUE`
        --> --set:1:1
         |
         | seed
         | ^^^^
         |
         = hint: For example, `--set stage.train.epochs=3`.
        ");
    assert_snapshot!(refused("=3"), @r"
        error: `--set` expects `KEY=VALUE`
        --> --set:1:1
         |
         | =3
         | ^^
         |
         = hint: For example, `--set stage.train.epochs=3`.
        ");
    assert_snapshot!(refused("seed="), @r"
        error: `--set` expects `KEY=VALUE`
        --> --set:1:1
         |
         | seed=
         | ^^^^^
         |
         = hint: For example, `--set stage.train.epochs=3`.
        ");
}

#[test]
fn every_combination_of_values_is_a_run() {
    let labels = |arguments: &[&str]| {
        let variations = vary(arguments).expect("the arguments are valid");
        variations.into_iter().map(|variation| variation.label).collect::<Vec<_>>()
    };
    assert_eq!(labels(&[]), [""]);
    assert_eq!(labels(&["seed=0,1"]), ["seed=0", "seed=1"]);
    assert_eq!(
        labels(&["seed=0,1", "stage.train.loss.margin=0.1, 0.2"]),
        [
            "seed=0 train.loss.margin=0.1",
            "seed=0 train.loss.margin=0.2",
            "seed=1 train.loss.margin=0.1",
            "seed=1 train.loss.margin=0.2",
        ]
    );
    assert_eq!(
        labels(&["rounds.learners=[1, 1, 1],[1, 2, 4]"]),
        ["rounds.learners=[1, 1, 1]", "rounds.learners=[1, 2, 4]",]
    );
    assert_eq!(labels(&["stage.decode.root='a,b',c"]), ["decode.root='a,b'", "decode.root=c"]);
}

#[test]
fn values_of_vary_are_parsed_like_those_of_set() {
    let variations = vary(&["seed=3,4"]).expect("the argument is valid");
    let seeds = variations.iter().map(|variation| read_with(&variation.overrides));
    assert_eq!(seeds.collect::<Vec<_>>(), [3, 4]);
    assert_snapshot!(vary(&["seed=1,,2"]).expect_err("a value is empty"), @r"
        error: Empty value
        --> --vary:1:8
         |
         | seed=1,,2
         |        ^
         |
         = hint: Write one value between two commas.
        ");
    assert_snapshot!(vary(&["seed=1, 2,1"]).expect_err("a value is there twice"), @r"
        error: The value `1` is listed twice
        --> --vary:1:11
         |
         | seed=1, 2,1
         |           ^
         |
         = hint: Remove one: each value makes one run.
        ");
    let wrong = vary(&["seed=1,two"]).expect("the argument is well-formed");
    let options = super::options(&wrong[1].overrides);
    let refused = super::Manifest::parse("m.toml", PIPELINE.to_owned(), "".into(), options).err();
    assert_snapshot!(refused.expect("`two` is not a seed"), @r"
        error: `seed` must be a non-negative integer
        --> --vary:1:8
         |
         | seed=1,two
         |        ^^^ found a string
        ");
}

fn read_with(overrides: &[Override]) -> u64 {
    let manifest = super::Manifest::parse("m.toml", PIPELINE.to_owned(), "".into(), super::options(overrides));
    manifest.expect("the override is valid").seed
}
