//! Whether a stage waits for itself.
//!
//! Rounds matter: `embed` may read `merge@previous` and `merge` of the same round may come of `embed`, but nothing may read
//! what comes of it in the end. So the search walks visits, one a round of each stage, depth first.

use super::diagnostic::{Diagnostic, Span};
use super::raw::RawStage;
use super::{Per, Reference, Wire, reference};

/// A ring of more stages than this is shown without its middle.
const MAX_NAMED: usize = 24;

/// A stage in one of its rounds; what is done once is done in round 0.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Visit {
    stage: usize,
    round: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

/// Notes every ring among `stages`, whose ports are fed by `wires`. Of rings that share a stage one is told.
pub(super) fn check(stages: &[RawStage<'_>], wires: &[Vec<Wire>], rounds: usize, problems: &mut Vec<Diagnostic>) {
    let rounds = rounds.max(1) as u32;
    let rounds_of = |stage: usize| if *stages[stage].per.get_ref() == Per::Once { 1 } else { rounds };
    let feeds: Vec<Vec<&[Reference]>> = wires.iter().map(|wires| feeds(wires)).collect();

    // The visits of a stage stand in a row that starts here.
    let starts: Vec<usize> = std::iter::once(0)
        .chain((0..stages.len()).scan(0, |end, stage| {
            *end += rounds_of(stage) as usize;
            Some(*end)
        }))
        .collect();
    let place = |visit: Visit| starts[visit.stage] + visit.round as usize;

    let mut states = vec![State::New; starts[stages.len()]];
    let mut told = vec![false; stages.len()];
    let mut open: Vec<(Visit, usize)> = Vec::new();
    let visits = (0..stages.len()).flat_map(|stage| (0..rounds_of(stage)).map(move |round| Visit { stage, round }));
    for visit in visits {
        if states[place(visit)] == State::New {
            states[place(visit)] = State::Open;
            open.push((visit, 0));
        }
        while let Some((visit, next)) = open.last_mut() {
            let Some(feed) = feeds[visit.stage].get(*next) else {
                states[place(*visit)] = State::Done;
                open.pop();
                continue;
            };
            *next += 1;
            let Some(source) = read(feed, visit.round, rounds) else { continue };
            match states[place(source)] {
                State::Done => {}
                State::New => {
                    states[place(source)] = State::Open;
                    open.push((source, 0));
                }
                State::Open => {
                    let start = open.iter().rposition(|(visit, _)| *visit == source).expect("open visits are stacked");
                    let ring: Vec<Visit> = open[start..].iter().rev().map(|(visit, _)| *visit).collect();
                    let is_told = ring.iter().any(|visit| told[visit.stage]);
                    ring.iter().for_each(|visit| told[visit.stage] = true);
                    if !is_told {
                        problems.push(describe(stages, &ring));
                    }
                }
            }
        }
    }
}

fn feeds(wires: &[Wire]) -> Vec<&[Reference]> {
    wires.iter().flat_map(|wire| wire.feeds.iter().map(Vec::as_slice)).collect()
}

/// The first of `alternatives` that exists, seen from `round`.
fn read(alternatives: &[Reference], round: u32, rounds: u32) -> Option<Visit> {
    alternatives.iter().find_map(|reference| {
        reference.when.seen_from(round, rounds).map(|round| Visit { stage: reference.stage, round })
    })
}

/// `ring` in the order in which artifacts flow.
fn describe(stages: &[RawStage<'_>], ring: &[Visit]) -> Diagnostic {
    let earliest = (0..ring.len()).min_by_key(|&index| (ring[index].stage, ring[index].round)).unwrap_or(0);
    let ring: Vec<Visit> = ring[earliest..].iter().chain(&ring[..=earliest]).copied().collect();

    let is_one_round = ring.iter().all(|visit| visit.round == ring[0].round);
    let name = |visit: &Visit| match stages[visit.stage].name.get_ref() {
        name if is_one_round || *stages[visit.stage].per.get_ref() == Per::Once => name.to_string(),
        name => format!("{name}@{}", visit.round),
    };
    let mut names: Vec<String> = ring.iter().map(name).collect();
    if names.len() > MAX_NAMED {
        let middle = names.len() - MAX_NAMED;
        names.splice(MAX_NAMED / 2..MAX_NAMED / 2 + middle, [format!("… {middle} more …")]);
    }
    let first = &stages[ring[0].stage];
    let before = stages[ring[ring.len() - 2].stage].name.get_ref();
    let title = format!("`{}` waits for itself: {}", first.name.get_ref(), names.join(" → "));
    let problem = Diagnostic::at(span_of_feed(first, before), title);
    let has_rounds = ring.iter().any(|visit| *stages[visit.stage].per.get_ref() != Per::Once);
    let hint = || format!("One of them must read what the round before it gave, as in `{before}@previous`.");
    problem.hint(has_rounds.then(hint))
}

/// The line under `in` by which `reader` reads the stage called `source`.
fn span_of_feed(reader: &RawStage<'_>, source: &str) -> Span {
    let names_it =
        |text: &str| reference::parse(text).is_ok_and(|written| written.iter().any(|written| written.stage == source));
    let input = reader.inputs.iter().find(|input| input.references.iter().any(|text| names_it(text.get_ref())));
    input.map_or_else(|| reader.name.span(), |input| input.span.clone())
}
