//! What is said of a schedule of learners that cannot be, and what a right one means.

use insta::assert_snapshot;

use super::{PIPELINE, changed, read};

const LEARNERS: &str = "learners = [1, 2, 4, 4]";

#[test]
fn schedules_mean_what_they_say() {
    for (schedule, expected) in [
        ("[1]", vec![1]),
        ("[1, 1, 1]", vec![1, 1, 1]),
        ("[1, 2, 2, 4, 1]", vec![1, 2, 2, 4, 1]),
        ("[2, 4, 8, 2]", vec![2, 4, 8, 2]),
        ("{ double_to = 4 }", vec![1, 2, 4]),
        ("{ double_to = 4, hold = 3 }", vec![1, 2, 4, 4, 4, 4]),
        ("{ first = 8, double_to = 16, hold = 1 }", vec![8, 16, 16]),
        ("{ double_to = 1, hold = 2 }", vec![1, 1, 1]),
        ("{ double_to = 2, hold = 1, conquer = 2 }", vec![1, 2, 2, 1, 1]),
    ] {
        let text = PIPELINE.replace(LEARNERS, &format!("learners = {schedule}"));
        assert_eq!(read(&text, &[]).expect(schedule).learners, expected, "{schedule}");
    }
    let long = PIPELINE.replace(LEARNERS, "learners = { double_to = 32, hold = 74 }");
    let learners = read(&long, &[]).expect("the published schedule is right").learners;
    assert_eq!((learners.len(), &learners[..7]), (80, &[1, 2, 4, 8, 16, 32, 32][..]));
}

#[test]
fn lists_that_cannot_be() {
    assert_snapshot!(changed(LEARNERS, "learners = []"), @r"
        error: `learners` is empty
         --> m.toml:5:12
          |
        5 | learners = []
          |            ^^
          |
          = hint: Write one number a round: `learners = [1]` is a single round with a single learner.
        ");
    assert_snapshot!(changed(LEARNERS, "learners = [1, 3]"), @r"
        error: `learners` cannot go from 1 to 3
         --> m.toml:5:16
          |
        5 | learners = [1, 3]
          |             -  ^
          |             |
          |             the round before
          |
          = hint: 1 stays or becomes 2: each cluster is split in two. Or start again at 1.

        error: 3 learners cannot share an embedding of 64 dimensions
          --> m.toml:5:16
           |
         5 | learners = [1, 3]
           |                ^ does not divide 64
        ...
        10 | [stage.init]
           |        ---- makes embeddings of 64 dimensions
        ");
    assert_snapshot!(changed(LEARNERS, "learners = [2, 4, 16]"), @r"
        error: `learners` cannot go from 4 to 16
         --> m.toml:5:19
          |
        5 | learners = [2, 4, 16]
          |                -  ^^
          |                |
          |                the round before
          |
          = hint: 4 stays or becomes 8: each cluster is split in two. Or start again at 1 or 2.
        ");
    assert_snapshot!(changed(LEARNERS, "learners = [1, 0]"), @r"
        error: `learners` must be a whole number, 1 or more
         --> m.toml:5:16
          |
        5 | learners = [1, 0]
          |                ^ found `0`
        ");
    assert_snapshot!(changed(LEARNERS, "learners = 4"), @r"
        error: `learners` must be a list such as `[1, 2, 4]`, or `{ double_to = 32, hold = 74 }`
         --> m.toml:5:12
          |
        5 | learners = 4
          |            ^ found `4`
        ");
    assert_snapshot!(changed(LEARNERS, "learners = [1, \"2\"]"), @r#"
        error: `learners` must be a whole number, 1 or more
         --> m.toml:5:16
          |
        5 | learners = [1, "2"]
          |                ^^^ found a string
        "#);
}

#[test]
fn shorthands_that_cannot_be() {
    assert_snapshot!(changed(LEARNERS, "learners = { double_to = 12 }"), @r"
        error: Doubling 1 never gives 12
         --> m.toml:5:26
          |
        5 | learners = { double_to = 12 }
          |                          ^^
        ");
    assert_snapshot!(changed(LEARNERS, "learners = { hold = 12 }"), @r"
        error: `learners` does not say what to `double_to`
         --> m.toml:5:12
          |
        5 | learners = { hold = 12 }
          |            ^^^^^^^^^^^^^
          |
          = hint: `{ double_to = 32, hold = 74 }` doubles from 1 to 32 and then stays for 74 rounds.
        ");
    assert_snapshot!(changed(LEARNERS, "learners = { double = 32, hold = 74 }"), @r"
        error: Unknown key `double` under `learners`
         --> m.toml:5:14
          |
        5 | learners = { double = 32, hold = 74 }
          |              ^^^^^^
          |
          = hint: Did you mean `double_to`?
        ");
    assert_snapshot!(changed(LEARNERS, "learners = { double_to = 4, hold = 1000000000 }"), @r"
        error: `learners` gives more than 10000 rounds
         --> m.toml:5:12
          |
        5 | learners = { double_to = 4, hold = 1000000000 }
          |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        ");
}

#[test]
fn learners_that_do_not_divide_the_embedding() {
    assert_snapshot!(changed("dimension = 64", "dimension = 66"), @r"
        error: 4 learners cannot share an embedding of 66 dimensions
          --> m.toml:5:19
           |
         5 | learners = [1, 2, 4, 4]
           |                   ^ does not divide 66
        ...
        10 | [stage.init]
           |        ---- makes embeddings of 66 dimensions
        ");
    assert_snapshot!(changed(LEARNERS, "learners = { double_to = 128 }"), @r"
        error: 128 learners cannot share an embedding of 64 dimensions
          --> m.toml:5:12
           |
         5 | learners = { double_to = 128 }
           |            ^^^^^^^^^^^^^^^^^^^ does not divide 64
        ...
        10 | [stage.init]
           |        ---- makes embeddings of 64 dimensions
        ");
}

#[test]
fn tables_that_cannot_be() {
    assert_snapshot!(changed(LEARNERS, "learner = [1, 2]"), @r"
        error: `rounds` says nothing about `learners`
         --> m.toml:4:1
          |
        4 | [rounds]
          | ^^^^^^^^
          |
          = hint: Say how many learners each round has: `learners = [1, 2, 4]`.

        error: Unknown key `learner` under `rounds`
         --> m.toml:5:1
          |
        5 | learner = [1, 2]
          | ^^^^^^^
          |
          = hint: Did you mean `learners`?
        ");
    assert_snapshot!(changed(LEARNERS, ""), @r"
        error: `rounds` says nothing about `learners`
         --> m.toml:4:1
          |
        4 | [rounds]
          | ^^^^^^^^
          |
          = hint: Say how many learners each round has: `learners = [1, 2, 4]`.
        ");
    assert_snapshot!(changed("[rounds]\nlearners = [1, 2, 4, 4]", "rounds = 3"), @r"
        error: `rounds` must be a table
         --> m.toml:4:10
          |
        4 | rounds = 3
          |          ^ found `3`
        ");
    assert_snapshot!(changed(r#"per = "learner""#, r#"per = "learners""#), @r#"
        error: `per` cannot be `learners`
          --> m.toml:22:7
           |
        22 | per = "learners"
           |       ^^^^^^^^^^ expected `once`, `round` or `learner`
           |
           = hint: Did you mean `learner`?
        "#);
    assert_snapshot!(changed(r#"per = "learner""#, "per = \"learner\"\nretain = \"lost\""), @r#"
        error: `retain` cannot be `lost`
          --> m.toml:23:10
           |
        23 | retain = "lost"
           |          ^^^^^^ expected `all` or `last`
           |
           = hint: Did you mean `last`?
        "#);
    assert_snapshot!(changed(r#"per = "learner""#, "per = true"), @r"
        error: `per` must be a string
          --> m.toml:22:7
           |
        22 | per = true
           |       ^^^^ found a boolean
        ");
}

#[test]
fn stages_of_rounds_without_any() {
    assert_snapshot!(changed("[rounds]\nlearners = [1, 2, 4, 4]", ""), @r#"
        error: `embed` is done once a round, but the manifest has no rounds
          --> m.toml:13:7
           |
        13 | per = "round"
           |       ^^^^^^^
           |
           = hint: Add `[rounds]` with `learners = [1, 2, 4]`: one number a round.

        error: `cluster` is done once a round, but the manifest has no rounds
          --> m.toml:17:7
           |
        17 | per = "round"
           |       ^^^^^^^
           |
           = hint: Add `[rounds]` with `learners = [1, 2, 4]`: one number a round.

        error: `train` is done once a learner, but the manifest has no rounds
          --> m.toml:21:7
           |
        21 | per = "learner"
           |       ^^^^^^^^^
           |
           = hint: Add `[rounds]` with `learners = [1, 2, 4]`: one number a round.

        error: `merge` is done once a round, but the manifest has no rounds
          --> m.toml:26:7
           |
        26 | per = "round"
           |       ^^^^^^^
           |
           = hint: Add `[rounds]` with `learners = [1, 2, 4]`: one number a round.
        "#);
}
