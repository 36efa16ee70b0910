//! Everything that is checked, in order.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dnc_stages::stage::{Ambient, Input, Job, Ports, Source, StageKind, Usage};
use rayon::prelude::*;
use serde_json::Value;
use toml::Spanned;

use super::diagnostic::{Diagnostic, Span, Texts};
use super::raw::{self, RawManifest, RawStage, RawTable, Word};
use super::reference::is_name;
use super::text::names_in;
use super::wiring::Wiring;
use super::{Manifest, Per, Reading, StageNode, cycle, params, suggest};

/// So many stages are read on one thread before another one is worth waking.
const STAGES_A_THREAD: usize = 128;

/// A stage whose parameters could be read.
struct Known {
    kind: StageKind,
    job: Arc<dyn Job>,
    params: Value,
    ports: Ports,
    /// Each with the place that names it.
    sources: Vec<(Source, Span)>,
}

/// The manifest as meant; not to be used where a problem was noted.
pub(super) fn check(
    raw: RawManifest<'_>,
    texts: &Texts,
    folder: PathBuf,
    reading: Reading<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Manifest> {
    check_name(raw.name.as_ref(), problems);
    if raw.stages.is_empty() && problems.is_empty() {
        let hint = "Add one: `[stage.decode]` and its parameters below. `dnc-run stages` lists the kinds.".to_owned();
        problems.push(Diagnostic::whole("The manifest has no stages").hint(hint));
    }
    let (stages, known) = read_stages(raw.stages, reading.stages, problems);
    if !raw.has_rounds {
        check_that_nothing_is_done_in_rounds(&stages, problems);
    }
    check_dimensions(&stages, &known, &raw.learners, problems);
    if reading.check_sources {
        check_sources(&stages, &known, &folder, problems);
    }
    let ports = stages
        .iter()
        .zip(&known)
        .map(|(stage, known)| known.as_ref().filter(|_| stage.has_known_wiring).map(|known| &known.ports));
    let ports: Vec<_> = ports.collect();
    let wires = Wiring::new(texts, &stages, &ports, &raw.learners).connect(problems);
    cycle::check(&stages, &wires, raw.learners.len(), problems);

    let nodes = stages.into_iter().zip(known).zip(wires).map(|((stage, known), inputs)| {
        let Known { kind, job, params, ports, .. } = known?;
        let name = stage.name.into_inner().into_owned();
        let per = stage.per.into_inner();
        Some(StageNode {
            name,
            kind,
            per,
            job,
            params,
            ports,
            inputs,
            retain: stage.retain,
            resources: stage.resources,
        })
    });
    Some(Manifest {
        stages: nodes.collect::<Option<_>>()?,
        name: raw.name?.into_inner().into_owned(),
        seed: raw.seed,
        learners: raw.learners.into_iter().map(Spanned::into_inner).collect(),
        folder,
    })
}

/// The stages, and what is known of each.
fn read_stages<'t>(
    tables: Vec<RawTable<'t>>,
    kinds: &[StageKind],
    problems: &mut Vec<Diagnostic>,
) -> (Vec<RawStage<'t>>, Vec<Option<Known>>) {
    let read = |table| {
        let mut problems = Vec::new();
        let stage = raw::stage(table, &mut problems);
        let stage = stage.map(|mut stage| {
            let known = read_stage(&stage, kinds, &mut problems);
            // Nobody asks for them again, and the next stage finds their memory warm.
            drop(std::mem::take(&mut stage.params));
            (stage, known)
        });
        (stage, problems)
    };
    let read: Vec<_> = tables.into_par_iter().with_min_len(STAGES_A_THREAD).map(read).collect();
    let stages = read.into_iter().filter_map(|(stage, found)| {
        problems.extend(found);
        stage
    });
    stages.unzip()
}

fn read_stage(stage: &RawStage<'_>, kinds: &[StageKind], problems: &mut Vec<Diagnostic>) -> Option<Known> {
    if !is_name(stage.name.get_ref()) {
        problems.push(not_a_name(&stage.name, "other stages refer to this one by it"));
    }
    let kind = kind_of(stage, kinds, problems)?;
    let job: Arc<dyn Job> = Arc::from(params::read(&kind, stage, problems)?);
    check_use(job.as_ref(), stage, problems);
    let sources = job.sources().into_iter().map(|source| {
        let span = params::span_of(stage, &source.param);
        (source, span)
    });
    Some(Known { kind, params: job.params(), ports: ports(job.as_ref(), stage), sources: sources.collect(), job })
}

fn check_use(job: &dyn Job, stage: &RawStage<'_>, problems: &mut Vec<Diagnostic>) {
    let inputs: Vec<&str> = stage.inputs.iter().map(|input| input.port.get_ref().as_ref()).collect();
    let per = *stage.per.get_ref();
    let in_rounds = per != Per::Once;
    let there =
        Ambient { seed: true, round: in_rounds, learners: in_rounds, learner: per == Per::Learner, arithmetic: true };
    if let Err(error) = job.check_use(&Usage { inputs: &inputs, there }) {
        problems.push(params::refused(stage, &error));
    }
}

fn kind_of(stage: &RawStage<'_>, kinds: &[StageKind], problems: &mut Vec<Diagnostic>) -> Option<StageKind> {
    let word = stage.kind.as_ref().unwrap_or(&stage.name);
    let found = kinds.iter().find(|kind| kind.name == *word.get_ref());
    if found.is_none() {
        let names = || kinds.iter().map(|kind| kind.name);
        let all = match stage.kind {
            Some(_) => format!("Expected {}.", suggest::one_of(names())),
            None => format!("Say what kind of stage it is, `kind = \"…\"`: {}.", suggest::one_of(names())),
        };
        problems.push(
            Diagnostic::at(word.span(), format!("There is no kind of stage called `{}`", word.get_ref()))
                .hint(suggest::did_you_mean(word.get_ref(), names()).unwrap_or(all)),
        );
    }
    found.copied()
}

fn check_name(name: Option<&Word<'_>>, problems: &mut Vec<Diagnostic>) {
    if let Some(name) = name.filter(|name| !is_name(name.get_ref())) {
        problems.push(not_a_name(name, "its runs lie in the folder of this name"));
    }
}

fn not_a_name(word: &Word<'_>, because: &str) -> Diagnostic {
    Diagnostic::at(word.span(), format!("`{}` cannot be a name", word.get_ref()))
        .hint(format!("Letters, digits, `-` and `_` make a name: {because}."))
}

fn check_that_nothing_is_done_in_rounds(stages: &[RawStage<'_>], problems: &mut Vec<Diagnostic>) {
    for stage in stages.iter().filter(|stage| *stage.per.get_ref() != Per::Once) {
        let (name, per) = (stage.name.get_ref(), stage.per.get_ref().name());
        let hint = "Add `[rounds]` with `learners = [1, 2, 4]`: one number a round.".to_owned();
        let title = format!("`{name}` is done once a {per}, but the manifest has no rounds");
        problems.push(Diagnostic::at(stage.per.span(), title).hint(hint));
    }
}

fn check_dimensions(
    stages: &[RawStage<'_>],
    known: &[Option<Known>],
    learners: &[Spanned<u32>],
    problems: &mut Vec<Diagnostic>,
) {
    for (stage, known) in stages.iter().zip(known) {
        let Some(dimension) = known.as_ref().and_then(|known| known.job.embedding_dimension()) else { continue };
        let Some(wrong) = learners.iter().find(|count| dimension % *count.get_ref() as usize != 0) else { continue };
        let title = format!("{} learners cannot share an embedding of {dimension} dimensions", wrong.get_ref());
        problems.push(
            Diagnostic::at(wrong.span(), title)
                .label(format!("does not divide {dimension}"))
                .also(stage.name.span(), format!("makes embeddings of {dimension} dimensions")),
        );
    }
}

fn check_sources(stages: &[RawStage<'_>], known: &[Option<Known>], folder: &Path, problems: &mut Vec<Diagnostic>) {
    // Many stages may name the same program.
    let mut is_there: HashMap<(bool, &OsStr), bool> = HashMap::new();
    for (stage, known) in stages.iter().zip(known) {
        for (source, span) in known.iter().flat_map(|known| &known.sources) {
            let found = || source.find(folder).is_some_and(|path| path.exists());
            if *is_there.entry((source.is_on_path(), source.path.as_os_str())).or_insert_with(found) {
                continue;
            }
            let shown = source.path.display();
            if source.is_on_path() {
                problems.push(Diagnostic::at(span.clone(), format!("No program `{shown}` is on the PATH")));
                continue;
            }
            let title = format!("`{}` of `{}` is not there: `{shown}`", source.param, stage.name.get_ref());
            problems.push(Diagnostic::at(span.clone(), title).hint(what_is_there(folder, &source.path)));
        }
    }
}

/// Advice on a missing `path`: what lies beside it under a like name, or else where it was looked for.
fn what_is_there(folder: &Path, path: &Path) -> String {
    let full = folder.join(path);
    let parent = full.parent().unwrap_or(folder);
    let names = names_in(parent);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match suggest::nearest(&name, names.iter().map(String::as_str)) {
        Some(near) => format!("Did you mean `{}`?", path.with_file_name(near).display()),
        None if path.is_absolute() => "Nothing lies at this path.".to_owned(),
        None => "A path is relative to the manifest's folder.".to_owned(),
    }
}

/// The ports of a job, with those that only its stage's `in` names.
fn ports(job: &dyn Job, stage: &RawStage<'_>) -> Ports {
    let mut ports = job.ports();
    let Some(rest) = ports.inputs.iter().position(Input::is_rest) else { return ports };
    let rest = ports.inputs.remove(rest);
    let declared = ports.inputs.len();
    for input in &stage.inputs {
        let name = input.port.get_ref();
        if ports.inputs[..declared].iter().all(|port| port.name != *name) {
            ports.inputs.push(Input { name: name.clone().into_owned(), ..rest.clone() });
        }
    }
    ports
}
