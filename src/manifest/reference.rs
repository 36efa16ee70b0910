//! References, as written in `in`: which output of which stage, and of which round.
//!
//! ```text
//! decode                    the output of `decode` whose kind matches the port
//! train.history             an output by name
//! merge@previous            from the previous round
//! merge@0                   from round 0
//! merge@last                from the last round
//! merge@previous or init    the first alternative that exists: round 0 has no previous round
//! ```
//!
//! Without a round, a stage that runs in every round reads from the same round, and a stage that runs once reads from the
//! last round. A per-learner stage reads the artifact of its own learner from another per-learner stage; a port that takes
//! many artifacts reads those of all learners.

use std::ops::Range;

use dnc_stages::api::is_name;

/// A reference whose stage and output are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Index in [`Manifest::stages`](super::Manifest::stages).
    pub stage: usize,
    /// Index in the stage's `ports.outputs`.
    pub output: usize,
    /// The round that it reads from.
    pub when: When,
    /// The learner that it reads from.
    pub which: Which,
}

/// The round that a reference reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// None: the referenced stage runs once.
    Once,
    /// The reader's own round.
    Same,
    /// The round before the reader's.
    Previous,
    /// The round of this number.
    Round(u32),
    /// The last round of the manifest.
    Last,
}

/// The learner that a reference reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// None: the referenced stage does not run per learner.
    Shared,
    /// The reader's own learner, or its parent if the learners doubled in between: see [`learner_then`].
    Own,
    /// All learners of the round, in order.
    All,
}

impl When {
    /// The number of the round that a reader in `round` of `rounds` reads from; `None` if it does not exist. A stage that runs
    /// once counts as round 0.
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

/// The parent among `then` learners of the learner with index `learner` among `now`; `then` divides `now`. On doubling,
/// learner c becomes learners 2c and 2c + 1.
pub fn learner_then(learner: u32, now: u32, then: u32) -> u32 {
    (u64::from(learner) * u64::from(then) / u64::from(now)) as u32
}

/// One alternative of a reference as written, before its names are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ParsedReference<'t> {
    pub(super) stage: &'t str,
    pub(super) output: Option<&'t str>,
    pub(super) round: Option<ParsedRound>,
    /// Byte offset of the alternative in the text.
    pub(super) start: usize,
}

/// The part after `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParsedRound {
    Previous,
    Last,
    Number(u32),
}

/// Why a text is not a valid reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// The invalid bytes of the text.
    pub(super) range: Range<usize>,
    pub(super) title: String,
    pub(super) hint: String,
}

impl<'t> ParsedReference<'t> {
    /// The byte range of the stage's name in the text.
    pub(super) fn stage_range(&self) -> Range<usize> {
        self.start..self.start + self.stage.len()
    }

    /// The byte range of the output's name in the text, or of the stage's name if there is none.
    pub(super) fn output_range(&self) -> Range<usize> {
        let start = self.start + self.stage.len() + 1;
        self.output.map_or_else(|| self.stage_range(), |output| start..start + output.len())
    }

    /// The byte range of `@` and the round in the text; empty if no round is given.
    pub(super) fn round_range(&self, whole: &str) -> Range<usize> {
        let start = self.output_range().end;
        let rest = &whole[start..];
        start..start + rest.find(char::is_whitespace).unwrap_or(rest.len())
    }
}

/// Parses the alternatives of `text`, in order.
pub(super) fn parse(text: &str) -> Result<Vec<ParsedReference<'_>>, Malformed> {
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

fn parse_one(text: &str, start: usize) -> Result<ParsedReference<'_>, Malformed> {
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
        let hint =
            "Write a stage (`decode`), one of its outputs (`train.history`) or one of its rounds (`merge@previous`).";
        let title = if text.is_empty() { "Empty reference".to_owned() } else { format!("Invalid reference `{text}`") };
        return malformed(0..text.len(), title, hint);
    }
    let round = match round {
        None => None,
        Some("previous") => Some(ParsedRound::Previous),
        Some("last") => Some(ParsedRound::Last),
        Some(number) if number.parse::<u32>().is_ok() => number.parse().ok().map(ParsedRound::Number),
        Some(other) => {
            let range = path.len() + 1..text.len();
            let hint = match other.split_once('.') {
                Some((round, output)) => format!("Write the output before the round: `{path}.{output}@{round}`."),
                None => "Write `@previous`, `@last` or the number of a round, starting at `@0`.".to_owned(),
            };
            return malformed(range, format!("Invalid round `{other}`"), &hint);
        }
    };
    Ok(ParsedReference { stage, output, round, start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_parsed() {
        let parsed = |stage, output, round, start| ParsedReference { stage, output, round, start };
        for (text, expected) in [
            ("decode", vec![parsed("decode", None, None, 0)]),
            ("train.history", vec![parsed("train", Some("history"), None, 0)]),
            (
                "merge@previous or init",
                vec![
                    parsed("merge", None, Some(ParsedRound::Previous), 0),
                    parsed("init", None, None, "merge@previous or ".len()),
                ],
            ),
            (
                " a.b@12  or  c@last",
                vec![
                    parsed("a", Some("b"), Some(ParsedRound::Number(12)), 1),
                    parsed("c", None, Some(ParsedRound::Last), 13),
                ],
            ),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn the_invalid_part_is_located() {
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
    fn rounds_are_relative_to_the_reader() {
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
    fn a_learners_parent_is_the_one_that_was_split() {
        for (learner, now, then, expected) in [(5, 8, 4, 2), (4, 8, 4, 2), (7, 8, 1, 0), (3, 4, 4, 3)] {
            assert_eq!(learner_then(learner, now, then), expected, "{learner} of {now} then {then}");
        }
    }
}
