//! Messages about unknown kinds of stage, invalid parameters and missing files.

use std::path::PathBuf;

use insta::assert_snapshot;

use super::super::{Manifest, ReadOptions};
use super::{changed, refused_file};

#[test]
fn unknown_kinds() {
    assert_snapshot!(changed("[stage.evaluate]", "[stage.evaluat]"), @r"
        error: Unknown kind of stage `evaluat`
          --> m.toml:30:8
           |
        30 | [stage.evaluat]
           |        ^^^^^^^
           |
           = hint: Did you mean `evaluate`?
        ");
    assert_snapshot!(changed("[stage.evaluate]", "[stage.score]"), @r#"
        error: Unknown kind of stage `score`
          --> m.toml:30:8
           |
        30 | [stage.score]
           |        ^^^^^
           |
           = hint: Set its `kind` to `decode`, `init`, `embed`, `cluster`, `train`, `merge`, `evaluate` or `command`.
        "#);
    assert_snapshot!(changed("recall = [1, 10]", "kind = \"evaluation\""), @r#"
        error: Unknown kind of stage `evaluation`
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
fn unknown_parameters() {
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
           = hint: Parameters of `init` are `dimension` and `backbone`.
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
           = hint: `merge` has no parameters.
        ");
}

#[test]
fn values_of_the_wrong_type() {
    assert_snapshot!(changed("dimension = 64", r#"dimension = "64""#), @r#"
        error: `dimension` must be a non-negative integer
          --> m.toml:11:13
           |
        11 | dimension = "64"
           |             ^^^^ found a string
        "#);
    assert_snapshot!(changed("dimension = 64", "dimension = -64"), @r"
        error: `dimension` must be a non-negative integer
          --> m.toml:11:13
           |
        11 | dimension = -64
           |             ^^^ found `-64`
        ");
    assert_snapshot!(changed("dimension = 64", "dimension = 6.4"), @r"
        error: `dimension` must be a non-negative integer
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
        error: `recall.1` must be a non-negative integer
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
fn invalid_values() {
    assert_snapshot!(changed("dimension = 64", r#"backbone = "resnet-50""#), @r#"
        error: Invalid value `resnet-50` for `backbone` of `init`
          --> m.toml:11:12
           |
        11 | backbone = "resnet-50"
           |            ^^^^^^^^^^^
           |
           = hint: Did you mean `resnet50`?
        "#);
    assert_snapshot!(changed("dimension = 64", r#"backbone = "vgg""#), @r#"
        error: Invalid value `vgg` for `backbone` of `init`
          --> m.toml:11:12
           |
        11 | backbone = "vgg"
           |            ^^^^^
           |
           = hint: Use `resnet18` or `resnet50`.
        "#);
    assert_snapshot!(changed(r#"kind = "margin","#, r#"kind = "magrin","#), @r#"
        error: Invalid value `magrin` for `loss.kind` of `train`
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
        error: Parameters must be finite numbers
          --> m.toml:24:36
           |
        24 | loss = { kind = "margin", margin = nan }
           |                                    ^^^
           |
           = hint: `nan` and `inf` are not allowed.
        "#);
    assert_snapshot!(changed("margin = 0.3", "margin = 2019-06-16"), @r#"
        error: Parameters cannot be dates
          --> m.toml:24:36
           |
        24 | loss = { kind = "margin", margin = 2019-06-16 }
           |                                    ^^^^^^^^^^
           |
           = hint: Put quotes around it to make it a string.
        "#);
    assert_snapshot!(changed("dimension = 64", "dimension = 99999999999999999999"), @r"
        error: The integer does not fit into 64 bits
          --> m.toml:11:13
           |
        11 | dimension = 99999999999999999999
           |             ^^^^^^^^^^^^^^^^^^^^
           |
           = hint: Use a smaller number.
        ");
}

#[test]
fn missing_parameters() {
    assert_snapshot!(changed(r#"root = "images""#, ""), @r"
        error: Missing parameter `root` of `decode`
         --> m.toml:7:8
          |
        7 | [stage.decode]
          |        ^^^^^^
          |
          = hint: Add `root = …` to `[stage.decode]`. `dnc-run stages decode` describes it.
        ");
    assert_snapshot!(changed(r#""margin", margin = 0.3"#, r#""triplet""#), @r#"
        error: Missing parameter `loss.margin` of `train`
          --> m.toml:24:8
           |
        24 | loss = { kind = "triplet" }
           |        ^^^^^^^^^^^^^^^^^^^^
           |
           = hint: Add `margin = …` to `loss`. `dnc-run stages train` describes it.
        "#);
}

#[test]
fn all_problems_of_a_stage_are_reported_together() {
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
fn a_table_that_lost_its_refused_value_is_no_other_problem() {
    let text = "name = \"m\"\n[stage.decode]\ndataset = \"folder\"\nroot = \"x\"\nresize = { shorter = 40.5 }\n\
                background = [1, 2, 300]\n";
    let options = ReadOptions { check_sources: false, ..ReadOptions::default() };
    let refused = Manifest::parse("m.toml", text.to_owned(), PathBuf::new(), options).err();
    let refused = refused.expect("two values are wrong").to_string();
    assert_eq!(refused.matches("error: ").count(), 2, "{refused}");
    assert!(refused.contains("error: `resize.shorter` must be a non-negative integer"), "{refused}");
    assert!(refused.contains("error: `background.2` must be an integer from 0 to 255"), "{refused}");
}

#[test]
fn invalid_resources() {
    assert_snapshot!(changed("dimension = 64", "resources = { thread = 2 }"), @r"
        error: Unknown key `thread` in `resources`
          --> m.toml:11:15
           |
        11 | resources = { thread = 2 }
           |               ^^^^^^
           |
           = hint: Did you mean `threads`?
        ");
    assert_snapshot!(changed("dimension = 64", "resources = { threads = 0 }"), @r"
        error: `threads` must be a positive integer
          --> m.toml:11:25
           |
        11 | resources = { threads = 0 }
           |                         ^ found `0`
        ");
    assert_snapshot!(changed("dimension = 64", r#"resources = { memory = "2XB" }"#), @r#"
        error: `memory` must be a size
          --> m.toml:11:24
           |
        11 | resources = { memory = "2XB" }
           |                        ^^^^^ expected a number and a unit
           |
           = hint: Write a number of bytes, or a unit of kB, MB, GB, TB, KiB, MiB, GiB or TiB: `"2GB"`.
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
fn missing_sources() {
    assert_snapshot!(refused_file("near.toml"), @r#"
        error: `root` of `decode` does not exist: `image`
         --> DIR/near.toml:4:8
          |
        4 | root = "image"
          |        ^^^^^^^
          |
          = hint: Did you mean `images`?
        "#);
    assert_snapshot!(refused_file("far.toml"), @r#"
        error: `root` of `decode` does not exist: `/no/such/folder`
         --> DIR/far.toml:4:8
          |
        4 | root = "/no/such/folder"
          |        ^^^^^^^^^^^^^^^^^
          |
          = hint: Check the path, or write one relative to the manifest's folder.
        "#);
}

#[test]
fn programs_missing_from_the_path() {
    let run = r#"run = ["no-such-program-anywhere", "{out.x}"]"#;
    let text = format!("name = \"x\"\n\n[stage.plot]\nkind = \"command\"\n{run}\noutputs = {{ x = \"files\" }}\n");
    let read = Manifest::parse("m.toml", text, PathBuf::new(), ReadOptions::default());
    assert_snapshot!(read.err().expect("no such program exists").to_string(), @r#"
        error: Program `no-such-program-anywhere` is not on the PATH
         --> m.toml:5:8
          |
        5 | run = ["no-such-program-anywhere", "{out.x}"]
          |        ^^^^^^^^^^^^^^^^^^^^^^^^^^
          |
          = hint: Install it, or write its path, as in `./no-such-program-anywhere`.
        "#);
}

#[test]
fn replaced_values() {
    let text = "name = \"x\"\n\n[stage.train]\nsubspaces = { kind = \"fixed_mask\" }\n";
    let read = Manifest::parse("m.toml", text.to_owned(), PathBuf::new(), ReadOptions::default());
    let refused = read.err().expect("the value no longer exists");
    let problem = refused.problems().iter().find(|problem| problem.title.contains("fixed_mask"));
    let problem = problem.expect("the value is reported");
    assert_snapshot!(problem.title, @"Invalid value `fixed_mask` for `subspaces.kind` of `train`");
    assert_snapshot!(
        problem.hint.as_deref().unwrap_or_default(),
        @"Use `slice`, which gives the same result, or `random_mask` for random disjoint masks."
    );
}
