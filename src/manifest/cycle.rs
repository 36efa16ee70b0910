//! Finds cycles among stages.
//!
//! Rounds matter: `embed` may read `merge@previous` although `merge` depends on `embed` of the same round. The depth-first
//! search therefore walks pairs of a stage and a round.

use super::checked::{Connection, Per};
use super::diagnostic::{Diagnostic, Span};
use super::raw::RawStage;
use super::reference::{self, Reference};

/// Longer cycles are shown without their middle.
const MAX_NAMED: usize = 24;

/// A stage in one of its rounds. A stage that runs once is in round 0.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Vertex {
    stage: usize,
    round: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unvisited,
    OnPath,
    Done,
}

/// Reports the cycles among `stages`, whose ports are connected as `connections` says. Of several cycles through the same
/// stage only one is reported.
pub(super) fn check(
    stages: &[RawStage<'_>],
    connections: &[Vec<Connection>],
    rounds: usize,
    problems: &mut Vec<Diagnostic>,
) {
    let rounds = rounds.max(1) as u32;
    let rounds_of = |stage: usize| if *stages[stage].per.get_ref() == Per::Once { 1 } else { rounds };
    let feeds: Vec<Vec<&[Reference]>> = connections.iter().map(|connections| feeds(connections)).collect();

    // The vertices of a stage are consecutive and start at this index.
    let starts: Vec<usize> = std::iter::once(0)
        .chain((0..stages.len()).scan(0, |end, stage| {
            *end += rounds_of(stage) as usize;
            Some(*end)
        }))
        .collect();
    let index = |vertex: Vertex| starts[vertex.stage] + vertex.round as usize;

    let mut states = vec![State::Unvisited; starts[stages.len()]];
    let mut reported = vec![false; stages.len()];
    let mut path: Vec<(Vertex, usize)> = Vec::new();
    let vertices = (0..stages.len()).flat_map(|stage| (0..rounds_of(stage)).map(move |round| Vertex { stage, round }));
    for vertex in vertices {
        if states[index(vertex)] == State::Unvisited {
            states[index(vertex)] = State::OnPath;
            path.push((vertex, 0));
        }
        while let Some((vertex, next)) = path.last_mut() {
            let Some(feed) = feeds[vertex.stage].get(*next) else {
                states[index(*vertex)] = State::Done;
                path.pop();
                continue;
            };
            *next += 1;
            let Some(source) = source_of(feed, vertex.round, rounds) else { continue };
            match states[index(source)] {
                State::Done => {}
                State::Unvisited => {
                    states[index(source)] = State::OnPath;
                    path.push((source, 0));
                }
                State::OnPath => {
                    let start = path
                        .iter()
                        .rposition(|(vertex, _)| *vertex == source)
                        .expect("a vertex in this state is on the path");
                    let cycle: Vec<Vertex> = path[start..].iter().rev().map(|(vertex, _)| *vertex).collect();
                    let is_reported = cycle.iter().any(|vertex| reported[vertex.stage]);
                    cycle.iter().for_each(|vertex| reported[vertex.stage] = true);
                    if !is_reported {
                        problems.push(describe(stages, &cycle));
                    }
                }
            }
        }
    }
}

fn feeds(connections: &[Connection]) -> Vec<&[Reference]> {
    connections.iter().flat_map(|connection| connection.feeds.iter().map(Vec::as_slice)).collect()
}

/// The vertex that the first existing one of `alternatives` refers to, for a reader in `round`.
fn source_of(alternatives: &[Reference], round: u32, rounds: u32) -> Option<Vertex> {
    alternatives.iter().find_map(|reference| {
        reference.when.seen_from(round, rounds).map(|round| Vertex { stage: reference.stage, round })
    })
}

/// Describes `cycle`, which is in the order in which artifacts flow.
fn describe(stages: &[RawStage<'_>], cycle: &[Vertex]) -> Diagnostic {
    let earliest = (0..cycle.len()).min_by_key(|&index| (cycle[index].stage, cycle[index].round)).unwrap_or(0);
    let cycle: Vec<Vertex> = cycle[earliest..].iter().chain(&cycle[..=earliest]).copied().collect();

    let is_one_round = cycle.iter().all(|vertex| vertex.round == cycle[0].round);
    let name = |vertex: &Vertex| match stages[vertex.stage].name.get_ref() {
        name if is_one_round || *stages[vertex.stage].per.get_ref() == Per::Once => name.to_string(),
        name => format!("{name}@{}", vertex.round),
    };
    let mut names: Vec<String> = cycle.iter().map(name).collect();
    if names.len() > MAX_NAMED {
        let middle = names.len() - MAX_NAMED;
        names.splice(MAX_NAMED / 2..MAX_NAMED / 2 + middle, [format!("… {middle} more …")]);
    }
    let first = &stages[cycle[0].stage];
    let before = stages[cycle[cycle.len() - 2].stage].name.get_ref();
    let title = format!("`{}` depends on itself: {}", first.name.get_ref(), names.join(" → "));
    let problem = Diagnostic::at(span_of_feed(first, before), title);
    let has_rounds = cycle.iter().any(|vertex| *stages[vertex.stage].per.get_ref() != Per::Once);
    problem.hint(if has_rounds {
        format!("Read the previous round in one of these stages, as in `{before}@previous`.")
    } else {
        "Remove one of these inputs.".to_owned()
    })
}

/// The span of the entry in `in` through which `reader` reads from the stage `source`.
fn span_of_feed(reader: &RawStage<'_>, source: &str) -> Span {
    let names_it =
        |text: &str| reference::parse(text).is_ok_and(|parsed| parsed.iter().any(|parsed| parsed.stage == source));
    let input = reader.inputs.iter().find(|input| input.references.iter().any(|text| names_it(text.get_ref())));
    input.map_or_else(|| reader.name.span(), |input| input.span.clone())
}
