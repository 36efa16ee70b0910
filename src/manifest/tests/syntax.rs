//! Messages about unreadable files, invalid TOML and top-level keys.

use insta::assert_snapshot;

use super::{changed, refused, refused_file};
use crate::manifest::{Manifest, ReadOptions};

#[test]
fn nearly_empty_manifests() {
    assert_snapshot!(refused(""), @r#"
        error: The manifest is empty
        --> m.toml
         = hint: Start with `name = "…"` and a first stage such as `[stage.decode]`.
        "#);
    assert_snapshot!(refused("# to be written\n"), @r#"
        error: The manifest has no `name`
        --> m.toml
         = hint: Start with `name = "…"`. Runs are stored in a folder of that name.
        "#);
    assert_snapshot!(refused("name = \"sop\"\n"), @r"
        error: The manifest has no stages
        --> m.toml
         = hint: Add one, such as `[stage.decode]`. `dnc-run stages` lists the available kinds.
        ");
}

#[test]
fn invalid_toml() {
    assert_snapshot!(changed(r#"root = "images""#, r#"root = "images"#), @r#"
        error: Invalid basic string, expected `"`
         --> m.toml:8:15
          |
        8 | root = "images
          |               ^
        "#);
    assert_snapshot!(changed("[stage.init]", "[stage.init"), @r"
        error: Unclosed table, expected `]`
          --> m.toml:10:12
           |
        10 | [stage.init
           |            ^
        ");
    assert_snapshot!(changed("dimension = 64", "dimension ="), @r"
        error: Missing value
          --> m.toml:11:12
           |
        11 | dimension =
           |            ^ expected a value
        ");
    assert_snapshot!(changed("dimension = 64", "dimension 64"), @r"
        error: Key with no value, expected `=`
          --> m.toml:11:11
           |
        11 | dimension 64
           |           ^
        ");
    assert_snapshot!(changed(r#"root = "images""#, "root = images"), @r#"
        error: Invalid value `images`
         --> m.toml:8:8
          |
        8 | root = images
          |        ^^^^^^
          |
          = hint: Write strings in quotes: `"images"`.
        "#);
    assert_snapshot!(changed("recall = [1, 10]", "recall = [1, 10"), @r"
        error: Unclosed array, expected `]`
          --> m.toml:32:16
           |
        32 | recall = [1, 10
           |                ^
        ");
}

#[test]
fn duplicate_keys() {
    assert_snapshot!(changed("dimension = 64", "dimension = 64\nbackbone = \"resnet50\"\ndimension = 128"), @r#"
        error: Duplicate key `dimension`
          --> m.toml:13:1
           |
        11 | dimension = 64
           | --------- first set here
        12 | backbone = "resnet50"
        13 | dimension = 128
           | ^^^^^^^^^
           |
           = hint: Remove one of the two.
        "#);
    assert_snapshot!(changed("[stage.evaluate]", "[stage.embed]"), @r#"
        error: Duplicate stage `embed`
          --> m.toml:30:8
           |
        13 | [stage.embed]
           |        ----- first defined here
        ...
        30 | [stage.embed]
           |        ^^^^^
           |
           = hint: Rename one of them and keep its kind: `kind = "embed"`.
        "#);
    assert_snapshot!(changed(r#"per = "learner""#, "per = \"learner\"\nloss.kind = \"margin\""), @r#"
        error: Duplicate key `loss`
          --> m.toml:25:1
           |
        23 | loss.kind = "margin"
           | ---- first set here
        24 | in = { images = "decode", clusters = "cluster", model = "merge@previous or init" }
        25 | loss = { kind = "margin", margin = 0.3 }
           | ^^^^
           |
           = hint: Remove one of the two.
        "#);
}

#[test]
fn top_level_keys() {
    assert_snapshot!(changed(r#"name = "emoji""#, ""), @r#"
        error: The manifest has no `name`
        --> m.toml
         = hint: Start with `name = "…"`. Runs are stored in a folder of that name.
        "#);
    assert_snapshot!(changed(r#"name = "emoji""#, "name = 3"), @r"
        error: `name` must be a string
         --> m.toml:2:8
          |
        2 | name = 3
          |        ^ found `3`
        ");
    assert_snapshot!(changed(r#"name = "emoji""#, r#"name = "../emoji""#), @r#"
        error: Invalid name `../emoji`
         --> m.toml:2:8
          |
        2 | name = "../emoji"
          |        ^^^^^^^^^^
          |
          = hint: Use only letters, digits, `-` and `_`: runs are stored in a folder of that name.
        "#);
    assert_snapshot!(changed(r#"name = "emoji""#, "name = \"emoji\"\nseed = -1"), @r"
        error: `seed` must be a non-negative integer
         --> m.toml:3:8
          |
        3 | seed = -1
          |        ^^ found `-1`
        ");
    assert_snapshot!(changed(r#"name = "emoji""#, "name = \"emoji\"\nseed = \"one\""), @r#"
        error: `seed` must be a non-negative integer
         --> m.toml:3:8
          |
        3 | seed = "one"
          |        ^^^^^ found a string
        "#);
    assert_snapshot!(changed(r#"name = "emoji""#, "name = \"emoji\"\nsede = 1"), @r"
        error: Unknown key `sede` at the top level
         --> m.toml:3:1
          |
        3 | sede = 1
          | ^^^^
          |
          = hint: Did you mean `seed`?
        ");
    assert_snapshot!(changed("[stage.init]", "[stages.init]"), @r"
        error: Unknown key `stages` at the top level
          --> m.toml:10:2
           |
        10 | [stages.init]
           |  ^^^^^^
           |
           = hint: Did you mean `stage`?
        ");
}

#[test]
fn stages_that_are_not_tables() {
    assert_snapshot!(refused("name = \"x\"\nstage = 3\n"), @r"
        error: `stage` must be a table
         --> m.toml:2:9
          |
        2 | stage = 3
          |         ^ found `3`
        ");
    assert_snapshot!(refused("name = \"x\"\n[[stage.decode]]\nroot = \"images\"\n"), @r"
        error: `stage.decode` must be a table
         --> m.toml:2:9
          |
        2 | [[stage.decode]]
          |         ^^^^^^ found an array
          |
          = hint: Write `[stage.decode]` on a line of its own, with its keys below.
        ");
    assert_snapshot!(refused("name = \"x\"\n[stage]\ndecode = true\n"), @r"
        error: `stage.decode` must be a table
         --> m.toml:3:1
          |
        3 | decode = true
          | ^^^^^^ found a boolean
          |
          = hint: Write `[stage.decode]` on a line of its own, with its keys below.
        ");
    assert_snapshot!(refused("name = \"x\"\n[stage.\"my decode\"]\nkind = \"decode\"\nroot = \"images\"\n"), @r#"
        error: Invalid name `my decode`
         --> m.toml:2:8
          |
        2 | [stage."my decode"]
          |        ^^^^^^^^^^^
          |
          = hint: Use only letters, digits, `-` and `_`: other stages refer to a stage by its name.
        "#);
    let long = |length| {
        format!("name = \"x\"\n[stage.{}]\nkind = \"init\"\nbackbone = \"small\"\ndimension = 4\n", "s".repeat(length))
    };
    assert!(refused(&long(101)).contains("Name of 101 bytes, more than 100"));
    assert!(Manifest::parse("m.toml", long(100), "".into(), ReadOptions::default()).is_ok());
}

#[test]
fn unreadable_files() {
    assert_snapshot!(refused_file("sop.tml"), @r"
        error: Cannot read the manifest `DIR/sop.tml`: No such file or directory (os error 2)
         |
         = hint: Did you mean `DIR/sop.toml`?
        ");
    assert_snapshot!(refused_file("nowhere/sop.toml"), @"error: Cannot read the manifest `DIR/nowhere/sop.toml`: No such file or directory (os error 2)");
    assert_snapshot!(refused_file(""), @r"
        error: `DIR/` is a folder, not a manifest
         |
         = hint: Did you mean `DIR/far.toml`?
        ");
    assert_snapshot!(refused_file("empty"), @r"
        error: `DIR/empty` is a folder, not a manifest
         |
         = hint: `dnc-run init DIR/empty` writes a manifest for a folder of images.
        ");
    assert_snapshot!(refused_file("sop.toml/x"), @"error: Cannot read the manifest `DIR/sop.toml/x`: Not a directory (os error 20)");
    assert_snapshot!(refused_file("latin-1.toml"), @r#"
        error: The manifest is not valid UTF-8
         --> DIR/latin-1.toml:1:12
          |
        1 | name = "caf�"
          |            ^ invalid byte
          |
          = hint: Save the file as UTF-8.
        "#);
}
