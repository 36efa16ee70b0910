//! `[rounds]`: the number of learners in each round.
//!
//! Either a list, `learners = [1, 2, 4, 4]`, or its shorthand, `learners = { double_to = 32, hold = 74 }`: one round each
//! with 1, 2, 4 … 32 learners, then 74 more rounds with 32. `first = 8` starts with 8 learners, and `conquer = 50` ends with
//! 50 rounds of a single learner, which trains the whole embedding on all images.
//!
//! Source: Sanakoyeu et al., "Improving Deep Metric Learning by Divide and Conquer", TPAMI 2021, §3.5 (K doubles).

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Span};
use super::value::{keep, non_negative, positive, table, unknown_key, wrong_type};

/// Far more than any published schedule has. A larger number is most likely a typing error, and each round adds nodes.
const MAX_ROUNDS: usize = 10_000;

/// Reads the number of learners in each round, each with its span.
pub(super) fn read(value: Spanned<DeValue<'_>>, problems: &mut Vec<Diagnostic>) -> Vec<Spanned<u32>> {
    let span = value.span();
    let Some(table) = keep(table("rounds", value), problems) else { return Vec::new() };
    let mut learners = None;
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "learners" => learners = Some(read_learners(value, problems)),
            _ => problems.push(unknown_key(&key, "in `rounds`", &["learners"])),
        }
    }
    learners.unwrap_or_else(|| {
        let hint = "List the number of learners in each round: `learners = [1, 2, 4]`.".to_owned();
        problems.push(Diagnostic::at(span, "`rounds` has no `learners`").hint(hint));
        Vec::new()
    })
}

fn read_learners(value: Spanned<DeValue<'_>>, problems: &mut Vec<Diagnostic>) -> Vec<Spanned<u32>> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Array(array) if array.is_empty() => {
            let hint = "Write one number per round: `learners = [1]` is one round with a single learner.".to_owned();
            problems.push(Diagnostic::at(span, "`learners` is empty").hint(hint));
            Vec::new()
        }
        DeValue::Array(array) => {
            let read =
                |item: &Spanned<DeValue<'_>>| positive("learners", item).map(|count| Spanned::new(item.span(), count));
            let learners: Vec<_> = array.iter().filter_map(|item| keep(read(item), problems)).collect();
            if learners.len() == array.len() {
                check_transitions(&learners, problems);
            }
            learners
        }
        DeValue::Table(shorthand) => {
            let counts = expand(&shorthand, &span, problems).unwrap_or_default();
            counts.into_iter().map(|count| Spanned::new(span.clone(), count)).collect()
        }
        other => {
            let expected = "a list such as `[1, 2, 4]`, or `{ double_to = 32, hold = 74 }`";
            problems.push(wrong_type("learners", expected, &Spanned::new(span, other)));
            Vec::new()
        }
    }
}

/// Expands the shorthand to a list; `None` if it is invalid.
fn expand(shorthand: &DeTable<'_>, span: &Span, problems: &mut Vec<Diagnostic>) -> Option<Vec<u32>> {
    let before = problems.len();
    let (mut first, mut double_to, mut hold, mut conquer) = (1, None, 0, 0);
    for (key, value) in shorthand {
        match key.get_ref().as_ref() {
            "first" => first = keep(positive("first", value), problems)?,
            "double_to" => double_to = Some(Spanned::new(value.span(), keep(positive("double_to", value), problems)?)),
            "hold" => hold = keep(non_negative("hold", value), problems)?,
            "conquer" => conquer = keep(non_negative("conquer", value), problems)?,
            _ => problems.push(unknown_key(key, "in `learners`", &["first", "double_to", "hold", "conquer"])),
        }
    }
    if problems.len() > before {
        return None;
    }
    let Some(double_to) = double_to else {
        let hint =
            "`{ double_to = 32, hold = 74 }` doubles from 1 to 32 learners, then stays at 32 for 74 more rounds.";
        problems.push(Diagnostic::at(span.clone(), "`learners` has no `double_to`").hint(hint.to_owned()));
        return None;
    };
    let last = *double_to.get_ref();
    let mut learners: Vec<u32> =
        std::iter::successors(Some(first), |count| count.checked_mul(2)).take_while(|&count| count <= last).collect();
    if learners.last() != Some(&last) {
        let hint = match learners.last() {
            Some(&below) => format!("Use {below} or {}.", u64::from(below) * 2),
            None => format!("Use {first} or more."),
        };
        let title = format!("`double_to` must be reachable by doubling from {first}");
        problems.push(Diagnostic::at(double_to.span(), title).hint(hint));
        return None;
    }
    let rounds = hold.saturating_add(conquer).saturating_add(learners.len() as u64);
    if rounds > MAX_ROUNDS as u64 {
        problems.push(too_many_rounds(span.clone(), rounds));
        return None;
    }
    learners.resize(learners.len() + hold as usize, last);
    learners.resize(rounds as usize, 1);
    Some(learners)
}

/// Checks that from one round to the next the number of learners stays, doubles, or restarts at 1 or the first number.
fn check_transitions(learners: &[Spanned<u32>], problems: &mut Vec<Diagnostic>) {
    if learners.len() > MAX_ROUNDS {
        let span = learners[MAX_ROUNDS].span();
        problems.push(too_many_rounds(span, learners.len() as u64));
    }
    let first = learners.first().map_or(1, |count| *count.get_ref());
    for pair in learners.windows(2) {
        let (before, after) = (*pair[0].get_ref(), *pair[1].get_ref());
        if after == before || Some(after) == before.checked_mul(2) || after == 1 || after == first {
            continue;
        }
        let restart = if first == 1 { "1".to_owned() } else { format!("1 or {first}") };
        let doubled = u64::from(before) * 2;
        let hint =
            format!("Stay at {before}, double to {doubled} (each cluster is split in two) or restart at {restart}.");
        let problem = Diagnostic::at(pair[1].span(), format!("`learners` cannot go from {before} to {after}"));
        problems.push(problem.also(pair[0].span(), "the previous round").hint(hint));
    }
}

fn too_many_rounds(span: Span, rounds: u64) -> Diagnostic {
    Diagnostic::at(span, format!("`learners` defines {rounds} rounds; the maximum is {MAX_ROUNDS}"))
}
