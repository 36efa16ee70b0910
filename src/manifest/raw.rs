//! The tables as written: keys known, values of the right type, each with its place in the text.
//!
//! What a stage's parameters mean is the stage's affair; here they are what is left of its table.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Serialize;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::diagnostic::{Diagnostic, Span};
use super::{Per, Retain};
use super::{rounds, suggest};

/// A string or whatever else, with its place.
pub(super) type Word<'t> = Spanned<Cow<'t, str>>;

/// The keys at the top.
pub(super) const TOP_KEYS: [&str; 4] = ["name", "seed", "rounds", "stage"];
/// The keys of a stage's table that are not its parameters.
pub(super) const RESERVED_KEYS: [&str; 5] = ["kind", "per", "in", "retain", "resources"];
/// The keys under `resources`.
pub(super) const RESOURCE_KEYS: [&str; 3] = ["threads", "memory", "gpu"];

/// A manifest as written.
#[derive(Default)]
pub(super) struct RawManifest<'t> {
    pub(super) name: Option<Word<'t>>,
    pub(super) seed: u64,
    pub(super) has_rounds: bool,
    /// How many learners each round has.
    pub(super) learners: Vec<Spanned<u32>>,
    /// In the order of the file.
    pub(super) stages: Vec<RawTable<'t>>,
}

/// What stands under a stage's name.
pub(super) type RawTable<'t> = (Word<'t>, Spanned<DeValue<'t>>);

/// A `[stage.NAME]` table as written.
pub(super) struct RawStage<'t> {
    pub(super) name: Word<'t>,
    pub(super) kind: Option<Word<'t>>,
    pub(super) per: Spanned<Per>,
    /// Whether `per` and `in` could be read: else it is not known what the stage reads and who may read it.
    pub(super) has_known_wiring: bool,
    /// Where `in` stands, if it does.
    pub(super) inputs_span: Option<Span>,
    pub(super) inputs: Vec<RawInput<'t>>,
    pub(super) retain: Retain,
    pub(super) resources: ResourceOverride,
    pub(super) params: DeTable<'t>,
}

/// A line under `in`.
pub(super) struct RawInput<'t> {
    pub(super) port: Word<'t>,
    pub(super) span: Span,
    /// Whether all of `references` are strings.
    pub(super) is_readable: bool,
    pub(super) references: Vec<Word<'t>>,
}

/// What a manifest says about resources in place of the stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ResourceOverride {
    /// At most this many threads.
    pub threads: Option<u32>,
    /// Bytes of memory that the node may need.
    pub memory: Option<u64>,
    /// Whether it wants the run's device to itself.
    pub gpu: Option<bool>,
}

/// Sorts `tables` into what the manifest knows.
pub(super) fn read<'t>(tables: DeTable<'t>, problems: &mut Vec<Diagnostic>) -> RawManifest<'t> {
    let mut raw = RawManifest::default();
    let mut has_name = false;
    for (key, value) in tables {
        let name = key.get_ref().as_ref();
        let meant = TOP_KEYS.into_iter().find(|known| *known == name).or_else(|| {
            problems.push(unknown_key(&key, "at the top of a manifest", &TOP_KEYS));
            // What stands under a misspelt key is read as if it were spelt right: its names are used elsewhere.
            suggest::nearest(name, TOP_KEYS)
        });
        match meant {
            Some("name") => {
                has_name = true;
                raw.name = keep(string("name", value), problems);
            }
            Some("seed") => raw.seed = keep(whole("seed", &value), problems).unwrap_or_default(),
            Some("rounds") => {
                raw.has_rounds = true;
                raw.learners = rounds::read(value, problems);
            }
            Some("stage") => raw.stages.extend(keep(table("stage", value), problems).unwrap_or_default()),
            _ => {}
        }
    }
    if !has_name {
        let hint = "Begin with `name = \"…\"`: its runs lie in the folder of this name.".to_owned();
        problems.push(Diagnostic::whole("The manifest has no `name`").hint(hint));
    }
    raw.stages.sort_by_key(|(name, _)| name.span().start);
    raw
}

/// As [`read`], of the pieces that [`parse_in_pieces`](super::text::parse_in_pieces) cut; `None` where together they may
/// mean something else than one by one.
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
    // Within a piece the parser has seen to it.
    let mut names = HashSet::with_capacity(raw.stages.len());
    raw.stages.iter().all(|(name, _)| names.insert(name.get_ref().as_ref())).then_some(())?;
    Some(raw)
}

/// Sorts what stands under a stage's name; `None` where it is no table.
pub(super) fn stage<'t>((name, value): RawTable<'t>, problems: &mut Vec<Diagnostic>) -> Option<RawStage<'t>> {
    let mut table = match value.into_inner() {
        DeValue::Table(table) => table,
        other => {
            let key = name.get_ref();
            let hint = format!("Write `[stage.{key}]` on a line of its own and the keys below it.");
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

/// One of a few words.
fn choice<T, const N: usize>(
    key: &str,
    all: [(T, &'static str); N],
    value: Spanned<DeValue<'_>>,
) -> Result<Spanned<T>, Diagnostic> {
    let word = string(key, value)?;
    let names = all.each_ref().map(|(_, name)| *name);
    match all.into_iter().find(|(_, name)| name == word.get_ref()) {
        Some((chosen, _)) => Ok(Spanned::new(word.span(), chosen)),
        None => Err(Diagnostic::at(word.span(), format!("`{key}` cannot be `{}`", word.get_ref()))
            .label(format!("expected {}", suggest::one_of(names)))
            .hint(suggest::did_you_mean(word.get_ref(), names))),
    }
}

fn inputs<'t>(value: Spanned<DeValue<'t>>, problems: &mut Vec<Diagnostic>) -> Option<Vec<RawInput<'t>>> {
    let hint = || "Name each port and what is fed to it: `in = { images = \"decode\" }`.".to_owned();
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
            "threads" => resources.threads = keep(at_least_one("threads", &value), problems),
            "memory" => resources.memory = keep(memory(&value), problems),
            "gpu" => resources.gpu = keep(boolean("gpu", &value), problems),
            _ => problems.push(unknown_key(&key, "under `resources`", &RESOURCE_KEYS)),
        }
    }
    resources
}

fn memory(value: &Spanned<DeValue<'_>>) -> Result<u64, Diagnostic> {
    let bytes = match value.get_ref() {
        DeValue::Integer(integer) => number(integer),
        DeValue::String(text) => parse_bytes(text),
        _ => return Err(wrong_type("memory", "a size such as `\"2GB\"`", value)),
    };
    bytes.ok_or_else(|| {
        Diagnostic::at(value.span(), "`memory` is not a size")
            .label("expected a number and a unit")
            .hint("Write bytes, or a unit of kB, MB, GB, TB, KiB, MiB, GiB or TiB: `\"2GB\"`.".to_owned())
    })
}

/// The bytes that a size such as `2GB`, `512 MiB` or `1.5 TB` means; powers of 1000 unless the unit has an `i`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|symbol: char| !symbol.is_ascii_digit() && symbol != '.').unwrap_or(text.len());
    let (count, unit) = (text[..digits].parse::<f64>().ok()?, text[digits..].trim_start().to_ascii_lowercase());
    let unit = match unit.as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = count * unit;
    // A float of this size and below is cast to u64 without loss of range.
    (bytes < 9e18).then_some(bytes.round() as u64)
}

/// The value, or `None` with the problem noted.
pub(super) fn keep<T>(read: Result<T, Diagnostic>, problems: &mut Vec<Diagnostic>) -> Option<T> {
    read.map_err(|problem| problems.push(problem)).ok()
}

pub(super) fn string<'t>(key: &str, value: Spanned<DeValue<'t>>) -> Result<Word<'t>, Diagnostic> {
    let span = value.span();
    match value.into_inner() {
        DeValue::String(text) => Ok(Spanned::new(span, text)),
        other => Err(wrong_type(key, "a string", &Spanned::new(span, other))),
    }
}

pub(super) fn table<'t>(key: &str, value: Spanned<DeValue<'t>>) -> Result<DeTable<'t>, Diagnostic> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Table(table) => Ok(table),
        other => Err(wrong_type(key, "a table", &Spanned::new(span, other))),
    }
}

pub(super) fn boolean(key: &str, value: &Spanned<DeValue<'_>>) -> Result<bool, Diagnostic> {
    value.get_ref().as_bool().ok_or_else(|| wrong_type(key, "`true` or `false`", value))
}

/// A whole number that is not negative.
pub(super) fn whole(key: &str, value: &Spanned<DeValue<'_>>) -> Result<u64, Diagnostic> {
    let integer = value.get_ref().as_integer().and_then(number);
    integer.ok_or_else(|| wrong_type(key, "a whole number, 0 or more", value))
}

/// A whole number from 1 on.
pub(super) fn at_least_one(key: &str, value: &Spanned<DeValue<'_>>) -> Result<u32, Diagnostic> {
    let integer = value.get_ref().as_integer().and_then(number).and_then(|number| u32::try_from(number).ok());
    integer.filter(|&number| number > 0).ok_or_else(|| wrong_type(key, "a whole number, 1 or more", value))
}

fn number(integer: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

pub(super) fn wrong_type(key: &str, expected: &str, found: &Spanned<DeValue<'_>>) -> Diagnostic {
    let label = match found.get_ref() {
        DeValue::Integer(integer) => format!("found `{integer}`"),
        DeValue::Float(float) => format!("found `{float}`"),
        other => format!("found {}", with_article(other.type_str())),
    };
    Diagnostic::at(found.span(), format!("`{key}` must be {expected}")).label(label)
}

pub(super) fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

pub(super) fn unknown_key(key: &Word<'_>, place: &str, known: &[&str]) -> Diagnostic {
    let name = key.get_ref();
    let all = format!("The keys {place} are {}.", suggest::all_of(known.iter().copied()));
    Diagnostic::at(key.span(), format!("Unknown key `{name}` {place}"))
        .hint(suggest::did_you_mean(name, known.iter().copied()).unwrap_or(all))
}
