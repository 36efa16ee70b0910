//! Messages about connections between stages: kinds, numbers of artifacts, learners, cycles.

use std::path::PathBuf;

use insta::assert_snapshot;

use super::{EMBED, EVALUATE, Manifest, ReadOptions, changed, refused};

#[test]
fn artifacts_of_the_wrong_kind() {
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "init", model = "merge" }"#), @r#"
        error: Input `images` of `evaluate` expects an artifact of kind `images`
          --> m.toml:31:18
           |
        31 | in = { images = "init", model = "merge" }
           |                  ^^^^ `init` produces `model`
           |
           = hint: `decode` produces `images`.
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "decode", model = "train.history" }"#), @r#"
        error: Input `model` of `evaluate` expects an artifact of kind `model`
          --> m.toml:31:42
           |
        31 | in = { images = "decode", model = "train.history" }
           |                                          ^^^^^^^ is of kind `history`
           |
           = hint: `init`, `train` and `merge` produce `model`.
        "#);
    assert_snapshot!(
        refused(
            r#"
            name = "x"
            [stage.download]
            kind = "command"
            program = ["sh"]
            outputs = { train = "images", test = "images" }
            [stage.init]
            [stage.evaluate]
            in = { images = "download", model = "init" }
            "#
        ),
        @r#"
        error: `download` has several outputs of kind `images`
         --> m.toml:9:30
          |
        9 |             in = { images = "download", model = "init" }
          |                              ^^^^^^^^
          |
          = hint: Write `download.test` or `download.train`.
        "#
    );
}

#[test]
fn missing_inputs() {
    assert_snapshot!(changed(EVALUATE, r#"in = { model = "merge" }"#), @r#"
        error: Missing input `images` of `evaluate`
          --> m.toml:31:1
           |
        31 | in = { model = "merge" }
           | ^^ expects an artifact of kind `images`
           |
           = hint: `decode` produces `images`.
        "#);
    assert_snapshot!(changed(EVALUATE, ""), @r"
        error: Missing input `images` of `evaluate`
          --> m.toml:30:8
           |
        30 | [stage.evaluate]
           |        ^^^^^^^^ expects an artifact of kind `images`
           |
           = hint: `decode` produces `images`.

        error: Missing input `model` of `evaluate`
          --> m.toml:30:8
           |
        30 | [stage.evaluate]
           |        ^^^^^^^^ expects an artifact of kind `model`
           |
           = hint: `init`, `train` and `merge` produce `model`.
        ");
    assert_snapshot!(changed(r#"in = { learners = "train" }"#, "in = { learners = [] }"), @r"
        error: Input `learners` of `merge` is empty
          --> m.toml:28:19
           |
        28 | in = { learners = [] }
           |                   ^^
           |
           = hint: `init` and `train` produce `model`.
        ");
    assert_snapshot!(changed(EMBED, r#"in = { images = "decode", model = "merge@previous" }"#), @r#"
        error: Input `model` of `embed` has no source in round 0
          --> m.toml:15:35
           |
        15 | in = { images = "decode", model = "merge@previous" }
           |                                   ^^^^^^^^^^^^^^^^ round 0 has no previous round
           |
           = hint: Add an alternative for round 0: `"merge@previous or init"`.
        "#);
    assert_snapshot!(changed(r#"learners = "train""#, r#"learners = ["merge@previous", "merge@previous"]"#), @r#"
        error: Input `learners` of `merge` has no source in round 0
          --> m.toml:28:19
           |
        28 | in = { learners = ["merge@previous", "merge@previous"] }
           |                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ round 0 has no previous round
           |
           = hint: Add an alternative for round 0: `"merge@previous or init"`.
        "#);
}

#[test]
fn several_artifacts_for_a_single_one() {
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "decode", model = "train.model" }"#), @r#"
        error: Input `model` of `evaluate` takes a single artifact
          --> m.toml:31:36
           |
        31 | in = { images = "decode", model = "train.model" }
           |                                    ^^^^^ `train` produces one per learner
           |
           = hint: Read from a stage that merges the learners' artifacts instead.
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "decode", model = ["merge", "init"] }"#), @r#"
        error: Input `model` of `evaluate` takes a single artifact
          --> m.toml:31:35
           |
        31 | in = { images = "decode", model = ["merge", "init"] }
           |                                   ^^^^^^^^^^^^^^^^^ 2 artifacts
           |
           = hint: Keep one; for alternatives, write `"merge or init"`.
        "#);
    assert_snapshot!(
        changed("model = \"merge@previous or init\" }\nloss", "model = \"train@0\" }\nloss")
            .replace("learners = [1, 2, 4, 4]", ""),
        @r#"
        error: `train` depends on itself: train → train
          --> m.toml:23:57
           |
        23 | in = { images = "decode", clusters = "cluster", model = "train@0" }
           |                                                         ^^^^^^^^^
           |
           = hint: Read the previous round in one of these stages, as in `train@previous`.
        "#
    );
}

#[test]
fn learners_that_cannot_be_matched() {
    assert_snapshot!(
        refused(
            r#"
            name = "x"
            rounds = { learners = [1, 2, 1] }
            [stage.decode]
            root = "images"
            [stage.init]
            [stage.cluster]
            per = "round"
            in = { embeddings = "embed" }
            [stage.embed]
            per = "round"
            in = { images = "decode", model = "init" }
            [stage.train]
            per = "learner"
            in = { images = "decode", clusters = "cluster", model = "train@previous or init" }
            "#
        ),
        @r#"
        error: The learners of round 2 cannot be matched with those of `train` in round 1
          --> m.toml:15:70
           |
        15 |             in = { images = "decode", clusters = "cluster", model = "train@previous or init" }
           |                                                                      ^^^^^ 2 learners in round 1
           |
           = hint: Round 2 has only 1. Read from a stage that merges the learners' artifacts instead.
        "#
    );
}

#[test]
fn cycles() {
    assert_snapshot!(changed(EMBED, r#"in = { images = "decode", model = "merge" }"#), @r#"
        error: `embed` depends on itself: embed → cluster → train → merge → embed
          --> m.toml:15:35
           |
        15 | in = { images = "decode", model = "merge" }
           |                                   ^^^^^^^
           |
           = hint: Read the previous round in one of these stages, as in `merge@previous`.
        "#);
    assert_snapshot!(changed(EMBED, r#"in = { images = "decode", model = "merge@last" }"#), @r#"
        error: `embed` depends on itself: embed → cluster → train → merge → embed
          --> m.toml:15:35
           |
        15 | in = { images = "decode", model = "merge@last" }
           |                                   ^^^^^^^^^^^^
           |
           = hint: Read the previous round in one of these stages, as in `merge@previous`.
        "#);
    assert_snapshot!(changed(r#"previous = "cluster@previous""#, r#"previous = "cluster""#), @r#"
        error: `cluster` depends on itself: cluster → cluster
          --> m.toml:19:41
           |
        19 | in = { embeddings = "embed", previous = "cluster" }
           |                                         ^^^^^^^^^
           |
           = hint: Read the previous round in one of these stages, as in `cluster@previous`.
        "#);
    let cycle_of = |count: usize| {
        let stage = |index: usize| {
            let before = (index + count - 1) % count;
            format!(
                "[stage.s{index}]\nkind = \"command\"\nprogram = [\"true\"]\ninputs.x = \"files\"\noutputs.x = \"files\"\n\
                 in.x = \"s{before}\"\n"
            )
        };
        format!("name = \"cycle\"\n{}", (0..count).map(stage).collect::<String>())
    };
    assert_snapshot!(refused(&cycle_of(2)), @r#"
        error: `s0` depends on itself: s0 → s1 → s0
         --> m.toml:7:8
          |
        7 | in.x = "s1"
          |        ^^^^
          |
          = hint: Remove one of these inputs.
        "#);
    assert_snapshot!(refused(&cycle_of(1000)), @r#"
        error: `s0` depends on itself: s0 → s1 → s2 → s3 → s4 → s5 → s6 → s7 → s8 → s9 → s10 → s11 → … 977 more … → s989 → s990 → s991 → s992 → s993 → s994 → s995 → s996 → s997 → s998 → s999 → s0
         --> m.toml:7:8
          |
        7 | in.x = "s999"
          |        ^^^^^^
          |
          = hint: Remove one of these inputs.
        "#);
}

#[test]
fn independent_problems_are_reported_together() {
    assert_snapshot!(
        refused(
            r#"
            name = "x"
            seed = "one"
            rounds = { learners = [1, 3] }
            [stage.decode]
            rot = "images"
            [stage.init]
            [stage.evaluate]
            in = { image = "decode", model = "inti" }
            recall = 3
            "#
        ),
        @r#"
        error: `seed` must be a non-negative integer
         --> m.toml:3:20
          |
        3 |             seed = "one"
          |                    ^^^^^ found a string

        error: `learners` cannot go from 1 to 3
         --> m.toml:4:39
          |
        4 |             rounds = { learners = [1, 3] }
          |                                    -  ^
          |                                    |
          |                                    the previous round
          |
          = hint: Stay at 1, double to 2 (each cluster is split in two) or restart at 1.

        error: Cannot divide an embedding of 128 dimensions among 3 learners
         --> m.toml:4:39
          |
        4 |             rounds = { learners = [1, 3] }
          |                                       ^ does not divide 128
        ...
        7 |             [stage.init]
          |                    ---- has an embedding of 128 dimensions
          |
          = hint: Make the dimension a multiple of every number of learners.

        error: Unknown parameter `rot` of `decode`
         --> m.toml:6:13
          |
        6 |             rot = "images"
          |             ^^^
          |
          = hint: Did you mean `root`?

        error: `evaluate` has no input `image`
         --> m.toml:9:20
          |
        9 |             in = { image = "decode", model = "inti" }
          |                    ^^^^^
          |
          = hint: Did you mean `images`?

        error: Unknown stage `inti`
         --> m.toml:9:47
          |
        9 |             in = { image = "decode", model = "inti" }
          |                                               ^^^^
          |
          = hint: Did you mean `init`?

        error: `recall` must be an array
          --> m.toml:10:22
           |
        10 |             recall = 3
           |                      ^ found `3`
        "#
    );
}

#[test]
fn a_choice_needs_a_metric_that_is_measured() {
    let check_decoded = |decode: &str, evaluate: &str, choose: &str, expected: &[&str]| {
        let text = format!(
            r#"
            name = "x"
            [stage.decode]
            {decode}
            root = "x"
            [stage.init]
            backbone = "plain"
            dimension = 8
            crop = 48
            resize = 48
            [stage.score]
            kind = "evaluate"
            in = {{ images = "decode", model = "init" }}
            {evaluate}
            [stage.choose]
            in = {{ model = "init", metrics = "score" }}
            {choose}
            "#
        );
        let options = ReadOptions { check_sources: false, ..ReadOptions::default() };
        let read = Manifest::parse("m.toml", text, PathBuf::new(), options);
        let message = read.err().map_or_else(String::new, |problems| problems.to_string());
        assert_eq!(message.is_empty(), expected.is_empty(), "{message}");
        expected.iter().for_each(|part| assert!(message.contains(part), "no {part:?} in {message}"));
    };
    let check = |evaluate: &str, choose: &str, expected: &[&str]| {
        check_decoded("dataset = \"parquet\"", evaluate, choose, expected);
    };
    check("", "", &[]);
    check("cameras = true", "", &[]);
    check("nmi = true", "metric = \"nmi\"", &[]);
    check("", "metric = \"cmc\"\nk = 10", &[]);
    check("subspaces = true", "metric = \"subspace_recall\"\nk = 3", &[]);
    let misspelt =
        ["`score` does not measure `map_at_R`, by which `choose` compares models", "Did you mean `map_at_r`?"];
    check("", "metric = \"map_at_R\"", &misspelt);
    check("", "metric = \"nmi\"", &["`score` does not measure `nmi`", "`map_at_r`", "`recall@1`, `recall@10`"]);
    check(
        "recall = [1, 5]",
        "metric = \"recall\"\nk = 10",
        &["does not measure `recall@10`", "Did you mean `recall@1`?"],
    );
    check("", "metric = \"recall\"", &["does not measure `recall`", "The number after `@` is `k`"]);
    check("", "metric = \"recall@1\"", &["the name of a metric without its k", "`metric = \"recall\"` and `k = 1`"]);
    check("cameras = true", "metric = \"recall\"\nk = 1", &["does not measure `recall@1`", "`cmc@1`"]);
    check("splits = [\"test\"]", "", &["`score` does not evaluate the split `validation`, on which `choose`"]);
    check("", "split = \"gallery\"", &["`score` does not evaluate the split `gallery`"]);
    let none =
        ["`decode` puts no image into the split `validation`, on which `choose`", "`split = { validation = 0.1 }`"];
    check_decoded("dataset = \"cub\"", "", "", &none);
    check_decoded("dataset = \"cub\"\nsplit = { validation = 0.1 }", "", "", &[]);
    check_decoded("dataset = \"folder\"\nsplit = { train = 0.5 }", "", "", &none);
    check_decoded("dataset = \"folder\"", "", "", &[]);
    check_decoded("dataset = \"cub\"", "", "split = \"test\"", &[]);
}
