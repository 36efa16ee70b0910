//! What is said of stages of no kind, of parameters that a stage refuses, and of files that are not there.

use std::path::PathBuf;

use insta::assert_snapshot;

use super::super::{Manifest, Reading};
use super::{changed, refused_file};

#[test]
fn kinds() {
    assert_snapshot!(changed("[stage.evaluate]", "[stage.evaluat]"), @r"
        error: There is no kind of stage called `evaluat`
          --> m.toml:30:8
           |
        30 | [stage.evaluat]
           |        ^^^^^^^
           |
           = hint: Did you mean `evaluate`?
        ");
    assert_snapshot!(changed("[stage.evaluate]", "[stage.score]"), @r#"
        error: There is no kind of stage called `score`
          --> m.toml:30:8
           |
        30 | [stage.score]
           |        ^^^^^
           |
           = hint: Say what kind of stage it is, `kind = "…"`: `decode`, `init`, `embed`, `cluster`, `train`, `merge`, `evaluate` or `command`.
        "#);
    assert_snapshot!(changed("recall = [1, 10]", "kind = \"evaluation\""), @r#"
        error: There is no kind of stage called `evaluation`
          --> m.toml:32:8
           |
        32 | kind = "evaluation"
           |        ^^^^^^^^^^^^
           |
           = hint: Did you mean `evaluate`?
        "#);
    assert_snapshot!(changed("recall = [1, 10]", "kind = 7"), @r"
        error: `kind` must be a string
          --> m.toml:32:8
           |
        32 | kind = 7
           |        ^ found `7`
        ");
}

#[test]
fn keys_that_a_stage_does_not_have() {
    assert_snapshot!(changed("dimension = 64", "dimensions = 64"), @r"
        error: Unknown parameter `dimensions` of `init`
          --> m.toml:11:1
           |
        11 | dimensions = 64
           | ^^^^^^^^^^
           |
           = hint: Did you mean `dimension`?
        ");
    assert_snapshot!(changed("dimension = 64", "width = 64"), @r"
        error: Unknown parameter `width` of `init`
          --> m.toml:11:1
           |
        11 | width = 64
           | ^^^^^
           |
           = hint: `init` takes `dimension` and `backbone`.
        ");
    assert_snapshot!(changed(r#"per = "learner""#, r#"pre = "learner""#), @r#"
        error: Unknown parameter `pre` of `train`
          --> m.toml:22:1
           |
        22 | pre = "learner"
           | ^^^
           |
           = hint: Did you mean `per`?
        "#);
    assert_snapshot!(changed(r#""margin", margin = 0.3"#, r#""margin", mragin = 0.3"#), @r#"
        error: Unknown parameter `loss.mragin` of `train`
          --> m.toml:24:27
           |
        24 | loss = { kind = "margin", mragin = 0.3 }
           |                           ^^^^^^
           |
           = hint: Did you mean `margin`?
        "#);
    assert_snapshot!(changed(r#"in = { learners = "train" }"#, "in = { learners = \"train\" }\nweights = 3"), @r"
        error: Unknown parameter `weights` of `merge`
          --> m.toml:29:1
           |
        29 | weights = 3
           | ^^^^^^^
           |
           = hint: `merge` takes no parameters.
        ");
}

#[test]
fn values_of_another_type() {
    assert_snapshot!(changed("dimension = 64", r#"dimension = "64""#), @r#"
        error: `dimension` must be a whole number, 0 or more
          --> m.toml:11:13
           |
        11 | dimension = "64"
           |             ^^^^ found a string
        "#);
    assert_snapshot!(changed("dimension = 64", "dimension = -64"), @r"
        error: `dimension` must be a whole number, 0 or more
          --> m.toml:11:13
           |
        11 | dimension = -64
           |             ^^^ found `-64`
        ");
    assert_snapshot!(changed("dimension = 64", "dimension = 6.4"), @r"
        error: `dimension` must be a whole number, 0 or more
          --> m.toml:11:13
           |
        11 | dimension = 6.4
           |             ^^^ found `6.4`
        ");
    assert_snapshot!(changed("recall = [1, 10]", "recall = 1"), @r"
        error: `recall` must be an array
          --> m.toml:32:10
           |
        32 | recall = 1
           |          ^ found `1`
        ");
    assert_snapshot!(changed("recall = [1, 10]", "recall = [1, \"ten\"]"), @r#"
        error: `recall.1` must be a whole number, 0 or more
          --> m.toml:32:14
           |
        32 | recall = [1, "ten"]
           |              ^^^^^ found a string
        "#);
    assert_snapshot!(changed(r#""margin", margin = 0.3"#, r#""margin", margin = "wide""#), @r#"
        error: `loss.margin` must be a number
          --> m.toml:24:36
           |
        24 | loss = { kind = "margin", margin = "wide" }
           |                                    ^^^^^^ found a string
        "#);
    assert_snapshot!(changed(r#"loss = { kind = "margin", margin = 0.3 }"#, r#"loss = 0.3"#), @r"
        error: `loss` must be a table
          --> m.toml:24:8
           |
        24 | loss = 0.3
           |        ^^^ found `0.3`
        ");
}

#[test]
fn values_that_cannot_be_meant() {
    assert_snapshot!(changed("dimension = 64", r#"backbone = "resnet-50""#), @r#"
        error: `backbone` of `init` cannot be `resnet-50`
          --> m.toml:11:12
           |
        11 | backbone = "resnet-50"
           |            ^^^^^^^^^^^
           |
           = hint: Did you mean `resnet50`?
        "#);
    assert_snapshot!(changed("dimension = 64", r#"backbone = "vgg""#), @r#"
        error: `backbone` of `init` cannot be `vgg`
          --> m.toml:11:12
           |
        11 | backbone = "vgg"
           |            ^^^^^
           |
           = hint: Expected `resnet18` or `resnet50`.
        "#);
    assert_snapshot!(changed(r#"kind = "margin","#, r#"kind = "magrin","#), @r#"
        error: `loss.kind` of `train` cannot be `magrin`
          --> m.toml:24:17
           |
        24 | loss = { kind = "magrin", margin = 0.3 }
           |                 ^^^^^^^^
           |
           = hint: Did you mean `margin`?
        "#);
    assert_snapshot!(changed(r#"per = "learner""#, "per = \"learner\"\nepochs = 0"), @r"
        error: `epochs` is 0, so nothing would be learned
          --> m.toml:23:10
           |
        23 | epochs = 0
           |          ^
           |
           = hint: Write 1 or more.
        ");
    assert_snapshot!(changed("margin = 0.3", "margin = nan"), @r#"
        error: A parameter must be a finite number
          --> m.toml:24:36
           |
        24 | loss = { kind = "margin", margin = nan }
           |                                    ^^^
        "#);
    assert_snapshot!(changed("margin = 0.3", "margin = 2019-06-16"), @r#"
        error: A date is no parameter; put it in quotes
          --> m.toml:24:36
           |
        24 | loss = { kind = "margin", margin = 2019-06-16 }
           |                                    ^^^^^^^^^^
        "#);
    assert_snapshot!(changed("dimension = 64", "dimension = 99999999999999999999"), @r"
        error: The number is too large
          --> m.toml:11:13
           |
        11 | dimension = 99999999999999999999
           |             ^^^^^^^^^^^^^^^^^^^^
        ");
}

#[test]
fn what_a_stage_lacks() {
    assert_snapshot!(changed(r#"root = "images""#, ""), @r"
        error: `decode` lacks the parameter `root`
         --> m.toml:7:8
          |
        7 | [stage.decode]
          |        ^^^^^^
        ");
    assert_snapshot!(changed(r#""margin", margin = 0.3"#, r#""triplet""#), @r#"
        error: `train` lacks the parameter `loss.margin`
          --> m.toml:24:8
           |
        24 | loss = { kind = "triplet" }
           |        ^^^^^^^^^^^^^^^^^^^^
        "#);
}

#[test]
fn all_that_is_wrong_with_a_stage_is_told_at_once() {
    assert_snapshot!(
        changed(r#"loss = { kind = "margin", margin = 0.3 }"#, "loss = { kind = \"margin\", margin = \"a\", beat = 1 }\nepoch = 3\ndecay = true"),
        @r#"
        error: `loss.margin` must be a number
          --> m.toml:24:36
           |
        24 | loss = { kind = "margin", margin = "a", beat = 1 }
           |                                    ^^^ found a string

        error: Unknown parameter `loss.beat` of `train`
          --> m.toml:24:41
           |
        24 | loss = { kind = "margin", margin = "a", beat = 1 }
           |                                         ^^^^
           |
           = hint: Did you mean `beta`?

        error: Unknown parameter `epoch` of `train`
          --> m.toml:25:1
           |
        25 | epoch = 3
           | ^^^^^
           |
           = hint: Did you mean `epochs`?

        error: `decay` must be an array
          --> m.toml:26:9
           |
        26 | decay = true
           |         ^^^^ found a boolean
        "#
    );
}

#[test]
fn resources() {
    assert_snapshot!(changed("dimension = 64", "resources = { thread = 2 }"), @r"
        error: Unknown key `thread` under `resources`
          --> m.toml:11:15
           |
        11 | resources = { thread = 2 }
           |               ^^^^^^
           |
           = hint: Did you mean `threads`?
        ");
    assert_snapshot!(changed("dimension = 64", "resources = { threads = 0 }"), @r"
        error: `threads` must be a whole number, 1 or more
          --> m.toml:11:25
           |
        11 | resources = { threads = 0 }
           |                         ^ found `0`
        ");
    assert_snapshot!(changed("dimension = 64", r#"resources = { memory = "2XB" }"#), @r#"
        error: `memory` is not a size
          --> m.toml:11:24
           |
        11 | resources = { memory = "2XB" }
           |                        ^^^^^ expected a number and a unit
           |
           = hint: Write bytes, or a unit of kB, MB, GB, TB, KiB, MiB, GiB or TiB: `"2GB"`.
        "#);
    assert_snapshot!(changed("dimension = 64", "resources = { memory = true }"), @r#"
        error: `memory` must be a size such as `"2GB"`
          --> m.toml:11:24
           |
        11 | resources = { memory = true }
           |                        ^^^^ found a boolean
        "#);
    assert_snapshot!(changed("dimension = 64", r#"resources = { gpu = "yes" }"#), @r#"
        error: `gpu` must be `true` or `false`
          --> m.toml:11:21
           |
        11 | resources = { gpu = "yes" }
           |                     ^^^^^ found a string
        "#);
    assert_snapshot!(changed("dimension = 64", "resources = 2"), @r"
        error: `resources` must be a table
          --> m.toml:11:13
           |
        11 | resources = 2
           |             ^ found `2`
        ");
}

#[test]
fn sources_that_are_not_there() {
    assert_snapshot!(refused_file("near.toml"), @r#"
        error: `root` of `decode` is not there: `image`
         --> DIR/near.toml:4:8
          |
        4 | root = "image"
          |        ^^^^^^^
          |
          = hint: Did you mean `images`?
        "#);
    assert_snapshot!(refused_file("far.toml"), @r#"
        error: `root` of `decode` is not there: `/no/such/folder`
         --> DIR/far.toml:4:8
          |
        4 | root = "/no/such/folder"
          |        ^^^^^^^^^^^^^^^^^
          |
          = hint: Nothing lies at this path.
        "#);
}

#[test]
fn programs_that_are_not_on_the_path() {
    let run = r#"run = ["no-such-program-anywhere", "{out.x}"]"#;
    let text = format!("name = \"x\"\n\n[stage.plot]\nkind = \"command\"\n{run}\noutputs = {{ x = \"files\" }}\n");
    let read = Manifest::parse("m.toml", text, PathBuf::new(), Reading::default());
    assert_snapshot!(read.err().expect("there is no such program").to_string(), @r#"
        error: No program `no-such-program-anywhere` is on the PATH
         --> m.toml:5:8
          |
        5 | run = ["no-such-program-anywhere", "{out.x}"]
          |        ^^^^^^^^^^^^^^^^^^^^^^^^^^
        "#);
}
