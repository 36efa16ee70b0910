//! `[rounds]`: how many learners each round has.
//!
//! Either a list, `learners = [1, 2, 4, 4]`, or its shorthand, `learners = { double_to = 32, hold = 74 }`: one round each
//! at 1, 2, 4 … 32 learners, then 74 rounds more at 32. `first = 8` starts at 8, and `conquer = 50` ends with 50 rounds of a
//! single learner, which trains the whole embedding on all images.
//!
//! Source: Sanakoyeu et al., "Improving Deep Metric Learning by Divide and Conquer", TPAMI 2021, §3.5 (K doubles).

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Span};
use super::raw::{at_least_one, keep, table, unknown_key, whole, wrong_type};

/// No published schedule comes near; more is a slip of the finger, and each round is a node or more.
const MAX_ROUNDS: usize = 10_000;

/// The learners of each round, each with the place that says so.
pub(super) fn read(value: Spanned<DeValue<'_>>, problems: &mut Vec<Diagnostic>) -> Vec<Spanned<u32>> {
    let span = value.span();
    let Some(table) = keep(table("rounds", value), problems) else { return Vec::new() };
    let mut learners = None;
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "learners" => learners = Some(read_learners(value, problems)),
            _ => problems.push(unknown_key(&key, "under `rounds`", &["learners"])),
        }
    }
    learners.unwrap_or_else(|| {
        let hint = "Say how many learners each round has: `learners = [1, 2, 4]`.".to_owned();
        problems.push(Diagnostic::at(span, "`rounds` says nothing about `learners`").hint(hint));
        Vec::new()
    })
}

fn read_learners(value: Spanned<DeValue<'_>>, problems: &mut Vec<Diagnostic>) -> Vec<Spanned<u32>> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Array(array) if array.is_empty() => {
            let hint = "Write one number a round: `learners = [1]` is a single round with a single learner.".to_owned();
            problems.push(Diagnostic::at(span, "`learners` is empty").hint(hint));
            Vec::new()
        }
        DeValue::Array(array) => {
            let read = |item: &Spanned<DeValue<'_>>| {
                at_least_one("learners", item).map(|count| Spanned::new(item.span(), count))
            };
            let learners: Vec<_> = array.iter().filter_map(|item| keep(read(item), problems)).collect();
            if learners.len() == array.len() {
                check_steps(&learners, problems);
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

/// The list that the shorthand stands for; `None` where something is wrong with it.
fn expand(shorthand: &DeTable<'_>, span: &Span, problems: &mut Vec<Diagnostic>) -> Option<Vec<u32>> {
    let before = problems.len();
    let (mut first, mut double_to, mut hold, mut conquer) = (1, None, 0, 0);
    for (key, value) in shorthand {
        match key.get_ref().as_ref() {
            "first" => first = keep(at_least_one("first", value), problems)?,
            "double_to" => {
                double_to = Some(Spanned::new(value.span(), keep(at_least_one("double_to", value), problems)?))
            }
            "hold" => hold = keep(whole("hold", value), problems)?,
            "conquer" => conquer = keep(whole("conquer", value), problems)?,
            _ => problems.push(unknown_key(key, "under `learners`", &["first", "double_to", "hold", "conquer"])),
        }
    }
    if problems.len() > before {
        return None;
    }
    let Some(double_to) = double_to else {
        let hint = "`{ double_to = 32, hold = 74 }` doubles from 1 to 32 and then stays for 74 rounds.".to_owned();
        problems.push(Diagnostic::at(span.clone(), "`learners` does not say what to `double_to`").hint(hint));
        return None;
    };
    let last = *double_to.get_ref();
    let mut learners: Vec<u32> =
        std::iter::successors(Some(first), |count| count.checked_mul(2)).take_while(|&count| count <= last).collect();
    if learners.last() != Some(&last) {
        problems.push(Diagnostic::at(double_to.span(), format!("Doubling {first} never gives {last}")));
        return None;
    }
    let rounds = hold.saturating_add(conquer).saturating_add(learners.len() as u64);
    if rounds > MAX_ROUNDS as u64 {
        problems.push(Diagnostic::at(span.clone(), format!("`learners` gives more than {MAX_ROUNDS} rounds")));
        return None;
    }
    learners.resize(learners.len() + hold as usize, last);
    learners.resize(rounds as usize, 1);
    Some(learners)
}

/// From round to round the learners stay, double, or start again at 1 or where they began.
fn check_steps(learners: &[Spanned<u32>], problems: &mut Vec<Diagnostic>) {
    if learners.len() > MAX_ROUNDS {
        let span = learners[MAX_ROUNDS].span();
        problems.push(Diagnostic::at(span, format!("`learners` gives more than {MAX_ROUNDS} rounds")));
    }
    let first = learners.first().map_or(1, |count| *count.get_ref());
    for pair in learners.windows(2) {
        let (before, after) = (*pair[0].get_ref(), *pair[1].get_ref());
        if after == before || Some(after) == before.checked_mul(2) || after == 1 || after == first {
            continue;
        }
        let again = if first == 1 { "1".to_owned() } else { format!("1 or {first}") };
        let doubled = u64::from(before) * 2;
        let hint =
            format!("{before} stays or becomes {doubled}: each cluster is split in two. Or start again at {again}.");
        let problem = Diagnostic::at(pair[1].span(), format!("`learners` cannot go from {before} to {after}"));
        problems.push(problem.also(pair[0].span(), "the round before").hint(hint));
    }
}
