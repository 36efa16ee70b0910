//! `--set KEY=VALUE`, which lays a value over the manifest, and `--vary KEY=A,B,C`, which makes one run a value.
//!
//! The key is dotted as in TOML, `stage.train.loss.margin`. The value is TOML too, but a bare word is a string:
//! `stage.decode.root=/data/sop` needs no quotes. What is wrong with one of them is underlined in the argument.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::diagnostic::{Diagnostic, Diagnostics, Texts};
use super::raw::Word;
use super::suggest;

/// A value to lay over the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    flag: &'static str,
    argument: String,
    key: Range<usize>,
    value: Range<usize>,
}

/// One run of several that `--vary` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variation {
    /// What it is told apart by: `seed=1 train.loss.margin=0.2`. Empty where nothing varies.
    pub label: String,
    /// What to lay over the manifest.
    pub overrides: Vec<Override>,
}

impl Override {
    /// Reads the argument of `--set`.
    ///
    /// # Errors
    /// It is not `KEY=VALUE`.
    pub fn set(argument: &str) -> Result<Self, Diagnostics> {
        let (key, value) = split("--set", argument)?;
        Ok(Self { flag: "--set", argument: argument.to_owned(), key, value })
    }

    /// Lays the argument at the end of `texts`.
    pub(super) fn lay(&self, texts: &mut Texts) {
        texts.push_argument(self.flag, self.argument.clone());
    }

    /// Its key and value as TOML; the argument starts at `start` of all the texts.
    fn read<'t>(&self, text: &'t str, start: usize) -> Result<(Vec<Word<'t>>, Spanned<DeValue<'t>>), Diagnostic> {
        let key = path(&text[self.key.clone()], start + self.key.start)?;
        let value = value(&text[self.value.clone()], start + self.value.start)?;
        Ok((key, value))
    }
}

/// As `--set` takes it.
impl fmt::Display for Override {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", &self.argument[self.key.clone()], &self.argument[self.value.clone()])
    }
}

/// The runs that the arguments of `--vary` ask for: every combination, the last argument varying fastest. One run that
/// changes nothing where there are no arguments.
///
/// # Errors
/// An argument is not `KEY=VALUE,…`.
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

/// Lays `overrides`, which are the texts from the second on, over `table`.
pub(super) fn apply<'t>(
    table: DeTable<'t>,
    overrides: &[Override],
    texts: &'t Texts,
    problems: &mut Vec<Diagnostic>,
) -> DeTable<'t> {
    let mut root = Spanned::new(0..0, DeValue::Table(table));
    for (index, change) in overrides.iter().enumerate() {
        let (text, start) = texts.get(index + 1);
        let laid = change.read(text, start).and_then(|(key, value)| lay_over(&mut root, key, value));
        problems.extend(laid.err());
    }
    match root.into_inner() {
        DeValue::Table(table) => table,
        _ => unreachable!("the root is only ever descended into"),
    }
}

/// Puts `value` at `path` below `root`, with tables made on the way, but no stage: its name was misspelt.
fn lay_over<'t>(
    root: &mut Spanned<DeValue<'t>>,
    path: Vec<Word<'t>>,
    value: Spanned<DeValue<'t>>,
) -> Result<(), Diagnostic> {
    let in_stage = path.first().is_some_and(|first| first.get_ref() == "stage") && path.len() > 2;
    let mut here = root;
    let mut value = Some(value);
    let last = path.len() - 1;
    for (depth, word) in path.into_iter().enumerate() {
        let (span, place) = (word.span(), here.span());
        match here.get_mut() {
            DeValue::Table(table) => {
                if depth == last {
                    let (key, _) = table.remove_entry(word.get_ref().as_ref()).unwrap_or((word, empty()));
                    table.insert(key, value.take().expect("the last word comes once"));
                    return Ok(());
                }
                if in_stage && depth == 1 && !table.contains_key(word.get_ref().as_ref()) {
                    let names = table.keys().map(|name| name.get_ref().as_ref());
                    return Err(Diagnostic::at(span, format!("There is no stage `{}`", word.get_ref()))
                        .hint(suggest::did_you_mean(word.get_ref(), names)));
                }
                here = table.entry(word).or_insert_with(empty);
            }
            DeValue::Array(items) => {
                let count = items.len();
                let index = word.get_ref().parse().ok();
                here = index.and_then(|index: usize| items.get_mut(index)).ok_or_else(|| {
                    Diagnostic::at(span, format!("`{}` is none of the array's {count} items", word.get_ref()))
                        .hint("Items are counted from 0.".to_owned())
                })?;
                if depth == last {
                    *here = value.take().expect("the last word comes once");
                    return Ok(());
                }
            }
            other => {
                let title = format!("There is nothing below {}", super::raw::with_article(other.type_str()));
                return Err(Diagnostic::at(span, title).also(place, "this stands there"));
            }
        }
    }
    Ok(())
}

fn empty<'t>() -> Spanned<DeValue<'t>> {
    Spanned::new(0..0, DeValue::Table(DeTable::new()))
}

/// Cuts `argument` at the first `=` outside quotes.
fn split(flag: &'static str, argument: &str) -> Result<(Range<usize>, Range<usize>), Diagnostics> {
    let equals = top_level(argument, b'=').next();
    match equals {
        Some(equals) if !argument[..equals].trim().is_empty() && !argument[equals + 1..].trim().is_empty() => {
            Ok((0..equals, equals + 1..argument.len()))
        }
        _ => Err(wrong(flag, argument, 0..argument.len(), &format!("`{flag}` takes a key and a value, `KEY=VALUE`"))),
    }
}

/// Cuts the `values` in `argument` at the commas that are in no quotes or brackets.
fn split_values(argument: &str, values: Range<usize>) -> Result<Vec<Range<usize>>, Diagnostics> {
    let text = &argument[values.clone()];
    let mut ranges = Vec::new();
    let mut start = 0;
    for end in top_level(text, b',').chain([text.len()]) {
        let range = values.start + start..values.start + end;
        if argument[range.clone()].trim().is_empty() {
            return Err(wrong("--vary", argument, range, "A value is empty"));
        }
        ranges.push(range);
        start = end + 1;
    }
    Ok(ranges)
}

/// Where `wanted` stands in `text` outside quotes and brackets.
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

/// The dotted key `text`, which starts at `start`.
fn path(text: &str, start: usize) -> Result<Vec<Word<'_>>, Diagnostic> {
    // A key followed by a value is a document, so TOML's own rules on keys hold.
    let document = format!("{text} = 0");
    let wrong = || Diagnostic::at(start..start + text.len(), format!("`{}` is no key", text.trim()));
    let table = DeTable::parse(&document).map_err(|_| wrong())?;
    let mut value = DeValue::Table(table.into_inner());
    let mut words = Vec::new();
    while let DeValue::Table(table) = value {
        let (word, below) = table.into_iter().next().ok_or_else(wrong)?;
        let span = start + word.span().start..start + word.span().end;
        words.push(Spanned::new(span, Cow::Owned(word.into_inner().into_owned())));
        value = below.into_inner();
    }
    Ok(words)
}

/// The value `text`, which starts at `start`.
fn value(text: &str, start: usize) -> Result<Spanned<DeValue<'_>>, Diagnostic> {
    let start = start + (text.len() - text.trim_start().len());
    let text = text.trim();
    let is_bare = !text.starts_with(['"', '\'', '[', '{']) && !text.contains('\n');
    match DeValue::parse(text) {
        Ok(value) if !(is_bare && value.get_ref().is_datetime()) => Ok(shift(value, start)),
        Err(error) if !is_bare => {
            let span = error.span().unwrap_or(0..text.len());
            Err(Diagnostic::at(start + span.start..start + span.end, "The value is no TOML").label(error.message()))
        }
        _ => Ok(Spanned::new(start..start + text.len(), DeValue::String(Cow::Borrowed(text)))),
    }
}

/// The same value, its places counted from the start of all the texts.
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

fn wrong(flag: &str, argument: &str, range: Range<usize>, title: &str) -> Diagnostics {
    let mut texts = Texts::default();
    texts.push_argument(flag, argument.to_owned());
    Diagnostics::new(texts, vec![Diagnostic::at(range, title)])
}
