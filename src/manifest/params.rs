//! The parameters of a stage: passed to the stage as JSON; what it refuses is reported at its line in the manifest.
//!
//! A stage stops at the first parameter that it refuses. To report all problems at once, the refused parameter is removed and
//! the rest is parsed again. If that succeeds, the ports of the stage are known and its inputs can be checked as well.

use dnc_stages::api::{Job, ParamError, StageKind};
use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Span};
use super::raw::{RESERVED_KEYS, RawStage};
use super::refusal::Refusal;
use super::suggest;
use super::value::wrong_type;

/// Values that older manifests may contain but that no longer exist, each with a hint.
const REPLACED_VALUES: [(&str, &str); 1] =
    [("fixed_mask", "Use `slice`, which gives the same result, or `random_mask` for random disjoint masks.")];

/// Parses the parameters of `stage`, which is of kind `kind`; `None` if the valid ones alone are not enough.
pub(super) fn read(kind: &StageKind, stage: &RawStage<'_>, problems: &mut Vec<Diagnostic>) -> Option<Box<dyn Job>> {
    let params = json_table(&stage.params, problems);
    kind.parse(params).map_or_else(|error| read_without_invalid(kind, stage, error, problems), Some)
}

/// Describes an `error` of a parameter that has the right type.
pub(super) fn refused(kind: &StageKind, stage: &RawStage<'_>, error: &ParamError) -> Diagnostic {
    describe(kind, stage, error, Refusal::Other).1
}

/// The span of the parameter `key` (dotted), or of the nearest table that contains it.
pub(super) fn span_of(stage: &RawStage<'_>, key: &str) -> Span {
    locate(stage, &segments(key)).map_or_else(|| stage.name.span(), |(_, value)| value.span())
}

/// The value at `key`, dotted as in [`Source::param`](dnc_stages::api::Source).
pub(crate) fn value_at<'v>(params: &'v mut Value, key: &str) -> Option<&'v mut Value> {
    key.split('.').try_fold(params, |value, part| match value {
        Value::Object(map) => map.get_mut(part),
        Value::Array(items) => items.get_mut(part.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Removes one refused parameter after another until the rest can be parsed.
fn read_without_invalid(
    kind: &StageKind,
    stage: &RawStage<'_>,
    mut error: ParamError,
    problems: &mut Vec<Diagnostic>,
) -> Option<Box<dyn Job>> {
    let mut params = json_table(&stage.params, &mut Vec::new());
    let mut is_wiring_known = true;
    let mut removed: Vec<Vec<String>> = Vec::new();
    loop {
        let refusal = Refusal::parse(&error.message);
        if let Refusal::UnknownKey { name, known } = &refusal {
            let near = suggest::nearest(name, known.iter().copied().chain(RESERVED_KEYS));
            is_wiring_known &= !near.is_some_and(|near| RESERVED_KEYS.contains(&near));
        }
        // A parameter that is missing because it was removed here is not another problem.
        if matches!(refusal, Refusal::Missing { .. }) && !problems.is_empty() {
            return None;
        }
        let (path, problem) = describe(kind, stage, &error, refusal);
        // Nor is the default in its place, which may not go with the other parameters, or the table that has lost it.
        if !path.is_empty() && removed.iter().any(|removed| removed.starts_with(&path)) {
            return None;
        }
        problems.push(problem);
        if !remove(&mut params, &path) {
            return None;
        }
        removed.push(path);
        match kind.parse(params.clone()) {
            // If `per` or `in` is misspelt, the inputs would be checked against the wrong defaults.
            Ok(job) => return is_wiring_known.then_some(job),
            Err(next) => error = next,
        }
    }
}

/// The path of the parameter to remove, and a description of the problem.
fn describe(
    kind: &StageKind,
    stage: &RawStage<'_>,
    error: &ParamError,
    refusal: Refusal<'_>,
) -> (Vec<String>, Diagnostic) {
    let mut path = segments(&error.key);
    let owner = stage.name.get_ref();
    let problem = match refusal {
        Refusal::UnknownKey { name, mut known } => {
            // For an enum tagged by its `kind`, serde reports the path of the enum but not of the key, and leaves out the tag.
            if path.last().map(String::as_str) != Some(name) {
                path.push(name.to_owned());
                known.insert(0, "kind");
            }
            let parent = path[..path.len() - 1].join(".");
            let reserved = RESERVED_KEYS.iter().copied().filter(|_| parent.is_empty());
            let near = suggest::did_you_mean(name, known.iter().copied().chain(reserved));
            let all = match (known.is_empty(), parent.is_empty()) {
                (true, true) => format!("`{owner}` has no parameters."),
                (true, false) => format!("`{parent}` has no keys."),
                (false, true) => format!("Parameters of `{owner}` are {}.", suggest::all_of(known)),
                (false, false) => format!("Keys of `{parent}` are {}.", suggest::all_of(known)),
            };
            let span = locate(stage, &path).map_or_else(|| stage.name.span(), |(key, _)| key);
            Diagnostic::at(span, format!("Unknown parameter `{}` of `{owner}`", path.join(".")))
                .hint(near.unwrap_or(all))
        }
        Refusal::Missing { name } => {
            let key = path.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
            let table = if path.is_empty() { format!("[stage.{owner}]") } else { path.join(".") };
            let misspelt = locate(stage, &path).and_then(|(_, value)| {
                let names = value.get_ref().as_table()?.keys().map(|key| key.get_ref().as_ref());
                suggest::nearest(name, names).map(|near| format!("Did you mean `{name}` instead of `{near}`?"))
            });
            let add = || format!("Add `{name} = …` to `{table}`. `dnc-run stages {}` describes it.", kind.name);
            Diagnostic::at(value_span(stage, &path), format!("Missing parameter `{key}` of `{owner}`"))
                .hint(misspelt.unwrap_or_else(add))
        }
        Refusal::UnknownName { name, known } => {
            if let Some(child) = child_that(stage, &path, |value| value.as_str() == Some(name)) {
                path.push(child);
            }
            let one_of = || format!("Use {}.", suggest::one_of(known.iter().copied()));
            let replaced = REPLACED_VALUES.iter().find(|(old, _)| *old == name).map(|(_, hint)| (*hint).to_owned());
            let hint = replaced.or_else(|| suggest::did_you_mean(name, known.iter().copied())).unwrap_or_else(one_of);
            let title = format!("Invalid value `{name}` for `{}` of `{owner}`", path.join("."));
            Diagnostic::at(value_span(stage, &path), title).hint(hint)
        }
        Refusal::WrongType { found, expected } => {
            if let Some(child) = child_that(stage, &path, |value| found.describes(value)) {
                path.push(child);
            }
            match locate(stage, &path) {
                Some((_, value)) => wrong_type(&path.join("."), &expected, value),
                None => Diagnostic::at(
                    stage.name.span(),
                    format!("Cannot read the parameters of `{owner}`: {}", error.message),
                ),
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

/// The key of the only entry in the table at `path` whose value is `wanted`.
fn child_that(stage: &RawStage<'_>, path: &[String], wanted: impl Fn(&DeValue<'_>) -> bool) -> Option<String> {
    let (_, value) = locate(stage, path)?;
    let mut found = value.get_ref().as_table()?.iter().filter(|(_, value)| wanted(value.get_ref()));
    let (key, _) = found.next()?;
    found.next().is_none().then(|| key.get_ref().to_string())
}

/// The span of the key, and the value, of the deepest part of `path` that exists.
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

/// Splits a path such as `loss.margin` or `script[0]` into its segments.
fn segments(key: &str) -> Vec<String> {
    key.split(['.', '[', ']']).filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

/// Removes the value at `path`, or the whole array if it is an item of one. Returns whether there was such a value.
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
    // Only values without a JSON form are null, and those have been reported.
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
            number.ok_or(("The integer does not fit into 64 bits", "Use a smaller number."))
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok().and_then(Number::from_f64);
            number.ok_or(("Parameters must be finite numbers", "`nan` and `inf` are not allowed."))
        }
        DeValue::Datetime(_) => Err(("Parameters cannot be dates", "Put quotes around it to make it a string.")),
    };
    number.map_or_else(
        |(title, hint)| {
            problems.push(Diagnostic::at(value.span(), title).hint(hint.to_owned()));
            Value::Null
        },
        Value::Number,
    )
}
