//! What is said of references and of what flows where.

use insta::assert_snapshot;

use super::{changed, refused};

const EMBED: &str = r#"in = { images = "decode", model = "merge@previous or init" }"#;
const EVALUATE: &str = r#"in = { images = "decode", model = "merge" }"#;

#[test]
fn names_that_are_not_there() {
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "deocde", model = "merge" }"#), @r#"
        error: There is no stage `deocde`
          --> m.toml:31:18
           |
        31 | in = { images = "deocde", model = "merge" }
           |                  ^^^^^^
           |
           = hint: Did you mean `decode`?
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "x", model = "merge" }"#), @r#"
        error: There is no stage `x`
          --> m.toml:31:18
           |
        31 | in = { images = "x", model = "merge" }
           |                  ^
           |
           = hint: `decode` gives `images`.
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "decode.pictures", model = "train.modle" }"#), @r#"
        error: `decode` has no output `pictures`
          --> m.toml:31:25
           |
        31 | in = { images = "decode.pictures", model = "train.modle" }
           |                         ^^^^^^^^
           |
           = hint: `decode` writes `images`.

        error: `train` has no output `modle`
          --> m.toml:31:51
           |
        31 | in = { images = "decode.pictures", model = "train.modle" }
           |                                                   ^^^^^
           |
           = hint: Did you mean `model`?
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = { image = "decode", model = "merge" }"#), @r#"
        error: `evaluate` has no input `image`
          --> m.toml:31:8
           |
        31 | in = { image = "decode", model = "merge" }
           |        ^^^^^
           |
           = hint: Did you mean `images`?
        "#);
    assert_snapshot!(changed("dimension = 64", r#"in = { images = "decode" }"#), @r#"
        error: `init` has no input `images`
          --> m.toml:11:8
           |
        11 | in = { images = "decode" }
           |        ^^^^^^
           |
           = hint: `init` reads nothing.
        "#);
}

#[test]
fn texts_that_are_no_references() {
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "decode", model = "" }"#), @r#"
        error: A reference is empty
          --> m.toml:31:35
           |
        31 | in = { images = "decode", model = "" }
           |                                   ^
           |
           = hint: Write a stage, `decode`; one of its outputs, `train.history`; or a round of it, `merge@previous`.
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "decode", model = "merge, init" }"#), @r#"
        error: `merge, init` is no reference
          --> m.toml:31:36
           |
        31 | in = { images = "decode", model = "merge, init" }
           |                                    ^^^^^^^^^^^
           |
           = hint: Write a stage, `decode`; one of its outputs, `train.history`; or a round of it, `merge@previous`.
        "#);
    assert_snapshot!(changed(EMBED, r#"in = { images = "decode", model = "merge@next or init" }"#), @r#"
        error: `next` is no round
          --> m.toml:15:42
           |
        15 | in = { images = "decode", model = "merge@next or init" }
           |                                          ^^^^
           |
           = hint: Write `@previous`, `@last` or the number of a round, from 0.
        "#);
    assert_snapshot!(changed(EMBED, r#"in = { images = "decode", model = "train@previous.model" }"#), @r#"
        error: `previous.model` is no round
          --> m.toml:15:42
           |
        15 | in = { images = "decode", model = "train@previous.model" }
           |                                          ^^^^^^^^^^^^^^
           |
           = hint: The output stands before the round: `train.model@previous`.
        "#);
    assert_snapshot!(changed(EMBED, "in = { images = \"decode\", model = \"\\u006Derge@previous or inti\" }"), @r#"
        error: There is no stage `inti`
          --> m.toml:15:35
           |
        15 | in = { images = "decode", model = "\u006Derge@previous or inti" }
           |                                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           |
           = hint: Did you mean `init`?
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = { images = 3, model = ["merge", true] }"#), @r#"
        error: `in.images` must be a reference such as `"decode"`, or an array of them
          --> m.toml:31:17
           |
        31 | in = { images = 3, model = ["merge", true] }
           |                 ^ found `3`

        error: `in.model` must be a string
          --> m.toml:31:38
           |
        31 | in = { images = 3, model = ["merge", true] }
           |                                      ^^^^ found a boolean
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = ["decode", "merge"]"#), @r#"
        error: `in` must be a table
          --> m.toml:31:6
           |
        31 | in = ["decode", "merge"]
           |      ^^^^^^^^^^^^^^^^^^^ found an array
           |
           = hint: Name each port and what is fed to it: `in = { images = "decode" }`.
        "#);
}

#[test]
fn artifacts_of_the_wrong_kind() {
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "init", model = "merge" }"#), @r#"
        error: The port `images` of `evaluate` takes `images`
          --> m.toml:31:18
           |
        31 | in = { images = "init", model = "merge" }
           |                  ^^^^ `init` gives `model`
           |
           = hint: `decode` gives `images`.
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "decode", model = "train.history" }"#), @r#"
        error: The port `model` of `evaluate` takes `model`
          --> m.toml:31:42
           |
        31 | in = { images = "decode", model = "train.history" }
           |                                          ^^^^^^^ this is `history`
           |
           = hint: `init`, `train` and `merge` give `model`.
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
        error: `download` has several outputs of the kind `images`
         --> m.toml:9:30
          |
        9 |             in = { images = "download", model = "init" }
          |                              ^^^^^^^^
          |
          = hint: Say which: `download.test` or `download.train`.
        "#
    );
}

#[test]
fn inputs_that_are_missing() {
    assert_snapshot!(changed(EVALUATE, r#"in = { model = "merge" }"#), @r#"
        error: The input `images` of `evaluate` is missing
          --> m.toml:31:1
           |
        31 | in = { model = "merge" }
           | ^^ it takes `images`
           |
           = hint: `decode` gives `images`.
        "#);
    assert_snapshot!(changed(EVALUATE, ""), @r"
        error: The input `images` of `evaluate` is missing
          --> m.toml:30:8
           |
        30 | [stage.evaluate]
           |        ^^^^^^^^ it takes `images`
           |
           = hint: `decode` gives `images`.

        error: The input `model` of `evaluate` is missing
          --> m.toml:30:8
           |
        30 | [stage.evaluate]
           |        ^^^^^^^^ it takes `model`
           |
           = hint: `init`, `train` and `merge` give `model`.
        ");
    assert_snapshot!(changed(r#"in = { learners = "train" }"#, "in = { learners = [] }"), @r"
        error: Nothing is fed to the port `learners` of `merge`
          --> m.toml:28:19
           |
        28 | in = { learners = [] }
           |                   ^^
        ");
    assert_snapshot!(changed(EMBED, r#"in = { images = "decode", model = "merge@previous" }"#), @r#"
        error: In round 0 nothing is fed to the port `model` of `embed`
          --> m.toml:15:35
           |
        15 | in = { images = "decode", model = "merge@previous" }
           |                                   ^^^^^^^^^^^^^^^^ there is no round before it
           |
           = hint: Say what stands in: `"merge@previous or init"`.
        "#);
    assert_snapshot!(changed(r#"learners = "train""#, r#"learners = ["merge@previous", "merge@previous"]"#), @r#"
        error: In round 0 nothing is fed to the port `learners` of `merge`
          --> m.toml:28:19
           |
        28 | in = { learners = ["merge@previous", "merge@previous"] }
           |                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ there is no round before it
           |
           = hint: Say what stands in: `"merge@previous or init"`.
        "#);
}

#[test]
fn rounds_that_are_not_there() {
    assert_snapshot!(changed(EMBED, r#"in = { images = "decode@previous", model = "merge@previous or init" }"#), @r#"
        error: `decode` is done once: it has no rounds
          --> m.toml:15:24
           |
        15 | in = { images = "decode@previous", model = "merge@previous or init" }
           |                        ^^^^^^^^^
           |
           = hint: Write `decode`, or give `[stage.decode]` the line `per = "round"`.
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "decode", model = "merge@previous" }"#), @r#"
        error: `evaluate` is done once: no round is previous to it
          --> m.toml:31:41
           |
        31 | in = { images = "decode", model = "merge@previous" }
           |                                         ^^^^^^^^^
           |
           = hint: Write `merge@last`, or give `[stage.evaluate]` the line `per = "round"`.
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "decode", model = "merge@4" }"#), @r#"
        error: There is no round 4
          --> m.toml:31:41
           |
        31 | in = { images = "decode", model = "merge@4" }
           |                                         ^^
           |
           = hint: Rounds count from 0, and `learners` gives 4: the last is 3.
        "#);
    assert_snapshot!(changed(EMBED, r#"in = { images = "decode", model = "init or merge@previous" }"#), @r#"
        error: `merge` is never read: `init` is there in every round
          --> m.toml:15:44
           |
        15 | in = { images = "decode", model = "init or merge@previous" }
           |                                            ^^^^^
           |
           = hint: The first that exists is meant: write what is only sometimes there first.
        "#);
}

#[test]
fn several_where_one_is_taken() {
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "decode", model = "train.model" }"#), @r#"
        error: The port `model` of `evaluate` takes one artifact
          --> m.toml:31:36
           |
        31 | in = { images = "decode", model = "train.model" }
           |                                    ^^^^^ `train` gives one a learner
           |
           = hint: A stage that merges the learners' artifacts into one goes between them.
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "decode", model = ["merge", "init"] }"#), @r#"
        error: The port `model` of `evaluate` takes one artifact
          --> m.toml:31:35
           |
        31 | in = { images = "decode", model = ["merge", "init"] }
           |                                   ^^^^^^^^^^^^^^^^^ these are several
        "#);
    assert_snapshot!(
        changed("model = \"merge@previous or init\" }\nloss", "model = \"train@0\" }\nloss")
            .replace("learners = [1, 2, 4, 4]", ""),
        @r#"
        error: `train` waits for itself: train → train
          --> m.toml:23:57
           |
        23 | in = { images = "decode", clusters = "cluster", model = "train@0" }
           |                                                         ^^^^^^^^^
           |
           = hint: One of them must read what the round before it gave, as in `train@previous`.
        "#
    );
}

#[test]
fn learners_without_a_forebear() {
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
        error: In round 2 a learner has no artifact of `train` of its own
          --> m.toml:15:70
           |
        15 |             in = { images = "decode", clusters = "cluster", model = "train@previous or init" }
           |                                                                      ^^^^^ 2 learners in round 1
           |
           = hint: Round 2 has fewer (1); read a stage that merges them instead.
        "#
    );
}

#[test]
fn stages_that_wait_for_themselves() {
    assert_snapshot!(changed(EMBED, r#"in = { images = "decode", model = "merge" }"#), @r#"
        error: `embed` waits for itself: embed → cluster → train → merge → embed
          --> m.toml:15:35
           |
        15 | in = { images = "decode", model = "merge" }
           |                                   ^^^^^^^
           |
           = hint: One of them must read what the round before it gave, as in `merge@previous`.
        "#);
    assert_snapshot!(changed(EMBED, r#"in = { images = "decode", model = "merge@last" }"#), @r#"
        error: `embed` waits for itself: embed → cluster → train → merge → embed
          --> m.toml:15:35
           |
        15 | in = { images = "decode", model = "merge@last" }
           |                                   ^^^^^^^^^^^^
           |
           = hint: One of them must read what the round before it gave, as in `merge@previous`.
        "#);
    assert_snapshot!(changed(r#"previous = "cluster@previous""#, r#"previous = "cluster""#), @r#"
        error: `cluster` waits for itself: cluster → cluster
          --> m.toml:19:41
           |
        19 | in = { embeddings = "embed", previous = "cluster" }
           |                                         ^^^^^^^^^
           |
           = hint: One of them must read what the round before it gave, as in `cluster@previous`.
        "#);
    let ring = |count: usize| {
        let stage = |index: usize| {
            let before = (index + count - 1) % count;
            format!(
                "[stage.s{index}]\nkind = \"command\"\nprogram = [\"true\"]\ninputs.x = \"files\"\noutputs.x = \"files\"\n\
                 in.x = \"s{before}\"\n"
            )
        };
        format!("name = \"ring\"\n{}", (0..count).map(stage).collect::<String>())
    };
    assert_snapshot!(refused(&ring(2)), @r#"
        error: `s0` waits for itself: s0 → s1 → s0
         --> m.toml:7:8
          |
        7 | in.x = "s1"
          |        ^^^^
        "#);
    assert_snapshot!(refused(&ring(1000)), @r#"
        error: `s0` waits for itself: s0 → s1 → s2 → s3 → s4 → s5 → s6 → s7 → s8 → s9 → s10 → s11 → … 977 more … → s989 → s990 → s991 → s992 → s993 → s994 → s995 → s996 → s997 → s998 → s999 → s0
         --> m.toml:7:8
          |
        7 | in.x = "s999"
          |        ^^^^^^
        "#);
}

#[test]
fn independent_problems_are_told_together() {
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
        error: `seed` must be a whole number, 0 or more
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
          |                                    the round before
          |
          = hint: 1 stays or becomes 2: each cluster is split in two. Or start again at 1.

        error: 3 learners cannot share an embedding of 128 dimensions
         --> m.toml:4:39
          |
        4 |             rounds = { learners = [1, 3] }
          |                                       ^ does not divide 128
        ...
        7 |             [stage.init]
          |                    ---- makes embeddings of 128 dimensions

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

        error: There is no stage `inti`
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
