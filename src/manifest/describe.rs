//! What a stage reads, writes and can be told, as text for people: `dnc-run stages STAGE`. Parameters are written as a
//! manifest has them, each with its default and what it is for. All of it comes from the stage's JSON Schema.

use dnc_stages::stage::{Arity, StageKind};
use schemars::SchemaGenerator;
use serde_json::{Map, Value};

use super::resolved::push_value;

/// The JSON Schema of a stage's parameters, whole: with the definitions that it refers to.
pub fn schema_of(stage: &StageKind) -> Value {
    let mut generator = SchemaGenerator::default();
    let schema = stage.schema(&mut generator).to_value();
    let mut definitions = generator.take_definitions(true);
    let own = name_of_reference(&schema).map(str::to_owned).and_then(|name| definitions.remove(&name));
    let mut root = own.unwrap_or(schema);
    root["title"] = stage.name.into();
    root["description"] = stage.summary.into();
    if !definitions.is_empty() {
        root["$defs"] = definitions.into();
    }
    root
}

/// The reference page of a stage.
pub fn describe(stage: &StageKind) -> String {
    let schema = schema_of(stage);
    let none = Map::new();
    let writer = Writer { definitions: schema["$defs"].as_object().unwrap_or(&none) };
    let mut text = format!("{}: {}\n", stage.name, stage.summary);
    // A stage's ports may follow from its parameters; those that must be given are made up.
    if let Ok(job) = stage.parse(writer.sample(&schema)) {
        let ports = job.ports();
        let inputs = ports.inputs.iter().map(|input| {
            let count = match input.arity {
                Arity::One => "",
                Arity::Optional => ", optional",
                Arity::Many => ", of all learners",
            };
            (input.name.as_str(), format!("{}{count}", input.kind.name()))
        });
        push_ports(&mut text, "reads, under `in`", inputs);
        let outputs = ports.outputs.iter().map(|output| (output.name.as_str(), output.kind.name().to_owned()));
        push_ports(&mut text, "writes", outputs);
    }
    text += "\nparameters\n";
    writer.properties(&mut text, &schema, 1);
    text
}

fn push_ports<'a>(text: &mut String, head: &str, ports: impl Iterator<Item = (&'a str, String)>) {
    let mut ports = ports.peekable();
    if ports.peek().is_some() {
        *text += &format!("\n{head}\n");
    }
    for (name, what) in ports {
        *text += &format!("    {name:12} {what}\n");
    }
}

struct Writer<'a> {
    definitions: &'a Map<String, Value>,
}

impl<'a> Writer<'a> {
    /// The parameters of a table, those that must be given first.
    fn properties(&self, text: &mut String, table: &'a Value, depth: usize) {
        let required = |name: &str| entries(&table["required"]).any(|required| required == name);
        let mut properties: Vec<_> = table["properties"].as_object().into_iter().flatten().collect();
        properties.sort_by_key(|(name, _)| !required(name));
        for (name, property) in properties.into_iter().filter(|(_, property)| property.get("const").is_none()) {
            let (schema, can_be_absent) = self.present(property);
            let indent = "    ".repeat(depth);
            *text += &format!("{indent}{name}");
            match property.get("default").filter(|default| !default.is_null()) {
                Some(default) => {
                    *text += " = ";
                    push_value(text, default);
                }
                None => {
                    let need = if required(name) && !can_be_absent { "required" } else { "optional" };
                    *text += &format!(": {}, {need}", self.kind(schema));
                }
            }
            text.push('\n');
            // What the parameter is for comes before what its type is.
            if let Some(told) = description(property).or_else(|| description(schema)) {
                *text += &format!("{indent}    {told}\n");
            }
            self.choices(text, schema, depth + 1);
        }
    }

    /// What a value may be, where there is a choice, and what it consists of.
    fn choices(&self, text: &mut String, schema: &'a Value, depth: usize) {
        let indent = "    ".repeat(depth);
        for choice in entries(&schema["oneOf"]) {
            let name = match (choice.get("const"), choice["properties"]["kind"].get("const")) {
                (Some(value), _) => format!("{value}"),
                (None, Some(kind)) => format!("kind = {kind}"),
                (None, None) => self.kind(choice),
            };
            let told = description(choice).map(|told| format!(": {told}")).unwrap_or_default();
            *text += &format!("{indent}{name}{told}\n");
            self.properties(text, choice, depth + 1);
        }
        for choice in entries(&schema["anyOf"]) {
            self.choices(text, self.present(choice).0, depth);
        }
        if let Some(values) = schema.get("enum") {
            let names: Vec<String> = entries(values).map(ToString::to_string).collect();
            *text += &format!("{indent}{}\n", names.join(", "));
        }
        for below in [&schema["items"], &schema["additionalProperties"]] {
            if below.is_object() {
                self.choices(text, self.present(below).0, depth);
            }
        }
        self.properties(text, schema, depth);
    }

    /// The schema that a reference leads to, without `null`; whether that was among its types.
    fn present(&self, schema: &'a Value) -> (&'a Value, bool) {
        if let Some(target) = name_of_reference(schema).and_then(|name| self.definitions.get(name)) {
            return self.present(target);
        }
        let is_null = |schema: &Value| schema["type"] == "null";
        let mut choices = entries(&schema["anyOf"]).filter(|choice| !is_null(choice));
        match (choices.next(), choices.next()) {
            (Some(only), None) => (self.present(only).0, true),
            _ => (schema, entries(&schema["type"]).any(|name| name == "null")),
        }
    }

    /// The type in a word or two.
    fn kind(&self, schema: &'a Value) -> String {
        let (schema, _) = self.present(schema);
        let mut choices = entries(&schema["anyOf"]).map(|choice| self.kind(choice)).peekable();
        if choices.peek().is_some() {
            return choices.collect::<Vec<_>>().join(" or ");
        }
        let types = entries(&schema["type"]).chain(Some(&schema["type"])).filter_map(Value::as_str);
        match types.into_iter().find(|&name| name != "null") {
            Some("integer") => "a whole number".to_owned(),
            Some("number") => "a number".to_owned(),
            Some("boolean") => "true or false".to_owned(),
            Some("string") => "a text".to_owned(),
            Some("array") => match schema["minItems"].as_u64() {
                Some(count) if schema["minItems"] == schema["maxItems"] => format!("a list of {count} values"),
                _ => "a list".to_owned(),
            },
            Some("object") => match schema["properties"].as_object().and_then(|properties| properties.keys().next()) {
                Some(name) if schema["required"].is_array() => format!("{{ {name} = … }}"),
                _ => "a table".to_owned(),
            },
            _ => "one of these".to_owned(),
        }
    }

    /// A value that fits the schema and says as little as it may.
    fn sample(&self, schema: &'a Value) -> Value {
        let (schema, _) = self.present(schema);
        if let Some(value) = schema.get("const").or_else(|| entries(&schema["enum"]).next()) {
            return value.clone();
        }
        // A table says more than a text does.
        if let Some(choice) = entries(&schema["oneOf"]).next().or_else(|| entries(&schema["anyOf"]).last()) {
            return self.sample(choice);
        }
        match schema["type"].as_str() {
            Some("integer" | "number") => 1.into(),
            Some("boolean") => false.into(),
            Some("array") => Value::Array(Vec::new()),
            Some("object") => {
                let required = entries(&schema["required"]).filter_map(Value::as_str);
                required.map(|name| (name.to_owned(), self.sample(&schema["properties"][name]))).collect()
            }
            _ => "x".into(),
        }
    }
}

fn entries(list: &Value) -> std::slice::Iter<'_, Value> {
    list.as_array().map_or_else(Default::default, |list| list.iter())
}

fn name_of_reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

/// On one line: terminals break lines as wide as they are.
fn description(schema: &Value) -> Option<String> {
    Some(schema.get("description")?.as_str()?.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use dnc_stages::stage::STAGES;

    use super::*;

    #[test]
    fn a_page_is_written_as_a_manifest_is() {
        insta::assert_snapshot!(describe(StageKind::find("merge").unwrap()), @r"
        merge: Merges the learners of a round into one model

        reads, under `in`
            learners     model, of all learners
            model        model, optional

        writes
            model        model

        parameters
            outer_lr: a number, optional
                The share of the way from the model that all learners began with (`model`) to their mean that is gone: 1 is the mean.
        ");
        let page = describe(StageKind::find("train").unwrap());
        for lines in [
            "    epochs = 2\n        Epochs, each as many batches",
            "        kind = \"triplet\": Positives nearer than negatives.\n            margin = 0.2\n",
            "    miner: one of these, optional\n",
            "                \"hard\": The nearest.\n",
        ] {
            assert!(page.contains(lines), "{lines} in\n{page}");
        }
    }

    #[test]
    fn every_parameter_of_every_stage_is_told() {
        for stage in STAGES {
            let page = describe(stage);
            for name in schema_of(stage)["properties"].as_object().into_iter().flatten().map(|(name, _)| name) {
                let is_told = |line: &str| {
                    line.starts_with(&format!("    {name} =")) || line.starts_with(&format!("    {name}:"))
                };
                assert!(page.lines().any(is_told), "{name} in\n{page}");
            }
            assert!(stage.name == "command" || page.contains("\nwrites\n"), "{page}");
        }
    }
}
