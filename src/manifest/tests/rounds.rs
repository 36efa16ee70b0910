//! The meaning of `[rounds]`, and messages about invalid ones.

use insta::assert_snapshot;

use super::{PIPELINE, changed, read};

const LEARNERS: &str = "learners = [1, 2, 4, 4]";

#[test]
fn valid_schedules() {
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
    let learners = read(&long, &[]).expect("the published schedule is valid").learners;
    assert_eq!((learners.len(), &learners[..7]), (80, &[1, 2, 4, 8, 16, 32, 32][..]));
}

#[test]
fn invalid_lists() {
    assert_snapshot!(changed(LEARNERS, "learners = []"), @r"
        error: `learners` is empty
         --> m.toml:5:12
          |
        5 | learners = []
          |            ^^
          |
          = hint: Write one number per round: `learners = [1]` is one round with a single learner.
        ");
    assert_snapshot!(changed(LEARNERS, "learners = [1, 3]"), @r"
        error: `learners` cannot go from 1 to 3
         --> m.toml:5:16
          |
        5 | learners = [1, 3]
          |             -  ^
          |             |
          |             the previous round
          |
          = hint: Stay at 1, double to 2 (each cluster is split in two) or restart at 1.

        error: Cannot divide an embedding of 64 dimensions among 3 learners
          --> m.toml:5:16
           |
         5 | learners = [1, 3]
           |                ^ does not divide 64
        ...
        10 | [stage.init]
           |        ---- has an embedding of 64 dimensions
           |
           = hint: Make the dimension a multiple of every number of learners.
        ");
    assert_snapshot!(changed(LEARNERS, "learners = [2, 4, 16]"), @r"
        error: `learners` cannot go from 4 to 16
         --> m.toml:5:19
          |
        5 | learners = [2, 4, 16]
          |                -  ^^
          |                |
          |                the previous round
          |
          = hint: Stay at 4, double to 8 (each cluster is split in two) or restart at 1 or 2.
        ");
    assert_snapshot!(changed(LEARNERS, "learners = [1, 0]"), @r"
        error: `learners` must be a positive integer
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
        error: `learners` must be a positive integer
         --> m.toml:5:16
          |
        5 | learners = [1, "2"]
          |                ^^^ found a string
        "#);
}

#[test]
fn invalid_shorthands() {
    assert_snapshot!(changed(LEARNERS, "learners = { double_to = 12 }"), @r"
        error: `double_to` must be reachable by doubling from 1
         --> m.toml:5:26
          |
        5 | learners = { double_to = 12 }
          |                          ^^
          |
          = hint: Use 8 or 16.
        ");
    assert_snapshot!(changed(LEARNERS, "learners = { hold = 12 }"), @r"
        error: `learners` has no `double_to`
         --> m.toml:5:12
          |
        5 | learners = { hold = 12 }
          |            ^^^^^^^^^^^^^
          |
          = hint: `{ double_to = 32, hold = 74 }` doubles from 1 to 32 learners, then stays at 32 for 74 more rounds.
        ");
    assert_snapshot!(changed(LEARNERS, "learners = { double = 32, hold = 74 }"), @r"
        error: Unknown key `double` in `learners`
         --> m.toml:5:14
          |
        5 | learners = { double = 32, hold = 74 }
          |              ^^^^^^
          |
          = hint: Did you mean `double_to`?
        ");
    assert_snapshot!(changed(LEARNERS, "learners = { double_to = 4, hold = 1000000000 }"), @r"
        error: `learners` defines 1000000003 rounds; the maximum is 10000
         --> m.toml:5:12
          |
        5 | learners = { double_to = 4, hold = 1000000000 }
          |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        ");
}

#[test]
fn learners_that_do_not_divide_the_embedding() {
    assert_snapshot!(changed("dimension = 64", "dimension = 66"), @r"
        error: Cannot divide an embedding of 66 dimensions among 4 learners
          --> m.toml:5:19
           |
         5 | learners = [1, 2, 4, 4]
           |                   ^ does not divide 66
        ...
        10 | [stage.init]
           |        ---- has an embedding of 66 dimensions
           |
           = hint: Make the dimension a multiple of every number of learners.
        ");
    assert_snapshot!(changed(LEARNERS, "learners = { double_to = 128 }"), @r"
        error: Cannot divide an embedding of 64 dimensions among 128 learners
          --> m.toml:5:12
           |
         5 | learners = { double_to = 128 }
           |            ^^^^^^^^^^^^^^^^^^^ does not divide 64
        ...
        10 | [stage.init]
           |        ---- has an embedding of 64 dimensions
           |
           = hint: Make the dimension a multiple of every number of learners.
        ");
}

#[test]
fn invalid_tables() {
    assert_snapshot!(changed(LEARNERS, "learner = [1, 2]"), @r"
        error: `rounds` has no `learners`
         --> m.toml:4:1
          |
        4 | [rounds]
          | ^^^^^^^^
          |
          = hint: List the number of learners in each round: `learners = [1, 2, 4]`.

        error: Unknown key `learner` in `rounds`
         --> m.toml:5:1
          |
        5 | learner = [1, 2]
          | ^^^^^^^
          |
          = hint: Did you mean `learners`?
        ");
    assert_snapshot!(changed(LEARNERS, ""), @r"
        error: `rounds` has no `learners`
         --> m.toml:4:1
          |
        4 | [rounds]
          | ^^^^^^^^
          |
          = hint: List the number of learners in each round: `learners = [1, 2, 4]`.
        ");
    assert_snapshot!(changed("[rounds]\nlearners = [1, 2, 4, 4]", "rounds = 3"), @r"
        error: `rounds` must be a table
         --> m.toml:4:10
          |
        4 | rounds = 3
          |          ^ found `3`
        ");
    assert_snapshot!(changed(r#"per = "learner""#, r#"per = "learners""#), @r#"
        error: Invalid value `learners` for `per`
          --> m.toml:22:7
           |
        22 | per = "learners"
           |       ^^^^^^^^^^ expected `once`, `round` or `learner`
           |
           = hint: Did you mean `learner`?
        "#);
    assert_snapshot!(changed(r#"per = "learner""#, "per = \"learner\"\nretain = \"lost\""), @r#"
        error: Invalid value `lost` for `retain`
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
fn per_round_without_rounds() {
    assert_snapshot!(changed("[rounds]\nlearners = [1, 2, 4, 4]", ""), @r#"
        error: `embed` runs once per round, but the manifest has no rounds
          --> m.toml:13:7
           |
        13 | per = "round"
           |       ^^^^^^^
           |
           = hint: Add a `[rounds]` table with one number per round, as in `learners = [1, 2, 4]`.

        error: `cluster` runs once per round, but the manifest has no rounds
          --> m.toml:17:7
           |
        17 | per = "round"
           |       ^^^^^^^
           |
           = hint: Add a `[rounds]` table with one number per round, as in `learners = [1, 2, 4]`.

        error: `train` runs once per learner, but the manifest has no rounds
          --> m.toml:21:7
           |
        21 | per = "learner"
           |       ^^^^^^^^^
           |
           = hint: Add a `[rounds]` table with one number per round, as in `learners = [1, 2, 4]`.

        error: `merge` runs once per round, but the manifest has no rounds
          --> m.toml:26:7
           |
        26 | per = "round"
           |       ^^^^^^^
           |
           = hint: Add a `[rounds]` table with one number per round, as in `learners = [1, 2, 4]`.
        "#);
}
