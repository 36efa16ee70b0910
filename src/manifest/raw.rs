//! The tables as written: known keys, values of the right type, each with its span in the text.
//!
//! The parameters of a stage are left as TOML here: only the stage knows what they mean.

use std::collections::HashSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::checked::{Per, ResourceOverride, Retain};
use super::diagnostic::{Diagnostic, Span};
use super::value::{
    Word, boolean, bytes, choice, keep, non_negative, positive, string, table, unknown_key, wrong_type,
};
use super::{rounds, suggest};

/// The keys at the top level.
pub(super) const TOP_KEYS: [&str; 5] = ["name", "seed", "report", "rounds", "stage"];
/// The keys of a stage's table that are not parameters.
pub(super) const RESERVED_KEYS: [&str; 5] = ["kind", "per", "in", "retain", "resources"];
/// The keys in `resources`.
pub(super) const RESOURCE_KEYS: [&str; 3] = ["threads", "memory", "gpu"];

/// A manifest as written.
#[derive(Default)]
pub(super) struct RawManifest<'t> {
    pub(super) name: Option<Word<'t>>,
    pub(super) seed: u64,
    pub(super) report: bool,
    pub(super) has_rounds: bool,
    /// Number of learners in each round.
    pub(super) learners: Vec<Spanned<u32>>,
    /// In the order of the file.
    pub(super) stages: Vec<RawTable<'t>>,
}

/// A stage's name and what is assigned to it.
pub(super) type RawTable<'t> = (Word<'t>, Spanned<DeValue<'t>>);

/// A `[stage.NAME]` table as written.
pub(super) struct RawStage<'t> {
    pub(super) name: Word<'t>,
    pub(super) kind: Option<Word<'t>>,
    pub(super) per: Spanned<Per>,
    /// Whether `per` and `in` could be read. If not, neither the stage's inputs nor its readers can be checked.
    pub(super) has_known_wiring: bool,
    /// The span of `in`, if it is given.
    pub(super) inputs_span: Option<Span>,
    pub(super) inputs: Vec<RawInput<'t>>,
    pub(super) retain: Retain,
    pub(super) resources: ResourceOverride,
    pub(super) params: DeTable<'t>,
}

/// One entry of `in`.
pub(super) struct RawInput<'t> {
    pub(super) port: Word<'t>,
    pub(super) span: Span,
    /// Whether all of `references` are strings.
    pub(super) is_readable: bool,
    pub(super) references: Vec<Word<'t>>,
}

/// Sorts the top-level tables into a [`RawManifest`].
pub(super) fn read<'t>(tables: DeTable<'t>, problems: &mut Vec<Diagnostic>) -> RawManifest<'t> {
    let mut raw = RawManifest::default();
    let mut has_name = false;
    for (key, value) in tables {
        let name = key.get_ref().as_ref();
        let intended = TOP_KEYS.into_iter().find(|known| *known == name).or_else(|| {
            problems.push(unknown_key(&key, "at the top level", &TOP_KEYS));
            // A misspelt key is read as the nearest valid one, because other stages may refer to names inside it.
            suggest::nearest(name, TOP_KEYS)
        });
        match intended {
            Some("name") => {
                has_name = true;
                raw.name = keep(string("name", value), problems);
            }
            Some("seed") => raw.seed = keep(non_negative("seed", &value), problems).unwrap_or_default(),
            Some("report") => raw.report = keep(boolean("report", &value), problems).unwrap_or_default(),
            Some("rounds") => {
                raw.has_rounds = true;
                raw.learners = rounds::read(value, problems);
            }
            Some("stage") => raw.stages.extend(keep(table("stage", value), problems).unwrap_or_default()),
            _ => {}
        }
    }
    if !has_name {
        let hint = "Start with `name = \"…\"`. Runs are stored in a folder of that name.".to_owned();
        problems.push(Diagnostic::general("The manifest has no `name`").hint(hint));
    }
    raw.stages.sort_by_key(|(name, _)| name.span().start);
    raw
}

/// Like [`read`], for the pieces from [`parse_in_pieces`](super::text::parse_in_pieces). Returns `None` if the pieces may
/// mean something else together than each does alone.
pub(super) fn read_pieces<'t>(pieces: Vec<DeTable<'t>>, problems: &mut Vec<Diagnostic>) -> Option<RawManifest<'t>> {
    let mut pieces = pieces.into_iter();
    let mut raw = read(pieces.next()?, problems);
    if !raw.stages.is_empty() {
        return None;
    }
    for mut piece in pieces {
        let DeValue::Table(stages) = piece.remove("stage")?.into_inner() else { return None };
        if !piece.is_empty() {
            return None;
        }
        let before = raw.stages.len();
        raw.stages.extend(stages);
        raw.stages[before..].sort_by_key(|(name, _)| name.span().start);
    }
    // The parser rejects duplicate names within a piece, but not across pieces.
    let mut names = HashSet::with_capacity(raw.stages.len());
    raw.stages.iter().all(|(name, _)| names.insert(name.get_ref().as_ref())).then_some(())?;
    Some(raw)
}

/// Sorts the table of a stage into a [`RawStage`]; `None` if it is not a table.
pub(super) fn stage<'t>((name, value): RawTable<'t>, problems: &mut Vec<Diagnostic>) -> Option<RawStage<'t>> {
    let mut table = match value.into_inner() {
        DeValue::Table(table) => table,
        other => {
            let key = name.get_ref();
            let hint = format!("Write `[stage.{key}]` on a line of its own, with its keys below.");
            let found = Spanned::new(name.span(), other);
            problems.push(wrong_type(&format!("stage.{key}"), "a table", &found).hint(hint));
            return None;
        }
    };
    let kind = table.remove("kind").and_then(|value| keep(string("kind", value), problems));
    let per = table.remove("per").map(|value| keep(choice("per", Per::ALL, value), problems));
    let inputs_entry = table.remove_entry("in");
    let inputs_span = inputs_entry.as_ref().map(|(key, _)| key.span());
    let inputs = inputs_entry.map(|(_, value)| inputs(value, problems));
    let has_known_wiring = !matches!(per, Some(None)) && !matches!(inputs, Some(None));
    let retain = table.remove("retain").and_then(|value| keep(choice("retain", Retain::ALL, value), problems));
    let retain = retain.map(Spanned::into_inner).unwrap_or_default();
    let resources = table.remove("resources").map(|value| resources(value, problems)).unwrap_or_default();
    let per = per.flatten().unwrap_or_else(|| Spanned::new(name.span(), Per::Once));
    let inputs = inputs.flatten().unwrap_or_default();
    Some(RawStage { name, kind, per, has_known_wiring, inputs_span, inputs, retain, resources, params: table })
}

fn inputs<'t>(value: Spanned<DeValue<'t>>, problems: &mut Vec<Diagnostic>) -> Option<Vec<RawInput<'t>>> {
    let hint = || "Assign a reference to each input: `in = { images = \"decode\" }`.".to_owned();
    let ports = keep(table("in", value).map_err(|problem| problem.hint(hint())), problems)?;
    let mut inputs = Vec::with_capacity(ports.len());
    for (port, value) in ports {
        let span = value.span();
        let key = port.get_ref().clone();
        let before = problems.len();
        let references = match value.into_inner() {
            DeValue::Array(array) => {
                array.into_iter().filter_map(|item| keep(string(&format!("in.{key}"), item), problems)).collect()
            }
            DeValue::String(text) => vec![Spanned::new(span.clone(), text)],
            other => {
                let found = Spanned::new(span.clone(), other);
                problems.push(wrong_type(
                    &format!("in.{key}"),
                    "a reference such as `\"decode\"`, or an array of them",
                    &found,
                ));
                Vec::new()
            }
        };
        inputs.push(RawInput { port, span, is_readable: problems.len() == before, references });
    }
    Some(inputs)
}

fn resources(value: Spanned<DeValue<'_>>, problems: &mut Vec<Diagnostic>) -> ResourceOverride {
    let mut resources = ResourceOverride::default();
    for (key, value) in keep(table("resources", value), problems).unwrap_or_default() {
        match key.get_ref().as_ref() {
            "threads" => resources.threads = keep(positive("threads", &value), problems),
            "memory" => resources.memory = keep(bytes("memory", &value), problems),
            "gpu" => resources.gpu = keep(boolean("gpu", &value), problems),
            _ => problems.push(unknown_key(&key, "in `resources`", &RESOURCE_KEYS)),
        }
    }
    resources
}
