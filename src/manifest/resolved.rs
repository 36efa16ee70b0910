//! A manifest back to TOML, as resolved: every default and every override written out.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::params::value_at;
use super::reference::is_name;
use super::{Manifest, Reference, ResourceOverride, Retain, StageNode, When};

/// Room for a stage of a few parameters.
const BYTES_A_STAGE: usize = 256;

impl Manifest {
    /// The manifest as it is meant; read again from the same folder it gives the same one.
    pub fn to_toml(&self) -> String {
        self.written(false)
    }

    /// As [`Manifest::to_toml`], but with absolute paths, so that it means the same in any folder.
    pub fn to_toml_for_any_folder(&self) -> String {
        self.written(true)
    }

    fn written(&self, is_absolute: bool) -> String {
        let mut toml = String::with_capacity(BYTES_A_STAGE * (self.stages.len() + 1));
        toml += "name = ";
        push_string(&mut toml, &self.name);
        push(&mut toml, format_args!("\nseed = {}\n", self.seed));
        if !self.learners.is_empty() {
            push(&mut toml, format_args!("\n[rounds]\nlearners = {:?}\n", self.learners));
        }
        for stage in &self.stages {
            toml += "\n[stage.";
            push_key(&mut toml, &stage.name);
            toml += "]\n";
            self.push_stage(&mut toml, stage, is_absolute);
        }
        toml
    }

    fn push_stage(&self, toml: &mut String, stage: &StageNode, is_absolute: bool) {
        push(toml, format_args!("kind = \"{}\"\nper = \"{}\"\n", stage.kind.name, stage.per.name()));
        let fed = || stage.ports.inputs.iter().zip(&stage.inputs).filter(|(_, wire)| !wire.feeds.is_empty());
        if fed().next().is_some() {
            *toml += "in = { ";
            push_joined(toml, fed(), |toml, (port, wire)| {
                push_key(toml, &port.name);
                *toml += " = ";
                match wire.feeds.as_slice() {
                    [feed] => self.push_feed(toml, feed),
                    feeds => {
                        *toml += "[";
                        push_joined(toml, feeds, |toml, feed| self.push_feed(toml, feed));
                        *toml += "]";
                    }
                }
            });
            *toml += " }\n";
        }
        if stage.retain != Retain::default() {
            push(toml, format_args!("retain = \"{}\"\n", stage.retain.name()));
        }
        if stage.resources != ResourceOverride::default() {
            *toml += "resources = ";
            push_value(toml, &serde_json::to_value(stage.resources).expect("it is a plain struct"));
            *toml += "\n";
        }
        let params = if is_absolute { self.with_absolute_paths(stage) } else { Cow::Borrowed(&stage.params) };
        for (name, value) in params.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            push_key(toml, name);
            *toml += " = ";
            push_value(toml, value);
            *toml += "\n";
        }
    }

    /// The parameters, in which every path that is relative to the manifest's folder is absolute.
    fn with_absolute_paths<'s>(&self, stage: &'s StageNode) -> Cow<'s, Value> {
        let mut params = Cow::Borrowed(&stage.params);
        for source in stage.job.sources().iter().filter(|source| source.path.is_relative() && !source.is_on_path()) {
            let absolute = std::path::absolute(self.folder.join(&source.path)).ok();
            // Text came in, so text goes out; what has no parameter of its own is no path of the manifest.
            if let Some(path) = absolute.as_deref().and_then(Path::to_str)
                && let Some(value) = value_at(params.to_mut(), &source.param)
            {
                *value = path.into();
            }
        }
        params
    }

    /// A reference as a manifest writes it, the output always named.
    fn push_feed(&self, toml: &mut String, alternatives: &[Reference]) {
        for (index, reference) in alternatives.iter().enumerate() {
            let stage = &self.stages[reference.stage];
            let output = &stage.ports.outputs[reference.output].name;
            *toml += if index == 0 { "\"" } else { " or " };
            push(toml, format_args!("{}.{output}", stage.name));
            match reference.when {
                When::Once | When::Same => {}
                When::Previous => *toml += "@previous",
                When::Last => *toml += "@last",
                When::Round(round) => push(toml, format_args!("@{round}")),
            }
        }
        *toml += "\"";
    }
}

pub(super) fn push_value(toml: &mut String, value: &Value) {
    match value {
        // A value that is not there is not written; in a list none can be missing.
        Value::Null => {}
        Value::Bool(boolean) => *toml += if *boolean { "true" } else { "false" },
        Value::Number(number) => match number.as_f64() {
            // Written so, a float reads back the same and is seen to be one.
            Some(float) if number.is_f64() => push(toml, format_args!("{float:?}")),
            _ => push(toml, format_args!("{number}")),
        },
        Value::String(text) => push_string(toml, text),
        Value::Array(items) => {
            *toml += "[";
            push_joined(toml, items, push_value);
            *toml += "]";
        }
        Value::Object(map) if map.is_empty() => *toml += "{}",
        Value::Object(map) => {
            *toml += "{ ";
            push_joined(toml, map.iter().filter(|(_, value)| !value.is_null()), |toml, (name, value)| {
                push_key(toml, name);
                *toml += " = ";
                push_value(toml, value);
            });
            *toml += " }";
        }
    }
}

fn push_joined<T>(toml: &mut String, items: impl IntoIterator<Item = T>, mut push: impl FnMut(&mut String, T)) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            *toml += ", ";
        }
        push(toml, item);
    }
}

fn push_key(toml: &mut String, name: &str) {
    if is_name(name) { *toml += name } else { push_string(toml, name) }
}

/// A basic string.
fn push_string(toml: &mut String, text: &str) {
    toml.push('"');
    for symbol in text.chars() {
        match symbol {
            '"' => *toml += "\\\"",
            '\\' => *toml += "\\\\",
            control if control.is_control() => push(toml, format_args!("\\u{:04X}", control as u32)),
            other => toml.push(other),
        }
    }
    toml.push('"');
}

fn push(toml: &mut String, text: std::fmt::Arguments<'_>) {
    toml.write_fmt(text).expect("a string can always be written to");
}
