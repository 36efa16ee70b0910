//! Checks a whole manifest, in order: names, stages and their parameters, rounds, dimensions, sources, connections, cycles, metrics.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dnc_stages::api::{
    Ambient, Arithmetic, Input, Job, LONGEST_NAME, Lookup, Ports, Source, StageKind, Usage, is_name,
};
use rayon::prelude::*;
use serde_json::Value;
use toml::Spanned;

use super::checked::{Manifest, Per, StageNode};
use super::diagnostic::{Diagnostic, Span, Texts};
use super::metrics::{MetricUse, Wanted};
use super::options::ReadOptions;
use super::raw::{self, RawManifest, RawStage, RawTable};
use super::text::names_in;
use super::value::Word;
use super::wiring::Wiring;
use super::{cycle, metrics, params, suggest};

/// Minimum number of stages per thread. For fewer, waking another thread costs more than it saves.
const MIN_STAGES_PER_THREAD: usize = 128;

/// A stage whose parameters could be parsed.
struct ParsedStage {
    kind: StageKind,
    job: Arc<dyn Job>,
    params: Value,
    ports: Ports,
    /// Each with the span that names it.
    sources: Vec<(Source, Span)>,
    wanted_metric: Option<Wanted>,
}

/// Checks `raw`. The result is valid only if no problem was added.
pub(super) fn check(
    raw: RawManifest<'_>,
    texts: &Texts,
    folder: PathBuf,
    options: ReadOptions<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Manifest> {
    if let Some(name) = &raw.name {
        check_name(name, "runs are stored in a folder of that name", problems);
    }
    if raw.stages.is_empty() && problems.is_empty() {
        let hint = "Add one, such as `[stage.decode]`. `dnc-run stages` lists the available kinds.".to_owned();
        problems.push(Diagnostic::general("The manifest has no stages").hint(hint));
    }
    let (stages, parsed) = read_stages(raw.stages, options.stages, problems);
    if !raw.has_rounds {
        check_that_no_stage_needs_rounds(&stages, problems);
    }
    check_dimensions(&stages, &parsed, &raw.learners, problems);
    if options.check_sources {
        check_sources(&stages, &parsed, &folder, problems);
    }
    let ports = stages
        .iter()
        .zip(&parsed)
        .map(|(stage, parsed)| parsed.as_ref().filter(|_| stage.has_known_wiring).map(|parsed| &parsed.ports));
    let ports: Vec<_> = ports.collect();
    let connections = Wiring::new(texts, &stages, &ports, &raw.learners).connect(problems);
    cycle::check(&stages, &connections, raw.learners.len(), problems);
    let uses = parsed.iter().zip(&connections).map(|(parsed, connections)| {
        let ParsedStage { job, ports, wanted_metric, .. } = parsed.as_ref()?;
        Some(MetricUse { job: job.as_ref(), ports, connections, wanted: wanted_metric.as_ref() })
    });
    metrics::check(&stages, &uses.collect::<Vec<_>>(), problems);

    let nodes = stages.into_iter().zip(parsed).zip(connections).map(|((stage, parsed), inputs)| {
        let ParsedStage { kind, job, params, ports, .. } = parsed?;
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
        report: raw.report,
        learners: raw.learners.into_iter().map(Spanned::into_inner).collect(),
        folder,
    })
}

/// Reads the stages on all threads, and parses the parameters of each.
fn read_stages<'t>(
    tables: Vec<RawTable<'t>>,
    kinds: &[StageKind],
    problems: &mut Vec<Diagnostic>,
) -> (Vec<RawStage<'t>>, Vec<Option<ParsedStage>>) {
    let read = |table| {
        let mut problems = Vec::new();
        let stage = raw::stage(table, &mut problems);
        let stage = stage.map(|mut stage| {
            let parsed = read_stage(&stage, kinds, &mut problems);
            // They are not needed again, and the next stage can reuse their memory while it is in the processor's cache.
            drop(std::mem::take(&mut stage.params));
            (stage, parsed)
        });
        (stage, problems)
    };
    let read: Vec<_> = tables.into_par_iter().with_min_len(MIN_STAGES_PER_THREAD).map(read).collect();
    let stages = read.into_iter().filter_map(|(stage, found)| {
        problems.extend(found);
        stage
    });
    stages.unzip()
}

fn read_stage(stage: &RawStage<'_>, kinds: &[StageKind], problems: &mut Vec<Diagnostic>) -> Option<ParsedStage> {
    check_name(&stage.name, "other stages refer to a stage by its name", problems);
    let kind = kind_of(stage, kinds, problems)?;
    let job: Arc<dyn Job> = Arc::from(params::read(&kind, stage, problems)?);
    check_use(&kind, job.as_ref(), stage, problems);
    let sources = job.sources().into_iter().map(|source| {
        let span = params::span_of(stage, &source.param);
        (source, span)
    });
    let sources = sources.collect();
    let wanted_metric = Wanted::of(job.as_ref(), stage);
    Some(ParsedStage { kind, params: job.params(), ports: ports(job.as_ref(), stage), sources, wanted_metric, job })
}

fn check_use(kind: &StageKind, job: &dyn Job, stage: &RawStage<'_>, problems: &mut Vec<Diagnostic>) {
    let inputs: Vec<&str> = stage.inputs.iter().map(|input| input.port.get_ref().as_ref()).collect();
    let per = *stage.per.get_ref();
    let in_rounds = per != Per::Once;
    let available = Ambient {
        seed: true,
        round: in_rounds,
        learners: in_rounds,
        learner: per == Per::Learner,
        arithmetic: Arithmetic::Device,
    };
    if let Err(error) = job.check_use(&Usage { inputs: &inputs, available }) {
        problems.push(params::refused(kind, stage, &error));
    }
}

fn kind_of(stage: &RawStage<'_>, kinds: &[StageKind], problems: &mut Vec<Diagnostic>) -> Option<StageKind> {
    let word = stage.kind.as_ref().unwrap_or(&stage.name);
    let found = kinds.iter().find(|kind| kind.name == *word.get_ref());
    if found.is_none() {
        let names = || kinds.iter().map(|kind| kind.name);
        let all = match stage.kind {
            Some(_) => format!("Use {}.", suggest::one_of(names())),
            None => format!("Set its `kind` to {}.", suggest::one_of(names())),
        };
        problems.push(
            Diagnostic::at(word.span(), format!("Unknown kind of stage `{}`", word.get_ref()))
                .hint(suggest::did_you_mean(word.get_ref(), names()).unwrap_or(all)),
        );
    }
    found.copied()
}

/// Checks a name of which names of files are made.
fn check_name(name: &Word<'_>, reason: &str, problems: &mut Vec<Diagnostic>) {
    let (text, length) = (name.get_ref(), name.get_ref().len());
    let (title, hint) = if !is_name(text) {
        (format!("Invalid name `{text}`"), format!("Use only letters, digits, `-` and `_`: {reason}."))
    } else if length > LONGEST_NAME {
        let title = format!("Name of {length} bytes, more than {LONGEST_NAME}");
        (title, "Shorten it: logs and folders are named after it, and file systems limit their names.".to_owned())
    } else {
        return;
    };
    problems.push(Diagnostic::at(name.span(), title).hint(hint));
}

fn check_that_no_stage_needs_rounds(stages: &[RawStage<'_>], problems: &mut Vec<Diagnostic>) {
    for stage in stages.iter().filter(|stage| *stage.per.get_ref() != Per::Once) {
        let (name, per) = (stage.name.get_ref(), stage.per.get_ref().name());
        let hint = "Add a `[rounds]` table with one number per round, as in `learners = [1, 2, 4]`.".to_owned();
        let title = format!("`{name}` runs once per {per}, but the manifest has no rounds");
        problems.push(Diagnostic::at(stage.per.span(), title).hint(hint));
    }
}

fn check_dimensions(
    stages: &[RawStage<'_>],
    parsed: &[Option<ParsedStage>],
    learners: &[Spanned<u32>],
    problems: &mut Vec<Diagnostic>,
) {
    for (stage, parsed) in stages.iter().zip(parsed) {
        let Some(dimension) = parsed.as_ref().and_then(|parsed| parsed.job.embedding_dimension()) else { continue };
        let Some(wrong) = learners.iter().find(|count| dimension % *count.get_ref() as usize != 0) else { continue };
        let title = format!("Cannot divide an embedding of {dimension} dimensions among {} learners", wrong.get_ref());
        problems.push(
            Diagnostic::at(wrong.span(), title)
                .label(format!("does not divide {dimension}"))
                .also(stage.name.span(), format!("has an embedding of {dimension} dimensions"))
                .hint("Make the dimension a multiple of every number of learners.".to_owned()),
        );
    }
}

fn check_sources(
    stages: &[RawStage<'_>],
    parsed: &[Option<ParsedStage>],
    folder: &Path,
    problems: &mut Vec<Diagnostic>,
) {
    // Many stages may run the same program, so each is looked up once.
    let mut existing: HashMap<(&Lookup, &OsStr), bool> = HashMap::new();
    for (stage, parsed) in stages.iter().zip(parsed) {
        for (source, span) in parsed.iter().flat_map(|parsed| &parsed.sources) {
            let exists = || source.find(folder).is_some_and(|path| path.exists());
            if *existing.entry((&source.lookup, source.path.as_os_str())).or_insert_with(exists) {
                continue;
            }
            let shown = source.path.display();
            if source.is_on_path() {
                let hint = format!("Install it, or write its path, as in `./{shown}`.");
                problems.push(Diagnostic::at(span.clone(), format!("Program `{shown}` is not on the PATH")).hint(hint));
                continue;
            }
            let (param, name) = (&source.param, stage.name.get_ref());
            let problem = match &source.lookup {
                Lookup::Among(_) => Diagnostic::at(
                    span.clone(),
                    format!("`{param}` of `{name}` names a published file that is not on this machine: `{shown}`"),
                )
                .hint(source.advice.clone()),
                _ => Diagnostic::at(span.clone(), format!("`{param}` of `{name}` does not exist: `{shown}`"))
                    .hint(path_hint(folder, source)),
            };
            problems.push(problem);
        }
    }
}

/// A hint for a missing file: a similar name in the same folder, the advice of the stage, or else how the path is resolved.
fn path_hint(folder: &Path, source: &Source) -> String {
    let path = source.path.as_path();
    let full = folder.join(path);
    let parent = full.parent().unwrap_or(folder);
    let names = names_in(parent);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let near = suggest::nearest(&name, names.iter().map(String::as_str));
    let near = near.map(|near| format!("Did you mean `{}`?", path.with_file_name(near).display()));
    match (near, &source.advice) {
        (Some(near), Some(advice)) => format!("{near} {advice}"),
        (Some(hint), None) => hint,
        (None, Some(advice)) => advice.clone(),
        (None, None) if path.is_absolute() => {
            "Check the path, or write one relative to the manifest's folder.".to_owned()
        }
        (None, None) => "Relative paths start from the manifest's folder.".to_owned(),
    }
}

/// The ports of a job. If it accepts any further inputs, these are the ones that `in` names.
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
