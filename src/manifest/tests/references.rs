//! Messages about references: invalid ones, unknown names and rounds that do not exist.

use insta::assert_snapshot;

use super::{EMBED, EVALUATE, changed};

#[test]
fn unknown_names() {
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "deocde", model = "merge" }"#), @r#"
        error: Unknown stage `deocde`
          --> m.toml:31:18
           |
        31 | in = { images = "deocde", model = "merge" }
           |                  ^^^^^^
           |
           = hint: Did you mean `decode`?
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "x", model = "merge" }"#), @r#"
        error: Unknown stage `x`
          --> m.toml:31:18
           |
        31 | in = { images = "x", model = "merge" }
           |                  ^
           |
           = hint: `decode` produces `images`.
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
           = hint: `init` has no inputs.
        "#);
}

#[test]
fn invalid_references() {
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "decode", model = "" }"#), @r#"
        error: Empty reference
          --> m.toml:31:35
           |
        31 | in = { images = "decode", model = "" }
           |                                   ^
           |
           = hint: Write a stage (`decode`), one of its outputs (`train.history`) or one of its rounds (`merge@previous`).
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "decode", model = "merge, init" }"#), @r#"
        error: Invalid reference `merge, init`
          --> m.toml:31:36
           |
        31 | in = { images = "decode", model = "merge, init" }
           |                                    ^^^^^^^^^^^
           |
           = hint: Write a stage (`decode`), one of its outputs (`train.history`) or one of its rounds (`merge@previous`).
        "#);
    assert_snapshot!(changed(EMBED, r#"in = { images = "decode", model = "merge@next or init" }"#), @r#"
        error: Invalid round `next`
          --> m.toml:15:42
           |
        15 | in = { images = "decode", model = "merge@next or init" }
           |                                          ^^^^
           |
           = hint: Write `@previous`, `@last` or the number of a round, starting at `@0`.
        "#);
    assert_snapshot!(changed(EMBED, r#"in = { images = "decode", model = "train@previous.model" }"#), @r#"
        error: Invalid round `previous.model`
          --> m.toml:15:42
           |
        15 | in = { images = "decode", model = "train@previous.model" }
           |                                          ^^^^^^^^^^^^^^
           |
           = hint: Write the output before the round: `train.model@previous`.
        "#);
    assert_snapshot!(changed(EMBED, "in = { images = \"decode\", model = \"\\u006Derge@previous or inti\" }"), @r#"
        error: Unknown stage `inti`
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
           = hint: Assign a reference to each input: `in = { images = "decode" }`.
        "#);
}

#[test]
fn rounds_that_do_not_exist() {
    assert_snapshot!(changed(EMBED, r#"in = { images = "decode@previous", model = "merge@previous or init" }"#), @r#"
        error: `decode` runs once and has no rounds
          --> m.toml:15:24
           |
        15 | in = { images = "decode@previous", model = "merge@previous or init" }
           |                        ^^^^^^^^^
           |
           = hint: Write `decode`, or add `per = "round"` to `[stage.decode]`.
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "decode", model = "merge@previous" }"#), @r#"
        error: `evaluate` runs once and has no previous round
          --> m.toml:31:41
           |
        31 | in = { images = "decode", model = "merge@previous" }
           |                                         ^^^^^^^^^
           |
           = hint: Write `merge@last`, or add `per = "round"` to `[stage.evaluate]`.
        "#);
    assert_snapshot!(changed(EVALUATE, r#"in = { images = "decode", model = "merge@4" }"#), @r#"
        error: Round 4 does not exist
          --> m.toml:31:41
           |
        31 | in = { images = "decode", model = "merge@4" }
           |                                         ^^
           |
           = hint: The rounds are 0 to 3.
        "#);
    assert_snapshot!(changed(EMBED, r#"in = { images = "decode", model = "init or merge@previous" }"#), @r#"
        error: `merge` is never read, because `init` exists in every round
          --> m.toml:15:44
           |
        15 | in = { images = "decode", model = "init or merge@previous" }
           |                                            ^^^^^
           |
           = hint: The first alternative that exists is used. Write one that may be missing before one that exists.
        "#);
}
