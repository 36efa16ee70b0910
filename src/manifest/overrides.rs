//! `--set KEY=VALUE`, which replaces a value of the manifest, and `--vary KEY=A,B,C`, which makes one run per value.
//!
//! The key is a dotted TOML key, such as `stage.train.loss.margin`. The value is TOML as well, but strings need no quotes:
//! `stage.decode.root=/data/sop`. Problems are underlined in the argument.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use dnc_stages::registry;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::describe;
use super::diagnostic::{Diagnostic, Diagnostics, Texts};
use super::suggest;
use super::value::{Word, with_article};

/// A value that replaces a value of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    flag: &'static str,
    argument: String,
    key: Range<usize>,
    value: Range<usize>,
}

/// One of the runs that `--vary` requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variation {
    /// The values that distinguish it: `seed=1 train.loss.margin=0.2`. Empty if nothing varies.
    pub label: String,
    /// The values that it sets.
    pub overrides: Vec<Override>,
}

impl Override {
    /// Parses the argument of `--set`.
    ///
    /// # Errors
    /// The argument is not of the form `KEY=VALUE`.
    pub fn set(argument: &str) -> Result<Self, Diagnostics> {
        let (key, value) = split("--set", argument)?;
        Ok(Self { flag: "--set", argument: argument.to_owned(), key, value })
    }

    /// A value of a sweep's space, whose problems are reported as such.
    ///
    /// # Errors
    /// The key or the value is empty.
    pub fn of_space(key: &str, value: &str) -> Result<Self, Diagnostics> {
        let argument = format!("{key}={value}");
        let (key, value) = split("[space]", &argument)?;
        Ok(Self { flag: "[space]", argument, key, value })
    }

    /// Appends the argument to `texts`.
    pub(super) fn push_text(&self, texts: &mut Texts) {
        texts.push_argument(self.flag, self.argument.clone());
    }

    /// Parses key and value as TOML. `start` is the offset of the argument in all texts.
    fn parse<'t>(&self, text: &'t str, start: usize) -> Result<(Vec<Word<'t>>, Spanned<DeValue<'t>>), Diagnostic> {
        let key = parse_key(&text[self.key.clone()], start + self.key.start)?;
        let value = parse_value(&text[self.value.clone()], start + self.value.start)?;
        Ok((key, value))
    }
}

/// Formats it as an argument of `--set`.
impl fmt::Display for Override {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", &self.argument[self.key.clone()], &self.argument[self.value.clone()])
    }
}

/// The runs that the arguments of `--vary` request: every combination of values, the last argument varying fastest.
/// Without arguments, a single run that changes nothing.
///
/// # Errors
/// An argument is not of the form `KEY=VALUE,…`.
pub fn vary(arguments: &[impl AsRef<str>]) -> Result<Vec<Variation>, Diagnostics> {
    let mut variations = vec![Variation::default()];
    for argument in arguments {
        let argument = argument.as_ref();
        let (key, values) = split("--vary", argument)?;
        let name = argument[key.clone()].trim();
        let name = name.strip_prefix("stage.").unwrap_or(name);
        let values = split_values(argument, values)?;
        variations = variations
            .iter()
            .flat_map(|variation| {
                values.iter().map(|value| {
                    let mut variation = variation.clone();
                    let gap = if variation.label.is_empty() { "" } else { " " };
                    variation.label += &format!("{gap}{name}={}", argument[value.clone()].trim());
                    let (key, value) = (key.clone(), value.clone());
                    variation.overrides.push(Override { flag: "--vary", argument: argument.to_owned(), key, value });
                    variation
                })
            })
            .collect();
    }
    Ok(variations)
}

/// Applies `overrides` to `table`. Their texts are those from the second on.
pub(super) fn apply<'t>(
    table: DeTable<'t>,
    overrides: &[Override],
    texts: &'t Texts,
    problems: &mut Vec<Diagnostic>,
) -> DeTable<'t> {
    let mut root = Spanned::new(0..0, DeValue::Table(table));
    for (index, change) in overrides.iter().enumerate() {
        let (text, start) = texts.get(index + 1);
        let set = change.parse(text, start).and_then(|(key, value)| {
            add_default_kind(&mut root, &key);
            set_value(&mut root, key, value)
        });
        problems.extend(set.err());
    }
    match root.into_inner() {
        DeValue::Table(table) => table,
        _ => unreachable!("only values below the root are replaced"),
    }
}

/// Sets `value` at `path` below `root`. Missing tables are created, except for a stage, whose name must then be misspelt.
fn set_value<'t>(
    root: &mut Spanned<DeValue<'t>>,
    path: Vec<Word<'t>>,
    value: Spanned<DeValue<'t>>,
) -> Result<(), Diagnostic> {
    let in_stage = path.first().is_some_and(|first| first.get_ref() == "stage") && path.len() > 2;
    let mut current = root;
    let mut value = Some(value);
    let last = path.len() - 1;
    for (depth, word) in path.into_iter().enumerate() {
        let (span, parent_span) = (word.span(), current.span());
        match current.get_mut() {
            DeValue::Table(table) => {
                if depth == last {
                    let (key, _) = table.remove_entry(word.get_ref().as_ref()).unwrap_or((word, empty(span)));
                    table.insert(key, value.take().expect("the last word comes once"));
                    return Ok(());
                }
                if in_stage && depth == 1 && !table.contains_key(word.get_ref().as_ref()) {
                    let names = table.keys().map(|name| name.get_ref().as_ref());
                    return Err(Diagnostic::at(span, format!("Unknown stage `{}`", word.get_ref()))
                        .hint(suggest::did_you_mean(word.get_ref(), names)));
                }
                current = table.entry(word).or_insert_with(|| empty(span));
            }
            DeValue::Array(items) => {
                let count = items.len();
                let index = word.get_ref().parse().ok();
                current = index.and_then(|index: usize| items.get_mut(index)).ok_or_else(|| {
                    let title = format!("`{}` is not an index of an array of {count} items", word.get_ref());
                    Diagnostic::at(span, title).hint("Indices start at 0.".to_owned())
                })?;
                if depth == last {
                    *current = value.take().expect("the last word comes once");
                    return Ok(());
                }
            }
            other => {
                let title = format!("Cannot set a key inside {}", with_article(other.type_str()));
                return Err(Diagnostic::at(span, title).also(parent_span, "not a table"));
            }
        }
    }
    Ok(())
}

/// If `path` leads into a parameter that the stage leaves at its default, which is a table with a `kind`, adds that table with
/// its `kind`: `--set stage.train.loss.margin=0.1` is about the default loss.
fn add_default_kind(root: &mut Spanned<DeValue<'_>>, path: &[Word<'_>]) {
    let [first, stage, param, _, ..] = path else { return };
    let DeValue::Table(table) = root.get_mut() else { return };
    let Some(stages) = table.get_mut("stage").filter(|_| first.get_ref() == "stage") else { return };
    let DeValue::Table(stages) = stages.get_mut() else { return };
    let Some(table) = stages.get_mut(stage.get_ref().as_ref()) else { return };
    let DeValue::Table(table) = table.get_mut() else { return };
    if table.contains_key(param.get_ref().as_ref()) {
        return;
    }
    let kind = table.get("kind").and_then(|kind| kind.get_ref().as_str()).unwrap_or(stage.get_ref());
    let Some(kind) = registry::find(kind) else { return };
    let default = &describe::schema_of(kind)["properties"][param.get_ref().as_ref()]["default"]["kind"];
    if let Some(default) = default.as_str() {
        let mut table_of_param = DeTable::new();
        let word = |text: &str| Spanned::new(param.span(), Cow::Owned(text.to_owned()));
        table_of_param
            .insert(word("kind"), Spanned::new(param.span(), DeValue::String(Cow::Owned(default.to_owned()))));
        table.insert(word(param.get_ref()), Spanned::new(param.span(), DeValue::Table(table_of_param)));
    }
}

/// An empty table that stands where `span` names it.
fn empty<'t>(span: Range<usize>) -> Spanned<DeValue<'t>> {
    Spanned::new(span, DeValue::Table(DeTable::new()))
}

/// Splits `argument` at the first `=` outside quotes.
fn split(flag: &'static str, argument: &str) -> Result<(Range<usize>, Range<usize>), Diagnostics> {
    let equals = top_level(argument, b'=').next();
    match equals {
        Some(equals) if !argument[..equals].trim().is_empty() && !argument[equals + 1..].trim().is_empty() => {
            Ok((0..equals, equals + 1..argument.len()))
        }
        _ => {
            let (form, example) = match flag {
                "--vary" => ("KEY=VALUE,VALUE,…", "seed=0,1,2"),
                _ => ("KEY=VALUE", "stage.train.epochs=3"),
            };
            let problem = Diagnostic::at(0..argument.len(), format!("`{flag}` expects `{form}`"));
            Err(invalid(flag, argument, problem.hint(format!("For example, `{flag} {example}`."))))
        }
    }
}

/// Splits the `values` in `argument` at the commas outside quotes and brackets.
fn split_values(argument: &str, values: Range<usize>) -> Result<Vec<Range<usize>>, Diagnostics> {
    let text = &argument[values.clone()];
    let mut ranges = Vec::new();
    let mut start = 0;
    for end in top_level(text, b',').chain([text.len()]) {
        let range = values.start + start..values.start + end;
        if argument[range.clone()].trim().is_empty() {
            let problem = Diagnostic::at(range, "Empty value");
            return Err(invalid("--vary", argument, problem.hint("Write one value between two commas.".to_owned())));
        }
        let value = argument[range.clone()].trim();
        if ranges.iter().any(|earlier: &Range<usize>| argument[earlier.clone()].trim() == value) {
            let problem = Diagnostic::at(range, format!("The value `{value}` is listed twice"));
            return Err(invalid("--vary", argument, problem.hint("Remove one: each value makes one run.".to_owned())));
        }
        ranges.push(range);
        start = end + 1;
    }
    Ok(ranges)
}

/// The offsets of `wanted` in `text` outside quotes and brackets.
fn top_level(text: &str, wanted: u8) -> impl Iterator<Item = usize> {
    let (mut depth, mut quote, mut is_escaped) = (0_usize, None, false);
    text.bytes().enumerate().filter_map(move |(index, byte)| {
        match (quote, byte) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(b'"'), b'\\') => is_escaped = true,
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'[' | b'{') => depth += 1,
            (None, b']' | b'}') => depth = depth.saturating_sub(1),
            (None, _) if byte == wanted && depth == 0 => return Some(index),
            (None, _) => {}
        }
        None
    })
}

/// Parses the dotted key `text`, which starts at offset `start`.
fn parse_key(text: &str, start: usize) -> Result<Vec<Word<'_>>, Diagnostic> {
    // With a value behind it the key is a document, so that TOML's own rules for keys apply.
    let document = format!("{text} = 0");
    let invalid = || {
        Diagnostic::at(start..start + text.len(), format!("Invalid key `{}`", text.trim()))
            .hint("Separate its parts with single dots, as in `stage.train.epochs`.".to_owned())
    };
    let table = DeTable::parse(&document).map_err(|_| invalid())?;
    let mut value = DeValue::Table(table.into_inner());
    let mut words = Vec::new();
    while let DeValue::Table(table) = value {
        let (word, below) = table.into_iter().next().ok_or_else(invalid)?;
        let span = start + word.span().start..start + word.span().end;
        words.push(Spanned::new(span, Cow::Owned(word.into_inner().into_owned())));
        value = below.into_inner();
    }
    Ok(words)
}

/// Parses the value `text`, which starts at offset `start`.
fn parse_value(text: &str, start: usize) -> Result<Spanned<DeValue<'_>>, Diagnostic> {
    let start = start + (text.len() - text.trim_start().len());
    let text = text.trim();
    let is_bare = !text.starts_with(['"', '\'', '[', '{']) && !text.contains('\n');
    match DeValue::parse(text) {
        Ok(value) if !(is_bare && value.get_ref().is_datetime()) => Ok(shift(value, start)),
        Err(error) if !is_bare => {
            let span = error.span().unwrap_or(0..text.len());
            Err(Diagnostic::at(start + span.start..start + span.end, "Invalid TOML value").label(error.message()))
        }
        _ => Ok(Spanned::new(start..start + text.len(), DeValue::String(Cow::Borrowed(text)))),
    }
}

/// The same value, with its spans moved by `by` bytes.
fn shift<'t>(value: Spanned<DeValue<'t>>, by: usize) -> Spanned<DeValue<'t>> {
    let span = value.span().start + by..value.span().end + by;
    let value = match value.into_inner() {
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(|item| shift(item, by)).collect::<DeArray<'_>>()),
        DeValue::Table(table) => {
            let entries = table.into_iter().map(|(key, value)| {
                let span = key.span().start + by..key.span().end + by;
                (Spanned::new(span, key.into_inner()), shift(value, by))
            });
            DeValue::Table(entries.collect())
        }
        other => other,
    };
    Spanned::new(span, value)
}

fn invalid(flag: &str, argument: &str, problem: Diagnostic) -> Diagnostics {
    let mut texts = Texts::default();
    texts.push_argument(flag, argument.to_owned());
    Diagnostics::new(texts, vec![problem])
}
