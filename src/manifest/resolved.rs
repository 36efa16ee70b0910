//! A manifest back to TOML, as resolved: every default and every override written out.

use std::fmt::Write;

use serde_json::Value;

use super::reference::is_name;
use super::{Manifest, Reference, StageNode, When};

impl Manifest {
    /// The manifest as it is meant; read again it gives the same one.
    pub fn to_toml(&self) -> String {
        let mut toml = format!("name = {}\nseed = {}\n", quoted(&self.name), self.seed);
        if !self.learners.is_empty() {
            toml += &format!("\n[rounds]\nlearners = {:?}\n", self.learners);
        }
        for stage in &self.stages {
            toml += &format!("\n[stage.{}]\n", key(&stage.name));
            for (name, value) in self.entries(stage) {
                toml += &format!("{name} = {value}\n");
            }
        }
        toml
    }

    fn entries(&self, stage: &StageNode) -> Vec<(String, String)> {
        let mut entries =
            vec![("kind".to_owned(), quoted(stage.kind.name)), ("per".to_owned(), quoted(stage.per.name()))];
        let fed = stage.ports.inputs.iter().zip(&stage.inputs).filter(|(_, wire)| !wire.feeds.is_empty());
        let inputs = fed.map(|(port, wire)| {
            let feeds: Vec<String> = wire.feeds.iter().map(|feed| quoted(&self.feed(feed))).collect();
            let feeds = if let [feed] = feeds.as_slice() { feed.clone() } else { format!("[{}]", feeds.join(", ")) };
            format!("{} = {feeds}", key(&port.name))
        });
        entries.push(("in".to_owned(), braced(inputs.collect())));
        let resources = [
            stage.resources.threads.map(|threads| format!("threads = {threads}")),
            stage.resources.memory.map(|memory| format!("memory = {memory}")),
            stage.resources.gpu.map(|gpu| format!("gpu = {gpu}")),
        ];
        entries.push(("resources".to_owned(), braced(resources.into_iter().flatten().collect())));
        entries.retain(|(_, value)| value != "{}");
        let params = stage.params.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        entries.extend(params.map(|(name, value)| (key(name), inline(value))));
        entries
    }

    /// The reference as a manifest writes it, the output always named.
    fn feed(&self, alternatives: &[Reference]) -> String {
        let alternatives = alternatives.iter().map(|reference| {
            let stage = &self.stages[reference.stage];
            let round = match reference.when {
                When::Once | When::Same => String::new(),
                When::Previous => "@previous".to_owned(),
                When::Last => "@last".to_owned(),
                When::Round(round) => format!("@{round}"),
            };
            format!("{}.{}{round}", stage.name, stage.ports.outputs[reference.output].name)
        });
        alternatives.collect::<Vec<_>>().join(" or ")
    }
}

fn inline(value: &Value) -> String {
    match value {
        // An optional value that is not there is not written.
        Value::Null => String::new(),
        Value::Bool(_) => value.to_string(),
        Value::Number(number) => match number.as_f64() {
            // Rust writes a float so that it reads back the same, and always so that it is seen to be one.
            Some(float) if number.is_f64() => format!("{float:?}"),
            _ => number.to_string(),
        },
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries = map.iter().filter(|(_, value)| !value.is_null());
            braced(entries.map(|(name, value)| format!("{} = {}", key(name), inline(value))).collect())
        }
    }
}

fn braced(entries: Vec<String>) -> String {
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

fn key(name: &str) -> String {
    if is_name(name) { name.to_owned() } else { quoted(name) }
}

/// A basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for symbol in text.chars() {
        match symbol {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                write!(quoted, "\\u{:04X}", control as u32).expect("a string can always be written to");
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
