//! The manifest's text: read from its file, parsed as TOML.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rayon::prelude::*;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::diagnostic::{Diagnostic, Diagnostics, Span, Texts};
use super::suggest;

/// The text of the manifest at `path`.
///
/// # Errors
/// It cannot be read, or is not UTF-8.
pub(super) fn read(path: &Path) -> Result<String, Diagnostics> {
    let bytes = fs::read(path).map_err(|error| Diagnostics::new(Texts::default(), vec![unreadable(path, &error)]))?;
    String::from_utf8(bytes).map_err(|error| {
        let start = error.utf8_error().valid_up_to();
        let mut texts = Texts::default();
        texts.push_file(path.display().to_string(), String::from_utf8_lossy(error.as_bytes()).into_owned());
        let end = start + char::REPLACEMENT_CHARACTER.len_utf8();
        let problem = Diagnostic::at(start..end, "The manifest is not UTF-8").label("not a character");
        Diagnostics::new(texts, vec![problem])
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    let shown = path.display();
    if path.is_dir() {
        let manifests = names_in(path);
        let manifest = manifests.iter().find(|name| name.ends_with(".toml"));
        return Diagnostic::whole(format!("`{shown}` is a folder, not a manifest"))
            .hint(manifest.map(|name| format!("Did you mean `{}`?", path.join(name).display())));
    }
    let problem = Diagnostic::whole(format!("Cannot read the manifest `{shown}`: {error}"));
    if error.kind() != ErrorKind::NotFound {
        return problem;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = names_in(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")));
    let near = suggest::nearest(&name, beside.iter().map(String::as_str));
    problem.hint(near.map(|near| format!("Did you mean `{}`?", path.with_file_name(near).display())))
}

/// The names of what lies in `folder`, sorted; none where it cannot be read.
pub(super) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The tables of `text`; `None` where it is no TOML. A key written twice is told, and the tables without it go on.
pub(super) fn parse<'t>(text: &'t str, problems: &mut Vec<Diagnostic>) -> Option<DeTable<'t>> {
    if text.trim().is_empty() {
        let hint = "Begin with `name = \"…\"` and a first `[stage.decode]`.".to_owned();
        problems.push(Diagnostic::whole("The manifest is empty").hint(hint));
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let table = table.into_inner();
    let (twice, broken): (Vec<_>, Vec<_>) = errors.iter().partition(|error| error.message() == "duplicate key");
    // After a slip in the syntax the parser guesses, and the rest of its complaints may be about its guesses.
    if let Some(error) = broken.first() {
        problems.push(broken_syntax(text, error));
        return None;
    }
    let spans = || twice.iter().filter_map(|error| error.span());
    let stages: Vec<_> = spans().filter_map(|span| stage_written_twice(text, &span)).collect();
    // The parser mixes the keys of two tables of one name, so what they hold says nothing.
    if !stages.is_empty() {
        problems.extend(stages);
        return None;
    }
    problems.extend(spans().map(|span| key_written_twice(text, &table, &span)));
    Some(table)
}

/// A long text in pieces of about this many bytes, each some milliseconds of work.
const PIECE: usize = 64 * 1024;

/// The tables of a long text, parsed by all threads: first what stands above the stages, then the stages in pieces.
///
/// Places count from the beginning of each piece and are good for nothing but order. So this is for texts of which there is
/// nothing to tell: `None` where a piece is no TOML by itself, and where the text is short or its places might mislead.
pub(super) fn parse_in_pieces(text: &str) -> Option<Vec<DeTable<'_>>> {
    const STAGE: &str = "\n[stage.";
    if text.len() < 2 * PIECE || !text.is_ascii() {
        return None;
    }
    let (head, mut rest) = text.split_at(text.find(STAGE)? + 1);
    let mut pieces = vec![head];
    while let Some(next) = rest.get(PIECE..).and_then(|far| far.find(STAGE)) {
        let (piece, others) = rest.split_at(PIECE + next + 1);
        pieces.push(piece);
        rest = others;
    }
    pieces.push(rest);
    pieces.into_par_iter().map(|piece| DeTable::parse(piece).ok().map(Spanned::into_inner)).collect()
}

fn broken_syntax(text: &str, error: &Error) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let line_start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let is_value = text[line_start..span.start].trim_end().ends_with(['=', '[', ',']);
    let rest = &text[span.start..];
    let word = rest[..rest.find(['\n', '#', ',', ']', '}']).unwrap_or(rest.len())].trim();
    if is_value && word.is_empty() {
        return Diagnostic::at(span, "A value is missing");
    }
    if is_value && word.starts_with(|symbol: char| symbol.is_alphabetic() || matches!(symbol, '/' | '.' | '~')) {
        let span = span.start..span.start + word.len();
        return Diagnostic::at(span, format!("`{word}` is no value"))
            .hint(format!("Text is written in quotes: `\"{word}\"`."));
    }
    let mut message = error.message().to_owned();
    if let Some(first) = message.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Diagnostic::at(span, message)
}

/// The problem where `span` is the name in a second `[stage.NAME]`.
fn stage_written_twice(text: &str, span: &Span) -> Option<Diagnostic> {
    let line_start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let header = &text[line_start..span.end];
    let name = header.trim_start().strip_prefix("[stage.")?;
    let problem = Diagnostic::at(span.clone(), format!("Two stages are called `{name}`"))
        .hint(format!("Give one another name and say what it is: `kind = \"{name}\"`."));
    let first = text[..line_start].find(&format!("{header}]")).map(|start| start + header.len());
    Some(match first {
        Some(end) => problem.also(end - span.len()..end, "the first"),
        None => problem,
    })
}

fn key_written_twice(text: &str, table: &DeTable<'_>, span: &Span) -> Diagnostic {
    let name = text[span.clone()].trim_matches(['"', '\'']);
    let problem = Diagnostic::at(span.clone(), format!("`{name}` is written twice"));
    match first_called(table, name, span) {
        Some(first) => problem.also(first, "the first"),
        None => problem,
    }
}

/// The last key called `name` before `span`: where a key is written twice that is the first of the two.
fn first_called(table: &DeTable<'_>, name: &str, span: &Span) -> Option<Span> {
    let entries = table.iter().flat_map(|(key, value)| {
        let own = (key.get_ref() == name && key.span().end <= span.start).then(|| key.span());
        let deeper = match value.get_ref() {
            DeValue::Table(table) => first_called(table, name, span),
            _ => None,
        };
        own.into_iter().chain(deeper)
    });
    entries.max_by_key(|found| found.start)
}
