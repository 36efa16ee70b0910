//! What flows where: every reference resolved, every port fed what it takes.

use std::collections::HashMap;

use dnc_stages::Kind;
use dnc_stages::stage::{Arity, Input, Ports};
use toml::Spanned;

use super::diagnostic::{Diagnostic, Span, Texts};
use super::raw::{RawInput, RawStage};
use super::reference::{self, Malformed, Reference, When, Which, Written, WrittenRound};
use super::{Per, Wire, suggest};

/// After so many problems the rest is not looked at: each looks for a name among all the stages.
const MAX_PROBLEMS: usize = 200;

/// What the wiring must know of the manifest.
pub(super) struct Wiring<'a, 't> {
    texts: &'a Texts,
    stages: &'a [RawStage<'t>],
    ports: &'a [Option<&'a Ports>],
    learners: &'a [Spanned<u32>],
    by_name: HashMap<&'a str, usize>,
}

/// A reference where it is written.
struct Place<'a, 't> {
    reader: &'a RawStage<'t>,
    port: &'a Input,
    text: &'a Spanned<std::borrow::Cow<'t, str>>,
}

impl<'a, 't> Wiring<'a, 't> {
    /// The wiring of `stages`, whose ports are known where their parameters could be read.
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

    /// What is fed to each input port of each stage.
    pub(super) fn connect(&self, problems: &mut Vec<Diagnostic>) -> Vec<Vec<Wire>> {
        let stages = self.stages.iter().zip(self.ports);
        let wires = stages.map(|(stage, ports)| match ports {
            Some(ports) if problems.len() < MAX_PROBLEMS => self.connect_one(stage, ports, problems),
            _ => Vec::new(),
        });
        wires.collect()
    }

    fn connect_one(&self, stage: &RawStage<'t>, ports: &Ports, problems: &mut Vec<Diagnostic>) -> Vec<Wire> {
        let mut wires = vec![Wire::default(); ports.inputs.len()];
        let mut is_written = vec![false; ports.inputs.len()];
        let mut next = 0;
        for input in &stage.inputs {
            // Ports that only the manifest names stand in its order, so each is looked for behind the last.
            let name = input.port.get_ref();
            let index = (next..ports.inputs.len()).chain(0..next).find(|&index| ports.inputs[index].name == *name);
            match index {
                Some(index) => {
                    is_written[index] = true;
                    wires[index] = self.feed(stage, &ports.inputs[index], input, problems);
                    next = index + 1;
                }
                None => {
                    // The input that was meant is not missing too.
                    let near = suggest::nearest(name, ports.inputs.iter().map(|port| port.name.as_str()));
                    let meant = ports.inputs.iter().position(|port| Some(port.name.as_str()) == near);
                    meant.into_iter().for_each(|index| is_written[index] = true);
                    problems.push(unknown_port(stage, ports, input));
                }
            }
        }
        for (port, is_written) in ports.inputs.iter().zip(is_written) {
            if !is_written && port.arity != Arity::Optional {
                problems.push(self.missing_input(stage, port));
            }
        }
        wires
    }

    fn feed(&self, reader: &RawStage<'_>, port: &Input, input: &RawInput<'_>, problems: &mut Vec<Diagnostic>) -> Wire {
        if port.arity != Arity::Many && input.references.len() > 1 {
            let title = format!("The port `{}` of `{}` takes one artifact", port.name, reader.name.get_ref());
            problems.push(Diagnostic::at(input.span.clone(), title).label("these are several"));
            return Wire::default();
        }
        if !input.is_readable {
            return Wire::default();
        }
        if input.references.is_empty() && port.arity != Arity::Optional {
            let title = format!("Nothing is fed to the port `{}` of `{}`", port.name, reader.name.get_ref());
            problems.push(Diagnostic::at(input.span.clone(), title));
        }
        let mut feeds = Vec::with_capacity(input.references.len());
        for text in &input.references {
            let place = Place { reader, port, text };
            match self.alternatives(&place, problems) {
                Some(alternatives) => feeds.push(alternatives),
                None => return Wire::default(),
            }
        }
        let wire = Wire { feeds };
        if port.arity != Arity::Optional && !wire.feeds.is_empty() && reader.per.get_ref() != &Per::Once {
            let absent = |feed: &Vec<Reference>| feed.iter().all(|reference| reference.when == When::Previous);
            if wire.feeds.iter().all(absent) {
                problems.push(self.nothing_in_round_0(reader, port, input));
            }
        }
        wire
    }

    /// The alternatives of one reference; `None` where one of them is wrong.
    fn alternatives(&self, place: &Place<'_, '_>, problems: &mut Vec<Diagnostic>) -> Option<Vec<Reference>> {
        let written = match reference::parse(place.text.get_ref()) {
            Ok(written) => written,
            Err(Malformed { range, title, hint }) => {
                problems.push(Diagnostic::at(self.span(place, range), title).hint(hint));
                return None;
            }
        };
        let resolved: Vec<_> = written.iter().map(|written| self.resolve(place, written)).collect();
        let mut alternatives = Vec::with_capacity(resolved.len());
        let mut whole = true;
        for alternative in resolved {
            match alternative {
                Ok(reference) => alternatives.push(reference),
                Err(problem) => {
                    whole = false;
                    problems.extend(problem);
                }
            }
        }
        if !whole {
            return None;
        }
        let always = alternatives.iter().position(|reference| reference.when != When::Previous);
        if let Some(unreached) = always.and_then(|always| written.get(always + 1)) {
            let first = &written[always.unwrap_or_default()];
            let title = format!("`{}` is never read: `{}` is there in every round", unreached.stage, first.stage);
            let hint = "The first that exists is meant: write what is only sometimes there first.".to_owned();
            problems.push(Diagnostic::at(self.span(place, unreached.stage_range()), title).hint(hint));
        }
        Some(alternatives)
    }

    /// `Err(None)` where the stage's own problems, told elsewhere, keep it from being known.
    fn resolve(&self, place: &Place<'_, '_>, written: &Written<'_>) -> Result<Reference, Option<Diagnostic>> {
        let Some(&index) = self.by_name.get(written.stage) else {
            return Err(Some(self.unknown_stage(place, written)));
        };
        let source = &self.stages[index];
        let ports = self.ports[index].ok_or(None)?;
        let when = self.when(place, written, *source.per.get_ref())?;
        let output = self.output(place, written, ports)?;
        let which = self.which(place, written, source, when)?;
        Ok(Reference { stage: index, output, when, which })
    }

    fn when(&self, place: &Place<'_, '_>, written: &Written<'_>, source: Per) -> Result<When, Diagnostic> {
        let at = || self.span(place, written.round_range(place.text.get_ref()));
        let reader = *place.reader.per.get_ref();
        match (written.round, source) {
            (None, Per::Once) => Ok(When::Once),
            (Some(_), Per::Once) => {
                Err(Diagnostic::at(at(), format!("`{}` is done once: it has no rounds", written.stage))
                    .hint(format!("Write `{}`, or give `[stage.{0}]` the line `per = \"round\"`.", written.stage)))
            }
            (None, _) if reader == Per::Once => Ok(When::Last),
            (None, _) => Ok(When::Same),
            (Some(WrittenRound::Last), _) => Ok(When::Last),
            (Some(WrittenRound::Previous), _) if reader == Per::Once => {
                let name = place.reader.name.get_ref();
                Err(Diagnostic::at(at(), format!("`{name}` is done once: no round is previous to it")).hint(format!(
                    "Write `{}@last`, or give `[stage.{name}]` the line `per = \"round\"`.",
                    written.stage
                )))
            }
            (Some(WrittenRound::Previous), _) => Ok(When::Previous),
            (Some(WrittenRound::Number(round)), _) => match self.learners.len() {
                rounds if (round as usize) < rounds => Ok(When::Round(round)),
                // A stage that needs rounds where there are none is told of already.
                0 => Ok(When::Same),
                rounds => Err(Diagnostic::at(at(), format!("There is no round {round}"))
                    .hint(format!("Rounds count from 0, and `learners` gives {rounds}: the last is {}.", rounds - 1))),
            },
        }
    }

    fn output(&self, place: &Place<'_, '_>, written: &Written<'_>, ports: &Ports) -> Result<usize, Diagnostic> {
        let Place { port, reader, .. } = place;
        let takes = |kind: Kind| port.kind == kind || port.kind == Kind::Files;
        let takes_kind = || format!("The port `{}` of `{}` takes `{}`", port.name, reader.name.get_ref(), port.kind);
        let at = || self.span(place, written.output_range());
        let source = written.stage;
        if let Some(name) = written.output {
            let Some(index) = ports.outputs.iter().position(|output| output.name == name) else {
                let names = || ports.outputs.iter().map(|output| output.name.as_str());
                let all = format!("`{source}` writes {}.", suggest::all_of(names()));
                return Err(Diagnostic::at(at(), format!("`{source}` has no output `{name}`"))
                    .hint(suggest::did_you_mean(name, names()).unwrap_or(all)));
            };
            let kind = ports.outputs[index].kind;
            return match takes(kind) {
                true => Ok(index),
                false => Err(Diagnostic::at(at(), takes_kind())
                    .label(format!("this is `{kind}`"))
                    .hint(self.who_gives(port.kind, reader))),
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
            [] if port.kind == Kind::Files && !ports.outputs.is_empty() => Ok(0),
            [] => {
                let kinds = suggest::all_of(ports.outputs.iter().map(|output| output.kind.name()));
                Err(Diagnostic::at(at(), takes_kind())
                    .label(format!("`{source}` gives {kinds}"))
                    .hint(self.who_gives(port.kind, reader)))
            }
            several => {
                let names: Vec<String> =
                    several.iter().map(|&index| format!("{source}.{}", ports.outputs[index].name)).collect();
                Err(Diagnostic::at(at(), format!("`{source}` has several outputs of the kind `{}`", port.kind))
                    .hint(format!("Say which: {}.", suggest::one_of(names.iter().map(String::as_str)))))
            }
        }
    }

    fn which(
        &self,
        place: &Place<'_, '_>,
        written: &Written<'_>,
        source: &RawStage<'_>,
        when: When,
    ) -> Result<Which, Diagnostic> {
        let Place { port, reader, .. } = place;
        if *source.per.get_ref() != Per::Learner {
            return Ok(Which::Shared);
        }
        if port.arity == Arity::Many {
            return Ok(Which::All);
        }
        let at = self.span(place, written.stage_range());
        if *reader.per.get_ref() != Per::Learner {
            let title = format!("The port `{}` of `{}` takes one artifact", port.name, reader.name.get_ref());
            return Err(Diagnostic::at(at, title)
                .label(format!("`{}` gives one a learner", written.stage))
                .hint("A stage that merges the learners' artifacts into one goes between them.".to_owned()));
        }
        let rounds = self.learners.len() as u32;
        let count = |round: u32| self.learners.get(round as usize).map_or(0, |count| *count.get_ref());
        let orphan = (0..rounds).find_map(|round| {
            let then = when.seen_from(round, rounds)?;
            (count(then) > count(round)).then_some((round, then))
        });
        match orphan {
            None => Ok(Which::Own),
            Some((round, then)) => {
                let title = format!("In round {round} a learner has no artifact of `{}` of its own", written.stage);
                Err(Diagnostic::at(at, title).label(format!("{} learners in round {then}", count(then))).hint(format!(
                    "Round {round} has fewer ({}); read a stage that merges them instead.",
                    count(round)
                )))
            }
        }
    }

    fn unknown_stage(&self, place: &Place<'_, '_>, written: &Written<'_>) -> Diagnostic {
        let names = || self.stages.iter().map(|stage| stage.name.get_ref().as_ref());
        let near = suggest::did_you_mean(written.stage, names());
        Diagnostic::at(self.span(place, written.stage_range()), format!("There is no stage `{}`", written.stage))
            .hint(near.or_else(|| self.who_gives(place.port.kind, place.reader)))
    }

    fn missing_input(&self, reader: &RawStage<'_>, port: &Input) -> Diagnostic {
        let at = reader.inputs_span.clone().unwrap_or_else(|| reader.name.span());
        let title = format!("The input `{}` of `{}` is missing", port.name, reader.name.get_ref());
        Diagnostic::at(at, title).label(format!("it takes `{}`", port.kind)).hint(self.who_gives(port.kind, reader))
    }

    fn nothing_in_round_0(&self, reader: &RawStage<'_>, port: &Input, input: &RawInput<'_>) -> Diagnostic {
        let title = format!("In round 0 nothing is fed to the port `{}` of `{}`", port.name, reader.name.get_ref());
        let written = input.references.first().map_or("", |text| text.get_ref().as_ref());
        let first = self.givers(port.kind).find(|stage| *stage.per.get_ref() == Per::Once);
        let other = first.map_or("STAGE", |stage| stage.name.get_ref().as_ref());
        Diagnostic::at(input.span.clone(), title)
            .label("there is no round before it")
            .hint(format!("Say what stands in: `\"{written} or {other}\"`."))
    }

    /// Which stages give what a port takes.
    fn who_gives(&self, kind: Kind, reader: &RawStage<'_>) -> Option<String> {
        let others = self.givers(kind).filter(|stage| stage.name.get_ref() != reader.name.get_ref());
        let names: Vec<&str> = others.map(|stage| stage.name.get_ref().as_ref()).take(5).collect();
        match names.as_slice() {
            [] => None,
            [name] => Some(format!("`{name}` gives `{kind}`.")),
            names => Some(format!("{} give `{kind}`.", suggest::all_of(names.iter().copied()))),
        }
    }

    fn givers(&self, kind: Kind) -> impl Iterator<Item = &RawStage<'t>> {
        let gives = move |ports: &&Ports| ports.outputs.iter().any(|output| output.kind == kind);
        let stages = self.stages.iter().zip(self.ports);
        stages.filter(move |(_, ports)| ports.as_ref().is_some_and(gives)).map(|(stage, _)| stage)
    }

    /// The place in the manifest of `range` in the reference's text; the whole of it where it is written with escapes.
    fn span(&self, place: &Place<'_, '_>, range: std::ops::Range<usize>) -> Span {
        let whole = place.text.span();
        let source = self.texts.slice(&whole);
        match source.find(place.text.get_ref().as_ref()) {
            Some(quote) => whole.start + quote + range.start..whole.start + quote + range.end,
            None => whole,
        }
    }
}

fn unknown_port(reader: &RawStage<'_>, ports: &Ports, input: &RawInput<'_>) -> Diagnostic {
    let (name, owner) = (input.port.get_ref(), reader.name.get_ref());
    let names = || ports.inputs.iter().map(|port| port.name.as_str());
    let all = match ports.inputs.is_empty() {
        true => format!("`{owner}` reads nothing."),
        false => format!("`{owner}` reads {}.", suggest::all_of(names())),
    };
    Diagnostic::at(input.port.span(), format!("`{owner}` has no input `{name}`"))
        .hint(suggest::did_you_mean(name, names()).unwrap_or(all))
}
