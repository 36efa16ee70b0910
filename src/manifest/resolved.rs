//! Writes a checked manifest as TOML, with every default and every override written out.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::{Component, Path, PathBuf};
use std::{fs, iter};

use dnc_stages::api::is_name;
use serde_json::Value;

use super::checked::{Manifest, ResourceOverride, Retain, StageNode};
use super::params::value_at;
use super::reference::{Reference, When};

/// Initial capacity for a stage with a few parameters.
const BYTES_PER_STAGE: usize = 256;

/// What an absolute path becomes in a manifest that is read from another folder.
type Place<'p> = &'p dyn Fn(PathBuf) -> PathBuf;

impl Manifest {
    /// The manifest as TOML. Read again from the same folder, it gives the same manifest.
    pub fn to_toml(&self) -> String {
        self.write_toml(None)
    }

    /// Like [`Manifest::to_toml`], but with absolute paths, so that it can be read from any folder. A path that leads up from the
    /// folder of a run is the same in every run.
    pub fn to_toml_for_any_folder(&self) -> String {
        self.write_toml(Some(&|path| without_ups(&path)))
    }

    /// Like [`Manifest::to_toml`], but to be read from `folder`. Paths within `root` are relative, so that the project can be moved
    /// or copied; others are absolute.
    pub fn to_toml_in(&self, folder: &Path, root: &Path) -> String {
        let up = fs::canonicalize(folder).ok().zip(fs::canonicalize(root).ok()).and_then(|(folder, root)| {
            let depth = folder.strip_prefix(&root).ok()?.components().count();
            Some((iter::repeat_n("..", depth).collect::<PathBuf>(), root))
        });
        self.write_toml(Some(&|path| up.as_ref().and_then(|(up, root)| relative(&path, root, up)).unwrap_or(path)))
    }

    fn write_toml(&self, place: Option<Place<'_>>) -> String {
        let mut toml = String::with_capacity(BYTES_PER_STAGE * (self.stages.len() + 1));
        toml += "name = ";
        push_string(&mut toml, &self.name);
        push(&mut toml, format_args!("\nseed = {}\n", self.seed));
        if self.report {
            toml += "report = true\n";
        }
        if !self.learners.is_empty() {
            push(&mut toml, format_args!("\n[rounds]\nlearners = {:?}\n", self.learners));
        }
        for stage in &self.stages {
            toml += "\n[stage.";
            push_key(&mut toml, &stage.name);
            toml += "]\n";
            self.push_stage(&mut toml, stage, place);
        }
        toml
    }

    fn push_stage(&self, toml: &mut String, stage: &StageNode, place: Option<Place<'_>>) {
        push(toml, format_args!("kind = \"{}\"\nper = \"{}\"\n", stage.kind.name, stage.per.name()));
        let connected =
            || stage.ports.inputs.iter().zip(&stage.inputs).filter(|(_, connection)| !connection.feeds.is_empty());
        if connected().next().is_some() {
            *toml += "in = { ";
            push_joined(toml, connected(), |toml, (port, connection)| {
                push_key(toml, &port.name);
                *toml += " = ";
                match connection.feeds.as_slice() {
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
        let params = place.map_or(Cow::Borrowed(&stage.params), |place| self.with_paths(stage, place));
        for (name, value) in params.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            push_key(toml, name);
            *toml += " = ";
            push_value(toml, value);
            *toml += "\n";
        }
    }

    /// The parameters, with paths relative to the manifest's folder replaced by what `place` makes of the absolute ones.
    fn with_paths<'s>(&self, stage: &'s StageNode, place: Place<'_>) -> Cow<'s, Value> {
        let mut params = Cow::Borrowed(&stage.params);
        for source in stage.job.sources().iter().filter(|source| source.is_relative()) {
            let placed = std::path::absolute(self.folder.join(&source.path)).ok().map(place);
            // The path came from TOML, so it is valid UTF-8. A source that is not a parameter is not in the manifest.
            if let Some(path) = placed.as_deref().and_then(Path::to_str)
                && let Some(value) = value_at(params.to_mut(), &source.param)
            {
                *value = path.into();
            }
        }
        params
    }

    /// A reference in the manifest's notation, with the output always named.
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
        // TOML has no null. Absent values are omitted by the caller, and lists have none.
        Value::Null => {}
        Value::Bool(boolean) => *toml += if *boolean { "true" } else { "false" },
        Value::Number(number) => match number.as_f64() {
            // Debug formatting keeps the decimal point, so that the value is read back as the same float.
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

/// `path` without `..`, as far as it exists: a link before `..` leads elsewhere than its name says.
fn without_ups(path: &Path) -> PathBuf {
    let components: Vec<Component<'_>> = path.components().collect();
    let end = components.iter().rposition(|component| *component == Component::ParentDir).map_or(0, |last| last + 1);
    let (ups, rest) = components.split_at(end);
    match fs::canonicalize(ups.iter().collect::<PathBuf>()) {
        Ok(folder) if end > 0 => rest.iter().fold(folder, |path, component| path.join(component)),
        _ => path.to_owned(),
    }
}

/// `path` from a folder from which `up` leads to `root`; `None` if it leads out of `root`.
fn relative(path: &Path, root: &Path, up: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix(root).ok()?;
    let mut depth = 0_u32;
    for component in below.components() {
        depth = if component == Component::ParentDir { depth.checked_sub(1)? } else { depth + 1 };
    }
    let mut relative = up.join(below);
    // Programs are looked for on the PATH if their name has no slash.
    if !relative.starts_with("..") {
        relative = Path::new(".").join(relative);
    }
    Some(relative)
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

/// A TOML basic string.
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
