//! What stands under `in`: which artifact of which stage, of which round.
//!
//! ```text
//! decode                    the output of `decode` that the port takes
//! train.history             an output by its name
//! merge@previous            the last round's
//! merge@0                   round 0's
//! merge@last                the last round's of all
//! merge@previous or init    the first of these that exists: in round 0 there is no previous round
//! ```
//!
//! Where nothing is said a stage that is done each round reads the same round's, and one that is done once reads the last
//! round's. A per-learner stage reads its own learner's artifact of another one; every other stage reads all learners'.

use std::ops::Range;

/// An artifact that a port is fed, its stage and output known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Index in [`Manifest::stages`](super::Manifest::stages).
    pub stage: usize,
    /// Index in the stage's `ports.outputs`.
    pub output: usize,
    /// Of which round.
    pub when: When,
    /// Of which learner.
    pub which: Which,
}

/// Of which round an artifact is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Of the stage's only time: it is done once.
    Once,
    /// Of the reader's own round.
    Same,
    /// Of the round before the reader's.
    Previous,
    /// Of this round.
    Round(u32),
    /// Of the last round of all.
    Last,
}

/// Of which learner an artifact is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The stage is not done per learner.
    Shared,
    /// The reader's own learner's. Where the learners doubled in between, its parent's: see [`learner_then`].
    Own,
    /// One artifact for each learner of the round, in their order.
    All,
}

impl When {
    /// The round meant, seen from `round` of `rounds`; `None` where there is none. What is done once counts as round 0.
    pub fn seen_from(self, round: u32, rounds: u32) -> Option<u32> {
        match self {
            When::Once => Some(0),
            When::Same => Some(round),
            When::Previous => round.checked_sub(1),
            When::Round(fixed) => Some(fixed),
            When::Last => rounds.checked_sub(1),
        }
    }
}

/// Which of `then` learners the `learner`th of `now` descends from; `then` divides `now`. On doubling, learner c becomes
/// 2c and 2c + 1.
pub fn learner_then(learner: u32, now: u32, then: u32) -> u32 {
    (u64::from(learner) * u64::from(then) / u64::from(now)) as u32
}

/// One alternative as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written<'t> {
    pub(super) stage: &'t str,
    pub(super) output: Option<&'t str>,
    pub(super) round: Option<WrittenRound>,
    /// Where the alternative starts in the text.
    pub(super) start: usize,
}

/// What stands after `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WrittenRound {
    Previous,
    Last,
    Number(u32),
}

/// Why a text is no reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// Which bytes of the text are wrong.
    pub(super) range: Range<usize>,
    pub(super) title: String,
    pub(super) hint: String,
}

impl<'t> Written<'t> {
    /// Where the stage's name stands in the text.
    pub(super) fn stage_range(&self) -> Range<usize> {
        self.start..self.start + self.stage.len()
    }

    /// Where the output's name stands in the text, or else the stage's.
    pub(super) fn output_range(&self) -> Range<usize> {
        let start = self.start + self.stage.len() + 1;
        self.output.map_or_else(|| self.stage_range(), |output| start..start + output.len())
    }

    /// Where `@` and what follows stand in the text; empty where nothing is said.
    pub(super) fn round_range(&self, whole: &str) -> Range<usize> {
        let start = self.output_range().end;
        let rest = &whole[start..];
        start..start + rest.find(char::is_whitespace).unwrap_or(rest.len())
    }
}

/// The alternatives of `text`, in order.
pub(super) fn parse(text: &str) -> Result<Vec<Written<'_>>, Malformed> {
    let mut alternatives = Vec::with_capacity(1);
    let mut start = 0;
    loop {
        let rest = &text[start..];
        let end = rest.find(" or ").unwrap_or(rest.len());
        alternatives.push(parse_one(&rest[..end], start)?);
        if end == rest.len() {
            return Ok(alternatives);
        }
        start += end + " or ".len();
    }
}

fn parse_one(text: &str, start: usize) -> Result<Written<'_>, Malformed> {
    let start = start + (text.len() - text.trim_start().len());
    let text = text.trim();
    let malformed = |range: Range<usize>, title: String, hint: &str| {
        Err(Malformed { range: start + range.start..start + range.end, title, hint: hint.to_owned() })
    };
    let (path, round) = match text.split_once('@') {
        Some((path, round)) => (path, Some(round)),
        None => (text, None),
    };
    let (stage, output) = match path.split_once('.') {
        Some((stage, output)) => (stage, Some(output)),
        None => (path, None),
    };
    if !is_name(stage) || output.is_some_and(|output| !is_name(output)) {
        let hint = "Write a stage, `decode`; one of its outputs, `train.history`; or a round of it, `merge@previous`.";
        let title =
            if text.is_empty() { "A reference is empty".to_owned() } else { format!("`{text}` is no reference") };
        return malformed(0..text.len(), title, hint);
    }
    let round = match round {
        None => None,
        Some("previous") => Some(WrittenRound::Previous),
        Some("last") => Some(WrittenRound::Last),
        Some(number) if number.parse::<u32>().is_ok() => number.parse().ok().map(WrittenRound::Number),
        Some(other) => {
            let range = path.len() + 1..text.len();
            let hint = match other.split_once('.') {
                Some((round, output)) => format!("The output stands before the round: `{path}.{output}@{round}`."),
                None => "Write `@previous`, `@last` or the number of a round, from 0.".to_owned(),
            };
            return malformed(range, format!("`{other}` is no round"), &hint);
        }
    };
    Ok(Written { stage, output, round, start })
}

/// Whether `name` can stand in a reference and in the name of a node.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read() {
        let written = |stage, output, round, start| Written { stage, output, round, start };
        for (text, expected) in [
            ("decode", vec![written("decode", None, None, 0)]),
            ("train.history", vec![written("train", Some("history"), None, 0)]),
            (
                "merge@previous or init",
                vec![
                    written("merge", None, Some(WrittenRound::Previous), 0),
                    written("init", None, None, "merge@previous or ".len()),
                ],
            ),
            (
                " a.b@12  or  c@last",
                vec![
                    written("a", Some("b"), Some(WrittenRound::Number(12)), 1),
                    written("c", None, Some(WrittenRound::Last), 13),
                ],
            ),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn the_wrong_part_is_named() {
        for (text, wrong) in [
            ("", ""),
            ("a or ", ""),
            ("a b", "a b"),
            ("merge@next", "next"),
            ("merge@-1", "-1"),
            ("merge@99999999999", "99999999999"),
            ("x or merge@previous.model", "previous.model"),
            ("a.b.c", "a.b.c"),
        ] {
            let range = parse(text).expect_err(text).range;
            assert_eq!(&text[range], wrong, "{text}");
        }
    }

    #[test]
    fn rounds_are_seen_from_where_one_stands() {
        for (when, round, expected) in [
            (When::Once, 2, Some(0)),
            (When::Same, 2, Some(2)),
            (When::Previous, 2, Some(1)),
            (When::Previous, 0, None),
            (When::Round(1), 0, Some(1)),
            (When::Last, 0, Some(3)),
        ] {
            assert_eq!(when.seen_from(round, 4), expected, "{when:?} from {round}");
        }
    }

    #[test]
    fn a_learner_descends_from_the_one_that_was_split() {
        for (learner, now, then, expected) in [(5, 8, 4, 2), (4, 8, 4, 2), (7, 8, 1, 0), (3, 4, 4, 3)] {
            assert_eq!(learner_then(learner, now, then), expected, "{learner} of {now} then {then}");
        }
    }
}
