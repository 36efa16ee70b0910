//! `--set` and `--vary`.

use insta::assert_snapshot;
use serde_json::json;

use super::{PIPELINE, read};
use crate::manifest::{Override, vary};

fn refused(set: &str) -> String {
    read(PIPELINE, &[set]).err().expect("the override is wrong").to_string()
}

#[test]
fn a_value_is_laid_over_the_manifest() {
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
fn what_is_wrong_is_underlined_in_the_argument() {
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
        error: There is no stage `tarin`
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
        error: There is nothing below a float
          --> --set:1:25
           |
           | stage.train.loss.margin.x=1
           |                         ^
           |
          ::: m.toml:24:36
           |
        24 | loss = { kind = "margin", margin = 0.3 }
           |                                    --- this stands there
        "#);
    assert_snapshot!(refused("stage.evaluate.recall.2=1"), @r"
        error: `2` is none of the array's 2 items
        --> --set:1:23
         |
         | stage.evaluate.recall.2=1
         |                       ^
         |
         = hint: Items are counted from 0.
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
         |                  the round before
         |
         = hint: 1 stays or becomes 2: each cluster is split in two. Or start again at 1.

        error: 3 learners cannot share an embedding of 64 dimensions
          --> --set:1:21
           |
           | rounds.learners=[1, 3]
           |                     ^ does not divide 64
           |
          ::: m.toml:10:8
           |
        10 | [stage.init]
           |        ---- makes embeddings of 64 dimensions
        ");
    assert_snapshot!(refused("stage.decode.root=\"unclosed"), @r#"
        error: The value is no TOML
        --> --set:1:28
         |
         | stage.decode.root="unclosed
         |                            ^ invalid basic string, expected `"`
        "#);
    assert_snapshot!(refused("stage..root=x"), @r"
        error: `stage..root` is no key
        --> --set:1:1
         |
         | stage..root=x
         | ^^^^^^^^^^^
        ");
    assert_snapshot!(refused("seed"), @r"
        error: `--set` takes a key and a value, `KEY=VALUE`
        --> --set:1:1
         |
         | seed
         | ^^^^
        ");
    assert_snapshot!(refused("=3"), @r"
        error: `--set` takes a key and a value, `KEY=VALUE`
        --> --set:1:1
         |
         | =3
         | ^^
        ");
    assert_snapshot!(refused("seed="), @r"
        error: `--set` takes a key and a value, `KEY=VALUE`
        --> --set:1:1
         |
         | seed=
         | ^^^^^
        ");
}

#[test]
fn every_combination_is_a_run() {
    let labels = |arguments: &[&str]| {
        let variations = vary(arguments).expect("the arguments are right");
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
fn a_variation_is_read_like_a_set() {
    let variations = vary(&["seed=3,4"]).expect("the argument is right");
    let seeds = variations.iter().map(|variation| read_with(&variation.overrides));
    assert_eq!(seeds.collect::<Vec<_>>(), [3, 4]);
    assert_snapshot!(vary(&["seed=1,,2"]).expect_err("a value is empty"), @r"
        error: A value is empty
        --> --vary:1:8
         |
         | seed=1,,2
         |        ^
        ");
    let wrong = vary(&["seed=1,two"]).expect("the argument is well-formed");
    let reading = super::reading(&wrong[1].overrides);
    let refused = super::Manifest::parse("m.toml", PIPELINE.to_owned(), "".into(), reading).err();
    assert_snapshot!(refused.expect("`two` is no seed"), @r"
        error: `seed` must be a whole number, 0 or more
        --> --vary:1:8
         |
         | seed=1,two
         |        ^^^ found a string
        ");
}

fn read_with(overrides: &[Override]) -> u64 {
    let manifest = super::Manifest::parse("m.toml", PIPELINE.to_owned(), "".into(), super::reading(overrides));
    manifest.expect("the override is right").seed
}
