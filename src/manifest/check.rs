//! Everything that is checked, in order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dnc_stages::stage::{Input, Job, Ports, StageKind};
use rayon::prelude::*;
use toml::Spanned;
use toml::de::DeTable;

use super::diagnostic::{Diagnostic, Texts};
use super::raw::{self, RawManifest, RawStage};
use super::reference::is_name;
use super::text::names_in;
use super::wiring::Wiring;
use super::{Manifest, Per, Reading, StageNode, cycle, params, suggest};

/// So many stages are read on one thread before another one is worth waking.
const STAGES_A_THREAD: usize = 128;

/// The manifest whose tables are `table`; not to be used where a problem was noted.
pub(super) fn check(
    table: DeTable<'_>,
    texts: &Texts,
    folder: PathBuf,
    reading: Reading<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Manifest> {
    let raw = raw::read(table, problems);
    let kinds: Vec<_> = raw.stages.iter().map(|stage| kind_of(stage, reading.stages, problems)).collect();
    let jobs = jobs(&raw.stages, &kinds, problems);
    check_names(&raw, problems);
    check_rounds(&raw, problems);
    check_dimensions(&raw, &jobs, problems);
    if reading.check_sources {
        check_sources(&raw.stages, &jobs, &folder, problems);
    }
    let ports = jobs
        .iter()
        .zip(&raw.stages)
        .map(|(job, stage)| job.as_ref().filter(|_| stage.has_known_per).map(|job| ports(job.as_ref(), stage)));
    let ports: Vec<_> = ports.collect();
    let wires = Wiring::new(texts, &raw.stages, &ports, &raw.learners).connect(problems);
    cycle::check(&raw.stages, &wires, raw.learners.len(), problems);

    let nodes = raw.stages.into_iter().zip(kinds).zip(jobs).zip(ports).zip(wires);
    let stages = nodes.map(|((((stage, kind), job), ports), inputs)| {
        let job: Arc<dyn Job> = Arc::from(job?);
        Some(StageNode {
            name: stage.name.into_inner().into_owned(),
            kind: kind?,
            per: stage.per.into_inner(),
            params: job.params(),
            job,
            ports: ports?,
            inputs,
            resources: stage.resources,
        })
    });
    Some(Manifest {
        stages: stages.collect::<Option<_>>()?,
        name: raw.name?.into_inner().into_owned(),
        seed: raw.seed,
        learners: raw.learners.into_iter().map(Spanned::into_inner).collect(),
        folder,
    })
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

fn jobs(
    stages: &[RawStage<'_>],
    kinds: &[Option<StageKind>],
    problems: &mut Vec<Diagnostic>,
) -> Vec<Option<Box<dyn Job>>> {
    let read = |(stage, kind): (&RawStage<'_>, &Option<StageKind>)| kind.as_ref().map(|kind| params::read(kind, stage));
    let pairs = stages.par_iter().zip(kinds).with_min_len(STAGES_A_THREAD);
    let read: Vec<_> = pairs.map(read).collect();
    let jobs = read.into_iter().map(|read| {
        let read = read?;
        problems.extend(read.problems);
        read.job
    });
    jobs.collect()
}

fn check_names(raw: &RawManifest<'_>, problems: &mut Vec<Diagnostic>) {
    if let Some(name) = raw.name.as_ref().filter(|name| !is_name(name.get_ref())) {
        problems.push(not_a_name(name, "its runs lie in the folder of this name"));
    }
    for stage in raw.stages.iter().filter(|stage| !is_name(stage.name.get_ref())) {
        problems.push(not_a_name(&stage.name, "other stages refer to this one by it"));
    }
    if raw.stages.is_empty() && problems.is_empty() {
        let hint = "Add one: `[stage.decode]` and its parameters below. `dnc-run stages` lists the kinds.".to_owned();
        problems.push(Diagnostic::whole("The manifest has no stages").hint(hint));
    }
}

fn not_a_name(word: &raw::Word<'_>, because: &str) -> Diagnostic {
    Diagnostic::at(word.span(), format!("`{}` cannot be a name", word.get_ref()))
        .hint(format!("Letters, digits, `-` and `_` make a name: {because}."))
}

fn check_rounds(raw: &RawManifest<'_>, problems: &mut Vec<Diagnostic>) {
    if raw.has_rounds {
        return;
    }
    for stage in raw.stages.iter().filter(|stage| *stage.per.get_ref() != Per::Once) {
        let (name, per) = (stage.name.get_ref(), stage.per.get_ref().name());
        let hint = "Add `[rounds]` with `learners = [1, 2, 4]`: one number a round.".to_owned();
        let title = format!("`{name}` is done once a {per}, but the manifest has no rounds");
        problems.push(Diagnostic::at(stage.per.span(), title).hint(hint));
    }
}

fn check_dimensions(raw: &RawManifest<'_>, jobs: &[Option<Box<dyn Job>>], problems: &mut Vec<Diagnostic>) {
    for (stage, job) in raw.stages.iter().zip(jobs) {
        let Some(dimension) = job.as_ref().and_then(|job| job.embedding_dimension()) else { continue };
        let Some(wrong) = raw.learners.iter().find(|count| dimension % *count.get_ref() as usize != 0) else {
            continue;
        };
        let title = format!("{} learners cannot share an embedding of {dimension} dimensions", wrong.get_ref());
        problems.push(
            Diagnostic::at(wrong.span(), title)
                .label(format!("does not divide {dimension}"))
                .also(stage.name.span(), format!("makes embeddings of {dimension} dimensions")),
        );
    }
}

fn check_sources(
    stages: &[RawStage<'_>],
    jobs: &[Option<Box<dyn Job>>],
    folder: &Path,
    problems: &mut Vec<Diagnostic>,
) {
    let mut is_there = HashMap::new();
    for (stage, job) in stages.iter().zip(jobs) {
        for source in job.iter().flat_map(|job| job.sources()) {
            let path = folder.join(&source.path);
            if *is_there.entry(path).or_insert_with_key(|path| path.exists()) {
                continue;
            }
            let shown = source.path.display();
            let title = format!("`{}` of `{}` is not there: `{shown}`", source.param, stage.name.get_ref());
            problems.push(
                Diagnostic::at(params::span_of(stage, &source.param), title).hint(what_is_there(folder, &source.path)),
            );
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
