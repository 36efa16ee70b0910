//! A stage's parameters: handed over as JSON, and what the stage refuses told where it is written.
//!
//! A stage stops at the first parameter that it refuses. To tell all that is wrong in one go the refused one is left out and
//! the rest tried again; a stage that reads in the end, though from less than was written, still shows its ports.

use dnc_stages::stage::{Job, ParamError, StageKind};
use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Span};
use super::raw::{RESERVED_KEYS, RawStage, wrong_type};
use super::refusal::Refusal;
use super::suggest;

/// Reads the parameters of `stage`, which is of the kind `kind`; `None` where what is right of them does not make one.
pub(super) fn read(kind: &StageKind, stage: &RawStage<'_>, problems: &mut Vec<Diagnostic>) -> Option<Box<dyn Job>> {
    let params = json_table(&stage.params, problems);
    kind.parse(params).map_or_else(|error| read_what_can_be(kind, stage, error, problems), Some)
}

/// What is wrong with a parameter that could be read.
pub(super) fn refused(stage: &RawStage<'_>, error: &ParamError) -> Diagnostic {
    describe(stage, error, Refusal::Other).1
}

/// Where the parameter called `key` (dotted) is written, or the table nearest above it.
pub(super) fn span_of(stage: &RawStage<'_>, key: &str) -> Span {
    locate(stage, &segments(key)).map_or_else(|| stage.name.span(), |(_, value)| value.span())
}

/// The value at `key`, dotted as in [`Source::param`](dnc_stages::stage::Source).
pub(crate) fn value_at<'v>(params: &'v mut Value, key: &str) -> Option<&'v mut Value> {
    key.split('.').try_fold(params, |value, part| match value {
        Value::Object(map) => map.get_mut(part),
        Value::Array(items) => items.get_mut(part.parse::<usize>().ok()?),
        _ => None,
    })
}

fn read_what_can_be(
    kind: &StageKind,
    stage: &RawStage<'_>,
    mut error: ParamError,
    problems: &mut Vec<Diagnostic>,
) -> Option<Box<dyn Job>> {
    let mut params = json_table(&stage.params, &mut Vec::new());
    let mut is_wiring_known = true;
    loop {
        let refusal = Refusal::read(&error.message);
        if let Refusal::UnknownKey { name, known } = &refusal {
            let near = suggest::nearest(name, known.iter().copied().chain(RESERVED_KEYS));
            is_wiring_known &= !near.is_some_and(|near| RESERVED_KEYS.contains(&near));
        }
        // What is missing because it was left out here is no new problem.
        if matches!(refusal, Refusal::Missing { .. }) && !problems.is_empty() {
            return None;
        }
        let (path, problem) = describe(stage, &error, refusal);
        problems.push(problem);
        if !remove(&mut params, &path) {
            return None;
        }
        match kind.parse(params.clone()) {
            // Where `per` or `in` is misspelt the wiring would be checked against what was not meant.
            Ok(job) => return is_wiring_known.then_some(job),
            Err(next) => error = next,
        }
    }
}

/// The path of the parameter to leave out, and what is wrong with it.
fn describe(stage: &RawStage<'_>, error: &ParamError, refusal: Refusal<'_>) -> (Vec<String>, Diagnostic) {
    let mut path = segments(&error.key);
    let owner = stage.name.get_ref();
    let problem = match refusal {
        Refusal::UnknownKey { name, known } => {
            // Inside an enum told by its `kind` serde knows the enum's place but not the key's.
            if path.last().map(String::as_str) != Some(name) {
                path.push(name.to_owned());
            }
            let parent = path[..path.len() - 1].join(".");
            let reserved = RESERVED_KEYS.iter().copied().filter(|_| parent.is_empty());
            let near = suggest::did_you_mean(name, known.iter().copied().chain(reserved));
            let all = match (known.is_empty(), parent.is_empty()) {
                (true, true) => format!("`{owner}` takes no parameters."),
                (true, false) => format!("`{parent}` takes no keys."),
                (false, true) => format!("`{owner}` takes {}.", suggest::all_of(known)),
                (false, false) => format!("`{parent}` takes {}.", suggest::all_of(known)),
            };
            let span = locate(stage, &path).map_or_else(|| stage.name.span(), |(key, _)| key);
            Diagnostic::at(span, format!("Unknown parameter `{}` of `{owner}`", path.join(".")))
                .hint(near.unwrap_or(all))
        }
        Refusal::Missing { name } => {
            let key = path.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
            let span = locate(stage, &path).map_or_else(|| stage.name.span(), |(_, value)| value.span());
            Diagnostic::at(span, format!("`{owner}` lacks the parameter `{key}`"))
        }
        Refusal::UnknownName { name, known } => {
            if let Some(child) = child_that(stage, &path, |value| value.as_str() == Some(name)) {
                path.push(child);
            }
            let one_of = format!("Expected {}.", suggest::one_of(known.iter().copied()));
            Diagnostic::at(value_span(stage, &path), format!("`{}` of `{owner}` cannot be `{name}`", path.join(".")))
                .hint(suggest::did_you_mean(name, known.iter().copied()).unwrap_or(one_of))
        }
        Refusal::WrongType { found, expected } => {
            if let Some(child) = child_that(stage, &path, |value| found.describes(value)) {
                path.push(child);
            }
            match locate(stage, &path) {
                Some((_, value)) => wrong_type(&path.join("."), &expected, value),
                None => Diagnostic::at(stage.name.span(), format!("`{owner}` cannot be read: {}", error.message)),
            }
        }
        Refusal::Other => Diagnostic::at(value_span(stage, &path), error.message.clone()),
    };
    let problem = problem.hint(error.hint.clone());
    (path, problem)
}

fn value_span(stage: &RawStage<'_>, path: &[String]) -> Span {
    locate(stage, path).map_or_else(|| stage.name.span(), |(_, value)| value.span())
}

/// The key of the one entry of the table at `path` whose value `is_meant`.
fn child_that(stage: &RawStage<'_>, path: &[String], is_meant: impl Fn(&DeValue<'_>) -> bool) -> Option<String> {
    let (_, value) = locate(stage, path)?;
    let mut meant = value.get_ref().as_table()?.iter().filter(|(_, value)| is_meant(value.get_ref()));
    let (key, _) = meant.next()?;
    meant.next().is_none().then(|| key.get_ref().to_string())
}

/// The places of key and value of the deepest part of `path` that is written.
fn locate<'s, 't>(stage: &'s RawStage<'t>, path: &[String]) -> Option<(Span, &'s Spanned<DeValue<'t>>)> {
    let (first, rest) = path.split_first()?;
    let (key, value) = stage.params.get_key_value(first.as_str())?;
    let mut found = (key.span(), value);
    for segment in rest {
        let deeper = match found.1.get_ref() {
            DeValue::Table(table) => table.get_key_value(segment.as_str()).map(|(key, value)| (key.span(), value)),
            DeValue::Array(array) => {
                segment.parse::<usize>().ok().and_then(|index| array.get(index)).map(|value| (value.span(), value))
            }
            _ => None,
        };
        match deeper {
            Some(deeper) => found = deeper,
            None => break,
        }
    }
    Some(found)
}

/// `loss.margin` and `script[0]`, cut into their parts.
fn segments(key: &str) -> Vec<String> {
    key.split(['.', '[', ']']).filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

/// Takes out what stands at `path`, an array whole if it is one of its items; false where nothing stands there.
fn remove(params: &mut Value, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let pointer: String = parents.iter().map(|segment| format!("/{segment}")).collect();
    match params.pointer_mut(&pointer) {
        Some(Value::Object(map)) => map.remove(last).is_some(),
        _ => remove(params, parents),
    }
}

fn json_table(table: &DeTable<'_>, problems: &mut Vec<Diagnostic>) -> Value {
    let entries = table.iter().map(|(key, value)| (key.get_ref().clone().into_owned(), json(value, problems)));
    // Only what cannot be written in JSON is null, and that was told.
    Value::Object(entries.filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
}

fn json(value: &Spanned<DeValue<'_>>, problems: &mut Vec<Diagnostic>) -> Value {
    let number = match value.get_ref() {
        DeValue::String(text) => return Value::String(text.clone().into_owned()),
        DeValue::Boolean(boolean) => return Value::Bool(*boolean),
        DeValue::Array(array) => return Value::Array(array.iter().map(|item| json(item, problems)).collect()),
        DeValue::Table(table) => return json_table(table, problems),
        DeValue::Integer(integer) => {
            let (digits, radix) = (integer.as_str(), integer.radix());
            let unsigned = u64::from_str_radix(digits, radix).ok().map(Number::from);
            let number = unsigned.or_else(|| i64::from_str_radix(digits, radix).ok().map(Number::from));
            number.ok_or("The number is too large")
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok().and_then(Number::from_f64);
            number.ok_or("A parameter must be a finite number")
        }
        DeValue::Datetime(_) => Err("A date is no parameter; put it in quotes"),
    };
    number.map_or_else(
        |title| {
            problems.push(Diagnostic::at(value.span(), title));
            Value::Null
        },
        Value::Number,
    )
}
