//! Reads the manifest's text from its file and parses it as TOML.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rayon::prelude::*;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::diagnostic::{Diagnostic, Diagnostics, Span, Texts};
use super::suggest;

/// Reads the manifest at `path`.
///
/// # Errors
/// The file cannot be read or is not valid UTF-8.
pub(super) fn read(path: &Path) -> Result<String, Diagnostics> {
    let bytes = fs::read(path).map_err(|error| Diagnostics::new(Texts::default(), vec![unreadable(path, &error)]))?;
    String::from_utf8(bytes).map_err(|error| {
        let start = error.utf8_error().valid_up_to();
        let mut texts = Texts::default();
        texts.push_file(path.display().to_string(), String::from_utf8_lossy(error.as_bytes()).into_owned());
        let end = start + char::REPLACEMENT_CHARACTER.len_utf8();
        let problem = Diagnostic::at(start..end, "The manifest is not valid UTF-8")
            .label("invalid byte")
            .hint("Save the file as UTF-8.".to_owned());
        Diagnostics::new(texts, vec![problem])
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    let shown = path.display();
    if path.is_dir() {
        let manifests = names_in(path);
        let manifest = manifests.iter().find(|name| name.ends_with(".toml"));
        return Diagnostic::general(format!("`{shown}` is a folder, not a manifest")).hint(match manifest {
            Some(name) => format!("Did you mean `{}`?", path.join(name).display()),
            None => format!("`dnc-run init {shown}` writes a manifest for a folder of images."),
        });
    }
    let problem = Diagnostic::general(format!("Cannot read the manifest `{shown}`: {error}"));
    if error.kind() != ErrorKind::NotFound {
        return problem;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = names_in(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")));
    let near = suggest::nearest(&name, beside.iter().map(String::as_str));
    problem.hint(near.map(|near| format!("Did you mean `{}`?", path.with_file_name(near).display())))
}

/// The names of the entries of `folder`, sorted; none if it cannot be read.
pub(super) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Parses the tables of `text`; `None` if it is not valid TOML. A duplicate key is reported, and its second value ignored.
pub(super) fn parse<'t>(text: &'t str, problems: &mut Vec<Diagnostic>) -> Option<DeTable<'t>> {
    if text.trim().is_empty() {
        let hint = "Start with `name = \"…\"` and a first stage such as `[stage.decode]`.".to_owned();
        problems.push(Diagnostic::general("The manifest is empty").hint(hint));
        return None;
    }
    tables(text, problems)
}

/// [`parse`] for any TOML file.
pub(crate) fn tables<'t>(text: &'t str, problems: &mut Vec<Diagnostic>) -> Option<DeTable<'t>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let table = table.into_inner();
    let (duplicates, syntax_errors): (Vec<_>, Vec<_>) =
        errors.iter().partition(|error| error.message() == "duplicate key");
    // After a syntax error the parser guesses how to go on, and its later errors may be about its guesses.
    if let Some(error) = syntax_errors.first() {
        problems.push(syntax_error(text, error));
        return None;
    }
    let spans = || duplicates.iter().filter_map(|error| error.span());
    let stages: Vec<_> = spans().filter_map(|span| duplicate_stage(text, &span)).collect();
    // The parser merges the keys of two tables of the same name, so their contents cannot be checked.
    if !stages.is_empty() {
        problems.extend(stages);
        return None;
    }
    problems.extend(spans().map(|span| duplicate_key(text, &table, &span)));
    Some(table)
}

/// A long text is split into pieces of about this many bytes, each a few milliseconds of work.
const PIECE_BYTES: usize = 64 * 1024;

/// Parses the tables of a long text on all threads: the head before the first stage, then the stages in pieces.
///
/// Spans count from the start of each piece, so they only give the order. The result is therefore usable only for a text
/// without problems. Returns `None` if a piece is not valid TOML on its own, or if the text is short or not ASCII.
pub(super) fn parse_in_pieces(text: &str) -> Option<Vec<DeTable<'_>>> {
    const STAGE: &str = "\n[stage.";
    if text.len() < 2 * PIECE_BYTES || !text.is_ascii() {
        return None;
    }
    let (head, mut rest) = text.split_at(text.find(STAGE)? + 1);
    let mut pieces = vec![head];
    while let Some(next) = rest.get(PIECE_BYTES..).and_then(|far| far.find(STAGE)) {
        let (piece, others) = rest.split_at(PIECE_BYTES + next + 1);
        pieces.push(piece);
        rest = others;
    }
    pieces.push(rest);
    pieces.into_par_iter().map(|piece| DeTable::parse(piece).ok().map(Spanned::into_inner)).collect()
}

fn syntax_error(text: &str, error: &Error) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let line_start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let is_value = text[line_start..span.start].trim_end().ends_with(['=', '[', ',']);
    let rest = &text[span.start..];
    let word = rest[..rest.find(['\n', '#', ',', ']', '}']).unwrap_or(rest.len())].trim();
    if is_value && word.is_empty() {
        return Diagnostic::at(span, "Missing value").label("expected a value");
    }
    if is_value && word.starts_with(|symbol: char| symbol.is_alphabetic() || matches!(symbol, '/' | '.' | '~')) {
        let span = span.start..span.start + word.len();
        return Diagnostic::at(span, format!("Invalid value `{word}`"))
            .hint(format!("Write strings in quotes: `\"{word}\"`."));
    }
    let mut message = error.message().to_owned();
    if let Some(first) = message.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Diagnostic::at(span, message)
}

/// The problem, if the duplicate key at `span` is the name in a second `[stage.NAME]`.
fn duplicate_stage(text: &str, span: &Span) -> Option<Diagnostic> {
    let line_start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let header = &text[line_start..span.end];
    let name = header.trim_start().strip_prefix("[stage.")?;
    let problem = Diagnostic::at(span.clone(), format!("Duplicate stage `{name}`"))
        .hint(format!("Rename one of them and keep its kind: `kind = \"{name}\"`."));
    let first = text[..line_start].find(&format!("{header}]")).map(|start| start + header.len());
    Some(match first {
        Some(end) => problem.also(end - span.len()..end, "first defined here"),
        None => problem,
    })
}

fn duplicate_key(text: &str, table: &DeTable<'_>, span: &Span) -> Diagnostic {
    let name = text[span.clone()].trim_matches(['"', '\'']);
    let problem =
        Diagnostic::at(span.clone(), format!("Duplicate key `{name}`")).hint("Remove one of the two.".to_owned());
    match first_of(table, name, span) {
        Some(first) => problem.also(first, "first set here"),
        None => problem,
    }
}

/// The last key called `name` before `span`, which for a duplicate key is the first of the two.
fn first_of(table: &DeTable<'_>, name: &str, span: &Span) -> Option<Span> {
    let entries = table.iter().flat_map(|(key, value)| {
        let own = (key.get_ref() == name && key.span().end <= span.start).then(|| key.span());
        let deeper = match value.get_ref() {
            DeValue::Table(table) => first_of(table, name, span),
            _ => None,
        };
        own.into_iter().chain(deeper)
    });
    entries.max_by_key(|found| found.start)
}
