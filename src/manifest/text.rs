//! The manifest's text: read from its file, parsed as TOML.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

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
        return Diagnostic::nowhere(format!("`{shown}` is a folder, not a manifest"))
            .hint(manifest.map(|name| format!("Did you mean `{}`?", path.join(name).display())));
    }
    let problem = Diagnostic::nowhere(format!("Cannot read the manifest `{shown}`: {error}"));
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
        problems.push(Diagnostic::at(0..0, "The manifest is empty").hint(hint));
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let table = table.into_inner();
    let (twice, broken): (Vec<_>, Vec<_>) = errors.iter().partition(|error| error.message() == "duplicate key");
    problems.extend(twice.into_iter().map(|error| written_twice(text, &table, error)));
    // After a slip in the syntax the parser guesses, and the rest of its complaints may be about its guesses.
    problems.extend(broken.first().map(|error| {
        let mut message = error.message().to_owned();
        message[..1].make_ascii_uppercase();
        Diagnostic::at(error.span().unwrap_or(0..0), message)
    }));
    broken.is_empty().then_some(table)
}

fn written_twice(text: &str, table: &DeTable<'_>, error: &Error) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let name = text.get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']);
    let line = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let is_stage = text[line..span.start].trim_start().starts_with("[stage.");
    let problem = if is_stage {
        Diagnostic::at(span.clone(), format!("Two stages are called `{name}`"))
            .hint(format!("Give one another name and say what it is: `kind = \"{name}\"`."))
    } else {
        Diagnostic::at(span.clone(), format!("`{name}` is written twice"))
    };
    match first_called(table, name, &span) {
        Some(first) => problem.also(first, "first written here"),
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
