//! Connects the stages: resolves every reference and checks that each input port gets artifacts of its kind.

use std::collections::HashMap;

use dnc_stages::ArtifactKind;
use dnc_stages::api::{Arity, Input, Ports};
use toml::Spanned;

use super::checked::{Connection, Per};
use super::diagnostic::{Diagnostic, Span, Texts};
use super::raw::{RawInput, RawStage};
use super::reference::{self, Malformed, ParsedReference, ParsedRound, Reference, When, Which};
use super::suggest;
use super::value::Word;

/// After this many problems, checking stops: each hint searches the names of all stages.
const MAX_PROBLEMS: usize = 200;

/// The parts of a manifest that references depend on.
pub(super) struct Wiring<'a, 't> {
    texts: &'a Texts,
    stages: &'a [RawStage<'t>],
    ports: &'a [Option<&'a Ports>],
    learners: &'a [Spanned<u32>],
    by_name: HashMap<&'a str, usize>,
}

/// A reference with the stage and port that read through it.
struct ReferenceSite<'a, 't> {
    reader: &'a RawStage<'t>,
    port: &'a Input,
    text: &'a Word<'t>,
}

impl<'a, 't> Wiring<'a, 't> {
    /// Prepares the wiring of `stages`. `ports` has `None` for a stage whose parameters could not be parsed.
    pub(super) fn new(
        texts: &'a Texts,
        stages: &'a [RawStage<'t>],
        ports: &'a [Option<&'a Ports>],
        learners: &'a [Spanned<u32>],
    ) -> Self {
        let names = stages.iter().map(|stage| stage.name.get_ref().as_ref());
        let by_name = names.enumerate().map(|(index, name)| (name, index)).collect();
        Self { texts, stages, ports, learners, by_name }
    }

    /// Connects each input port of each stage.
    pub(super) fn connect(&self, problems: &mut Vec<Diagnostic>) -> Vec<Vec<Connection>> {
        let stages = self.stages.iter().zip(self.ports);
        let connections = stages.map(|(stage, ports)| match ports {
            Some(ports) if problems.len() < MAX_PROBLEMS => self.connect_stage(stage, ports, problems),
            _ => Vec::new(),
        });
        connections.collect()
    }

    fn connect_stage(&self, stage: &RawStage<'t>, ports: &Ports, problems: &mut Vec<Diagnostic>) -> Vec<Connection> {
        let mut connections = vec![Connection::default(); ports.inputs.len()];
        let mut is_connected = vec![false; ports.inputs.len()];
        let mut next = 0;
        for input in &stage.inputs {
            // Ports that only the manifest names are in its order, so the search starts after the last match.
            let name = input.port.get_ref();
            let index = (next..ports.inputs.len()).chain(0..next).find(|&index| ports.inputs[index].name == *name);
            match index {
                Some(index) => {
                    is_connected[index] = true;
                    connections[index] = self.connect_port(stage, &ports.inputs[index], input, problems);
                    next = index + 1;
                }
                None => {
                    // A misspelt input is not reported as missing as well.
                    let near = suggest::nearest(name, ports.inputs.iter().map(|port| port.name.as_str()));
                    let intended = ports.inputs.iter().position(|port| Some(port.name.as_str()) == near);
                    intended.into_iter().for_each(|index| is_connected[index] = true);
                    problems.push(unknown_port(stage, ports, input));
                }
            }
        }
        for (port, is_connected) in ports.inputs.iter().zip(is_connected) {
            if !is_connected && port.arity != Arity::Optional {
                problems.push(self.missing_input(stage, port));
            }
        }
        connections
    }

    fn connect_port(
        &self,
        reader: &RawStage<'_>,
        port: &Input,
        input: &RawInput<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> Connection {
        if port.arity != Arity::Many && input.references.len() > 1 {
            let hint = match input.references.as_slice() {
                [first, second, ..] => {
                    format!("Keep one; for alternatives, write `\"{} or {}\"`.", first.get_ref(), second.get_ref())
                }
                _ => "Keep one.".to_owned(),
            };
            let problem = Diagnostic::at(input.span.clone(), takes_one(port, reader));
            problems.push(problem.label(format!("{} artifacts", input.references.len())).hint(hint));
            return Connection::default();
        }
        if !input.is_readable {
            return Connection::default();
        }
        if input.references.is_empty() && port.arity != Arity::Optional {
            let title = format!("Input `{}` of `{}` is empty", port.name, reader.name.get_ref());
            problems.push(Diagnostic::at(input.span.clone(), title).hint(self.producers_hint(port.kind, reader)));
        }
        let mut feeds = Vec::with_capacity(input.references.len());
        for text in &input.references {
            let site = ReferenceSite { reader, port, text };
            match self.alternatives(&site, problems) {
                Some(alternatives) => feeds.push(alternatives),
                None => return Connection::default(),
            }
        }
        let connection = Connection { feeds };
        if port.arity != Arity::Optional && !connection.feeds.is_empty() && reader.per.get_ref() != &Per::Once {
            let absent = |feed: &Vec<Reference>| feed.iter().all(|reference| reference.when == When::Previous);
            if connection.feeds.iter().all(absent) {
                problems.push(self.no_source_in_round_0(reader, port, input));
            }
        }
        connection
    }

    /// Resolves the alternatives of one reference; `None` if one of them is invalid.
    fn alternatives(&self, site: &ReferenceSite<'_, '_>, problems: &mut Vec<Diagnostic>) -> Option<Vec<Reference>> {
        let parsed = match reference::parse(site.text.get_ref()) {
            Ok(parsed) => parsed,
            Err(Malformed { range, title, hint }) => {
                problems.push(Diagnostic::at(self.span(site, range), title).hint(hint));
                return None;
            }
        };
        let resolved: Vec<_> = parsed.iter().map(|alternative| self.resolve(site, alternative)).collect();
        let mut alternatives = Vec::with_capacity(resolved.len());
        let mut is_complete = true;
        for alternative in resolved {
            match alternative {
                Ok(reference) => alternatives.push(reference),
                Err(problem) => {
                    is_complete = false;
                    problems.extend(problem);
                }
            }
        }
        if !is_complete {
            return None;
        }
        let always = alternatives.iter().position(|reference| reference.when != When::Previous);
        if let Some(unreached) = always.and_then(|always| parsed.get(always + 1)) {
            let first = &parsed[always.unwrap_or_default()];
            let title = format!("`{}` is never read, because `{}` exists in every round", unreached.stage, first.stage);
            let hint =
                "The first alternative that exists is used. Write one that may be missing before one that exists.";
            problems.push(Diagnostic::at(self.span(site, unreached.stage_range()), title).hint(hint.to_owned()));
        }
        Some(alternatives)
    }

    /// Looks up stage, output, round and learner. `Err(None)` if the ports of the referenced stage are unknown, because of problems
    /// already reported.
    fn resolve(
        &self,
        site: &ReferenceSite<'_, '_>,
        parsed: &ParsedReference<'_>,
    ) -> Result<Reference, Option<Diagnostic>> {
        let Some(&index) = self.by_name.get(parsed.stage) else {
            return Err(Some(self.unknown_stage(site, parsed)));
        };
        let source = &self.stages[index];
        let ports = self.ports[index].ok_or(None)?;
        let when = self.round_of(site, parsed, *source.per.get_ref())?;
        let output = self.output_of(site, parsed, ports)?;
        let which = self.learner_of(site, parsed, source, when)?;
        Ok(Reference { stage: index, output, when, which })
    }

    fn round_of(
        &self,
        site: &ReferenceSite<'_, '_>,
        parsed: &ParsedReference<'_>,
        source: Per,
    ) -> Result<When, Diagnostic> {
        let at = || self.span(site, parsed.round_range(site.text.get_ref()));
        let reader = *site.reader.per.get_ref();
        match (parsed.round, source) {
            (None, Per::Once) => Ok(When::Once),
            (Some(_), Per::Once) => {
                Err(Diagnostic::at(at(), format!("`{}` runs once and has no rounds", parsed.stage))
                    .hint(format!("Write `{}`, or add `per = \"round\"` to `[stage.{0}]`.", parsed.stage)))
            }
            (None, _) if reader == Per::Once => Ok(When::Last),
            (None, _) => Ok(When::Same),
            (Some(ParsedRound::Last), _) => Ok(When::Last),
            (Some(ParsedRound::Previous), _) if reader == Per::Once => {
                let name = site.reader.name.get_ref();
                Err(Diagnostic::at(at(), format!("`{name}` runs once and has no previous round"))
                    .hint(format!("Write `{}@last`, or add `per = \"round\"` to `[stage.{name}]`.", parsed.stage)))
            }
            (Some(ParsedRound::Previous), _) => Ok(When::Previous),
            (Some(ParsedRound::Number(round)), _) => match self.learners.len() {
                rounds if (round as usize) < rounds => Ok(When::Round(round)),
                // A stage that needs rounds in a manifest without any has been reported.
                0 => Ok(When::Same),
                rounds => Err(Diagnostic::at(at(), format!("Round {round} does not exist")).hint(match rounds {
                    1 => "The only round is round 0.".to_owned(),
                    _ => format!("The rounds are 0 to {}.", rounds - 1),
                })),
            },
        }
    }

    fn output_of(
        &self,
        site: &ReferenceSite<'_, '_>,
        parsed: &ParsedReference<'_>,
        ports: &Ports,
    ) -> Result<usize, Diagnostic> {
        let ReferenceSite { port, reader, .. } = site;
        let expects_kind = || {
            format!("Input `{}` of `{}` expects an artifact of kind `{}`", port.name, reader.name.get_ref(), port.kind)
        };
        let at = || self.span(site, parsed.output_range());
        let source = parsed.stage;
        if let Some(name) = parsed.output {
            let Some(index) = ports.outputs.iter().position(|output| output.name == name) else {
                let names = || ports.outputs.iter().map(|output| output.name.as_str());
                let all = format!("`{source}` writes {}.", suggest::all_of(names()));
                return Err(Diagnostic::at(at(), format!("`{source}` has no output `{name}`"))
                    .hint(suggest::did_you_mean(name, names()).unwrap_or(all)));
            };
            let kind = ports.outputs[index].kind;
            return match port.kind.accepts(kind) {
                true => Ok(index),
                false => Err(Diagnostic::at(at(), expects_kind())
                    .label(format!("is of kind `{kind}`"))
                    .hint(self.producers_hint(port.kind, reader))),
            };
        }
        let exact: Vec<usize> = ports
            .outputs
            .iter()
            .enumerate()
            .filter(|(_, output)| output.kind == port.kind)
            .map(|(index, _)| index)
            .collect();
        match exact.as_slice() {
            [index] => Ok(*index),
            [] if port.kind == ArtifactKind::Files && !ports.outputs.is_empty() => Ok(0),
            [] => {
                let kinds = suggest::all_of(ports.outputs.iter().map(|output| output.kind.name()));
                Err(Diagnostic::at(at(), expects_kind())
                    .label(format!("`{source}` produces {kinds}"))
                    .hint(self.producers_hint(port.kind, reader)))
            }
            several => {
                let names: Vec<String> =
                    several.iter().map(|&index| format!("{source}.{}", ports.outputs[index].name)).collect();
                Err(Diagnostic::at(at(), format!("`{source}` has several outputs of kind `{}`", port.kind))
                    .hint(format!("Write {}.", suggest::one_of(names.iter().map(String::as_str)))))
            }
        }
    }

    fn learner_of(
        &self,
        site: &ReferenceSite<'_, '_>,
        parsed: &ParsedReference<'_>,
        source: &RawStage<'_>,
        when: When,
    ) -> Result<Which, Diagnostic> {
        let ReferenceSite { port, reader, .. } = site;
        if *source.per.get_ref() != Per::Learner {
            return Ok(Which::Shared);
        }
        if port.arity == Arity::Many {
            return Ok(Which::All);
        }
        let at = self.span(site, parsed.stage_range());
        if *reader.per.get_ref() != Per::Learner {
            return Err(Diagnostic::at(at, takes_one(port, reader))
                .label(format!("`{}` produces one per learner", parsed.stage))
                .hint("Read from a stage that merges the learners' artifacts instead.".to_owned()));
        }
        let rounds = self.learners.len() as u32;
        let count = |round: u32| self.learners.get(round as usize).map_or(0, |count| *count.get_ref());
        let orphaned = (0..rounds).find_map(|round| {
            let then = when.seen_from(round, rounds)?;
            (count(then) > count(round)).then_some((round, then))
        });
        match orphaned {
            None => Ok(Which::Own),
            Some((round, then)) => {
                let title = format!(
                    "The learners of round {round} cannot be matched with those of `{}` in round {then}",
                    parsed.stage
                );
                let (now, before) = (count(round), count(then));
                Err(Diagnostic::at(at, title).label(format!("{before} learners in round {then}")).hint(format!(
                    "Round {round} has only {now}. Read from a stage that merges the learners' artifacts instead."
                )))
            }
        }
    }

    fn unknown_stage(&self, site: &ReferenceSite<'_, '_>, parsed: &ParsedReference<'_>) -> Diagnostic {
        let names = || self.stages.iter().map(|stage| stage.name.get_ref().as_ref());
        let near = suggest::did_you_mean(parsed.stage, names());
        Diagnostic::at(self.span(site, parsed.stage_range()), format!("Unknown stage `{}`", parsed.stage))
            .hint(near.or_else(|| self.producers_hint(site.port.kind, site.reader)))
    }

    fn missing_input(&self, reader: &RawStage<'_>, port: &Input) -> Diagnostic {
        let at = reader.inputs_span.clone().unwrap_or_else(|| reader.name.span());
        let title = format!("Missing input `{}` of `{}`", port.name, reader.name.get_ref());
        Diagnostic::at(at, title)
            .label(format!("expects an artifact of kind `{}`", port.kind))
            .hint(self.producers_hint(port.kind, reader))
    }

    fn no_source_in_round_0(&self, reader: &RawStage<'_>, port: &Input, input: &RawInput<'_>) -> Diagnostic {
        let title = format!("Input `{}` of `{}` has no source in round 0", port.name, reader.name.get_ref());
        let written = input.references.first().map_or("", |text| text.get_ref().as_ref());
        let first = self.producers(port.kind).find(|stage| *stage.per.get_ref() == Per::Once);
        let other = first.map_or("STAGE", |stage| stage.name.get_ref().as_ref());
        Diagnostic::at(input.span.clone(), title)
            .label("round 0 has no previous round")
            .hint(format!("Add an alternative for round 0: `\"{written} or {other}\"`."))
    }

    /// A hint that names the stages which produce artifacts of `kind`.
    fn producers_hint(&self, kind: ArtifactKind, reader: &RawStage<'_>) -> Option<String> {
        let others = self.producers(kind).filter(|stage| stage.name.get_ref() != reader.name.get_ref());
        let names: Vec<&str> = others.map(|stage| stage.name.get_ref().as_ref()).take(5).collect();
        match names.as_slice() {
            [] => None,
            [name] => Some(format!("`{name}` produces `{kind}`.")),
            names => Some(format!("{} produce `{kind}`.", suggest::all_of(names.iter().copied()))),
        }
    }

    fn producers(&self, kind: ArtifactKind) -> impl Iterator<Item = &RawStage<'t>> {
        let produces = move |ports: &&Ports| ports.outputs.iter().any(|output| output.kind == kind);
        let stages = self.stages.iter().zip(self.ports);
        stages.filter(move |(_, ports)| ports.as_ref().is_some_and(produces)).map(|(stage, _)| stage)
    }

    /// The span in the manifest of `range` in the reference's text, or of the whole text if it is written with escapes.
    fn span(&self, site: &ReferenceSite<'_, '_>, range: std::ops::Range<usize>) -> Span {
        let whole = site.text.span();
        let source = self.texts.slice(&whole);
        match source.find(site.text.get_ref().as_ref()) {
            Some(quote) => whole.start + quote + range.start..whole.start + quote + range.end,
            None => whole,
        }
    }
}

/// The title of the problem that several artifacts are connected to a port for one.
fn takes_one(port: &Input, reader: &RawStage<'_>) -> String {
    format!("Input `{}` of `{}` takes a single artifact", port.name, reader.name.get_ref())
}

fn unknown_port(reader: &RawStage<'_>, ports: &Ports, input: &RawInput<'_>) -> Diagnostic {
    let (name, owner) = (input.port.get_ref(), reader.name.get_ref());
    let names = || ports.inputs.iter().map(|port| port.name.as_str());
    let all = match ports.inputs.is_empty() {
        true => format!("`{owner}` has no inputs."),
        false => format!("Inputs of `{owner}` are {}.", suggest::all_of(names())),
    };
    Diagnostic::at(input.port.span(), format!("`{owner}` has no input `{name}`"))
        .hint(suggest::did_you_mean(name, names()).unwrap_or(all))
}
