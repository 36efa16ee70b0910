//! Reads `[space]`: for each key of the manifest a list of values, or a range of numbers.
//!
//! Dotted keys may be written with or without quotes: `stage.train.epochs = { … }` is a table in a table in a table for TOML.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::numbers::{real, whole};
use super::space::{Dimension, Range, Space, real_text};
use crate::manifest::diagnostic::{Diagnostic, Span, Texts};
use crate::manifest::suggest;
use crate::manifest::value::{boolean, keep, table, unknown_key, wrong_type};

pub(super) const KEYS: [&str; 6] = ["values", "min", "max", "step", "log", "integer"];
/// The most steps of a range.
const MOST_STEPS: f64 = 1000.0;
/// Part of a step by which the last one may miss `max` through rounding.
const ROUNDING: f64 = 1e-9;

/// The space; what is wrong in it is added to `problems`.
pub(super) fn read(value: Spanned<DeValue<'_>>, texts: &Texts, problems: &mut Vec<Diagnostic>) -> Space {
    let span = value.span();
    let mut found: Vec<(Span, Dimension)> = Vec::new();
    let before = problems.len();
    if let Some(keys) = keep(table("space", value), problems) {
        walk("", keys, texts, &mut found, problems);
    }
    if found.is_empty() && problems.len() == before {
        problems.push(
            Diagnostic::at(span, "`space` is empty")
                .hint("Add a key of the manifest, as in `stage.train.epochs = { values = [5, 10] }`.".to_owned()),
        );
    }
    found.sort_by_key(|(span, _)| span.start);
    for (index, (span, dimension)) in found.iter().enumerate() {
        if let Some((first, _)) = found[..index].iter().find(|(_, earlier)| earlier.key == dimension.key) {
            let problem = Diagnostic::at(span.clone(), format!("Duplicate key `{}`", dimension.key));
            problems.push(problem.also(first.clone(), "first set here"));
        }
    }
    Space { dimensions: found.into_iter().map(|(_, dimension)| dimension).collect() }
}

fn walk(
    above: &str,
    keys: DeTable<'_>,
    texts: &Texts,
    found: &mut Vec<(Span, Dimension)>,
    problems: &mut Vec<Diagnostic>,
) {
    for (word, value) in keys {
        let key = if above.is_empty() { word.get_ref().to_string() } else { format!("{above}.{}", word.get_ref()) };
        let span = word.span();
        match key.as_str() {
            "name" => problems.push(
                Diagnostic::at(span, "`name` cannot vary")
                    .hint("The runs of a sweep are stored in one folder, `name` of the sweep.".to_owned()),
            ),
            "seed" => problems.push(Diagnostic::at(span, "`seed` is no setting to choose").hint(
                "List seeds outside of `[space]`: every trial runs with each, as in `seeds = [0, 1, 2]`.".to_owned(),
            )),
            _ => match value.into_inner() {
                DeValue::Table(table) if !is_range(&table) => walk(&key, table, texts, found, problems),
                DeValue::Table(table) => {
                    let before = problems.len();
                    if let Some(range) =
                        range(&key, span.clone(), table, texts, problems).filter(|_| problems.len() == before)
                    {
                        found.push((span, Dimension { key, range }));
                    }
                }
                _ if !above.is_empty() && suggest::nearest(word.get_ref(), KEYS).is_some() => {
                    problems.push(unknown_key(&word, &format!("of `{above}`"), &KEYS));
                }
                other => {
                    let value = Spanned::new(span, other);
                    let hint =
                        format!("Write `{key} = {{ values = [1, 2] }}`, or `{key} = {{ min = 0.1, max = 1.0 }}`.");
                    problems.push(wrong_type(&key, "a table", &value).hint(hint));
                }
            },
        }
    }
}

/// Whether a table describes a range, rather than further keys of the manifest.
fn is_range(table: &DeTable<'_>) -> bool {
    let mut keys = table.iter();
    table.is_empty() || keys.any(|(key, value)| KEYS.contains(&key.get_ref().as_ref()) && !value.get_ref().is_table())
}

fn range(key: &str, span: Span, table: DeTable<'_>, texts: &Texts, problems: &mut Vec<Diagnostic>) -> Option<Range> {
    let (mut values, mut min, mut max, mut step, mut log, mut integer) = (None, None, None, None, None, None);
    let before = problems.len();
    for (word, value) in table {
        let name = word.get_ref().as_ref();
        let mut number = || {
            let number = keep(real(name, &value), problems)?;
            Some(Bound { number, whole: whole(&value), span: value.span() })
        };
        match name {
            "min" => min = number(),
            "max" => max = number(),
            "step" => step = number(),
            "log" => log = keep(boolean("log", &value), problems).map(|log| (log, value.span())),
            "integer" => integer = keep(boolean("integer", &value), problems).map(|integer| (integer, value.span())),
            "values" => values = Some(value),
            _ => problems.push(unknown_key(&word, &format!("of `{key}`"), &KEYS)),
        }
    }
    if let Some(values) = values {
        let others = [&min, &max, &step].into_iter().flatten().map(|bound| &bound.span);
        if let Some(other) = others.chain([&log, &integer].into_iter().flatten().map(|(_, span)| span)).next() {
            problems.push(Diagnostic::at(other.clone(), format!("`{key}` has `values`, so it takes no other key")));
        }
        return keep(levels(key, &values, texts), problems);
    }
    let (Some(min), Some(max)) = (min, max) else {
        // What is missing may have been given in a wrong way.
        if problems.len() > before {
            return None;
        }
        problems.push(
            Diagnostic::at(span, format!("`{key}` needs `values`, or `min` and `max`"))
                .hint(format!("Write `{key} = {{ values = [1, 2] }}`, or `{key} = {{ min = 0.1, max = 1.0 }}`.")),
        );
        return None;
    };
    let log = log.unwrap_or((false, 0..0));
    keep(interval(min, max, step, log, integer), problems)
}

/// A number in the description of a range.
struct Bound {
    number: f64,
    /// If it is written as an integer.
    whole: Option<i64>,
    span: Span,
}

fn interval(
    min: Bound,
    max: Bound,
    step: Option<Bound>,
    (log, log_span): (bool, Span),
    integer: Option<(bool, Span)>,
) -> Result<Range, Diagnostic> {
    if min.number >= max.number {
        return Err(Diagnostic::at(min.span, "`min` must be less than `max`").also(max.span, "`max`"));
    }
    if log && min.number <= 0.0 {
        return Err(Diagnostic::at(min.span, "With `log = true`, `min` must be greater than 0")
            .hint("A logarithmic range has no zero. Give a small number, such as 1e-6.".to_owned()));
    }
    let wholes = min.whole.zip(max.whole);
    // Numbers that are written as integers are meant as such: a manifest has `epochs = 5`, not 5.0.
    let integer = match integer {
        Some((true, span)) if wholes.is_none() => {
            return Err(Diagnostic::at(span, "With `integer = true`, `min` and `max` must be integers"));
        }
        Some((integer, _)) => integer,
        None => wholes.is_some() && step.as_ref().is_none_or(|step| step.whole.is_some()),
    };
    let Some(step) = step else {
        return Ok(match wholes.filter(|_| integer) {
            Some((min, max)) => Range::Integer { min, max, log },
            None => Range::Real { min: min.number, max: max.number, log },
        });
    };
    if log {
        return Err(Diagnostic::at(log_span, "`log` and `step` exclude each other").also(step.span, "`step`"));
    }
    if step.number <= 0.0 || (integer && step.whole.is_none()) {
        let what = if integer { "an integer" } else { "a number" };
        return Err(Diagnostic::at(step.span, format!("`step` must be {what} greater than 0")));
    }
    let steps = ((max.number - min.number) / step.number + ROUNDING).floor();
    if steps >= MOST_STEPS {
        return Err(Diagnostic::at(step.span, format!("`step` gives more than {MOST_STEPS} values"))
            .hint("Make it larger, or leave it out for a continuous range.".to_owned()));
    }
    let number = |index: u32| min.number + f64::from(index) * step.number;
    let text = |index: u32| match integer {
        true => format!("{}", number(index)),
        // 0.1 + 2 · 0.1 is meant as 0.3.
        false => real_text(format!("{:.12e}", number(index)).parse().unwrap_or(number(index))),
    };
    Ok(Range::Levels { texts: (0..=steps as u32).map(text).collect(), ordered: true })
}

fn levels(key: &str, values: &Spanned<DeValue<'_>>, texts: &Texts) -> Result<Range, Diagnostic> {
    let DeValue::Array(items) = values.get_ref() else {
        return Err(wrong_type("values", "a list", values));
    };
    let mut levels: Vec<String> = Vec::new();
    for item in items {
        // As written, on one line.
        let text = texts.slice(&item.span()).lines().map(str::trim).collect::<Vec<_>>().join(" ");
        if levels.contains(&text) {
            return Err(Diagnostic::at(item.span(), format!("`{key}` lists `{text}` twice")));
        }
        levels.push(text);
    }
    if levels.is_empty() {
        return Err(Diagnostic::at(values.span(), format!("`values` of `{key}` is empty")));
    }
    Ok(Range::Levels { texts: levels, ordered: false })
}
