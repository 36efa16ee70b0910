//! The reference page of a stage, as text: `dnc-run stages STAGE`. Ports come from the stage, columns from the schemas of its
//! tables, and parameters with their types, defaults and meanings from its JSON Schema.

use std::fmt::Write as _;

use dnc_stages::api::{Arity, Columns, Input, Output, StageKind};
use dnc_stages::tables::facets::logical_type;
use schemars::SchemaGenerator;
use serde_json::{Map, Value};

use super::resolved::push_value;

/// One level of indentation.
const INDENT: &str = "    ";

/// The JSON Schema of a stage's parameters, including the definitions that it refers to.
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
    let types = Types { definitions: schema["$defs"].as_object().unwrap_or(&none) };
    let mut page = Page { text: format!("{}: {}\n", stage.name, stage.summary), types };
    // Ports may depend on parameters, so required ones get sample values.
    if let Ok(job) = stage.parse(types.sample(&schema)) {
        let ports = job.ports();
        page.inputs(&ports.inputs);
        page.outputs(&ports.outputs);
    } else {
        page.text += "\nInputs and outputs depend on the parameters.\n";
    }
    page.text += "\nParameters\n";
    page.parameters(&schema, 1);
    page.text += "\nEvery stage also has the keys `kind`, `per`, `in`, `retain` and `resources`; `dnc-run schema` describes them.\n";
    page.text
}

/// A page that is being written.
struct Page<'a> {
    text: String,
    types: Types<'a>,
}

impl<'a> Page<'a> {
    fn line(&mut self, depth: usize, line: impl AsRef<str>) {
        self.text += &INDENT.repeat(depth);
        self.text += line.as_ref();
        self.text.push('\n');
    }

    fn inputs(&mut self, inputs: &[Input]) {
        if !inputs.is_empty() {
            self.text += "\nInputs (set in `in`)\n";
        }
        for input in inputs {
            let name = if input.is_rest() { "any other name" } else { &input.name };
            let count = match input.arity {
                Arity::One => "required",
                Arity::Optional => "optional",
                Arity::Many if input.is_rest() => "one or more",
                Arity::Many => "one or more; from a stage with `per = \"learner\"`, one per learner",
            };
            self.line(1, format!("{name}: artifact of kind {}, {count}", input.kind));
            match &input.columns {
                Columns::All => self.line(2, "reads everything"),
                Columns::Named(columns) => self.line(2, format!("reads only the columns {}", columns.join(", "))),
            }
        }
    }

    fn outputs(&mut self, outputs: &[Output]) {
        if !outputs.is_empty() {
            self.text += "\nOutputs (columns with their type, unit and meaning)\n";
        }
        for output in outputs {
            let optional = if output.is_optional { ", optional" } else { "" };
            self.line(1, format!("{}: artifact of kind {}{optional}", output.name, output.kind));
            for table in output.kind.tables() {
                for field in table.columns.fields() {
                    let column = table.facet(field.name());
                    let values = logical_type(field.data_type()).unwrap_or_else(|| field.data_type().to_string());
                    let metadata = |key: &str| field.metadata().get(key).map_or("", |text| text.as_ref());
                    let unit = match metadata("unit") {
                        "" | "none" => String::new(),
                        unit => format!(", {unit}"),
                    };
                    let null = if field.is_nullable() { ", may be null" } else { "" };
                    self.line(2, format!("{column} ({values}{unit}{null}): {}", metadata("meaning")));
                }
            }
        }
    }

    /// The parameters of a table, required ones first.
    fn parameters(&mut self, table: &'a Value, depth: usize) {
        let required = |name: &str| entries(&table["required"]).any(|required| required == name);
        let mut properties: Vec<_> = table["properties"].as_object().into_iter().flatten().collect();
        properties.sort_by_key(|(name, _)| !required(name));
        for (name, property) in properties.into_iter().filter(|(_, property)| property.get("const").is_none()) {
            let (schema, can_be_absent) = self.types.resolve(property);
            let mut line = format!("{name}: {}", self.types.name(schema));
            match property.get("default").filter(|default| !default.is_null()) {
                Some(default) => {
                    line += ", default ";
                    push_value(&mut line, default);
                }
                None if required(name) && !can_be_absent => line += ", required",
                None => line += ", optional",
            }
            self.line(depth, line);
            // The meaning of the parameter is more specific than the meaning of its type.
            let meaning = description(property);
            let meaning = if meaning.is_empty() { description(schema) } else { meaning };
            meaning.iter().for_each(|line| self.line(depth + 1, line));
            self.choices(schema, depth + 1);
        }
    }

    /// The values that a parameter may have, where there is a choice, and the parameters of tables among them.
    fn choices(&mut self, schema: &'a Value, depth: usize) {
        for choice in entries(&schema["oneOf"]) {
            let mut line = match (choice.get("const"), kind_of(choice)) {
                (Some(value), _) => format!("{value}"),
                (None, Some(kind)) => format!("kind = {kind}"),
                (None, None) => self.types.name(choice),
            };
            if let Some((first, rest)) = description(choice).split_first() {
                write!(line, ": {first}").expect("writing to a string cannot fail");
                self.line(depth, line);
                rest.iter().for_each(|line| self.line(depth + 1, line));
            } else {
                self.line(depth, line);
            }
            self.parameters(choice, depth + 1);
        }
        for choice in entries(&schema["anyOf"]) {
            self.choices(self.types.resolve(choice).0, depth);
        }
        if let Some(values) = schema.get("enum") {
            let names: Vec<String> = entries(values).map(ToString::to_string).collect();
            self.line(depth, names.join(", "));
        }
        for below in [&schema["items"], &schema["additionalProperties"]] {
            if below.is_object() {
                self.choices(self.types.resolve(below).0, depth);
            }
        }
        self.parameters(schema, depth);
    }
}

/// The types of a stage's parameters.
#[derive(Clone, Copy)]
struct Types<'a> {
    definitions: &'a Map<String, Value>,
}

impl<'a> Types<'a> {
    /// Follows references and removes `null` from the alternatives. Returns the schema and whether `null` was allowed.
    fn resolve(&self, schema: &'a Value) -> (&'a Value, bool) {
        if let Some(target) = name_of_reference(schema).and_then(|name| self.definitions.get(name)) {
            return self.resolve(target);
        }
        let is_null = |schema: &Value| schema["type"] == "null";
        let mut choices = entries(&schema["anyOf"]).filter(|choice| !is_null(choice));
        match (choices.next(), choices.next()) {
            (Some(only), None) => (self.resolve(only).0, true),
            _ => (schema, entries(&schema["type"]).any(|name| name == "null")),
        }
    }

    /// The name of a type, in a few words.
    fn name(&self, schema: &'a Value) -> String {
        let (schema, _) = self.resolve(schema);
        let mut choices = entries(&schema["anyOf"]).map(|choice| self.name(choice)).peekable();
        if choices.peek().is_some() {
            return choices.collect::<Vec<_>>().join(" or ");
        }
        let choices = || entries(&schema["oneOf"]).chain(entries(&schema["enum"]));
        if choices().next().is_some() {
            let mut forms = entries(&schema["oneOf"]);
            return match forms.next() {
                Some(form) if kind_of(form).is_some() => "table of one of these kinds".to_owned(),
                Some(form) if form["type"] == "object" => "table of one of these forms".to_owned(),
                _ => "one of these values".to_owned(),
            };
        }
        let types = entries(&schema["type"]).chain(Some(&schema["type"])).filter_map(Value::as_str);
        match types.into_iter().find(|&name| name != "null") {
            Some("integer") => match schema["minimum"].as_f64() {
                Some(minimum) if minimum >= 1.0 => "positive integer".to_owned(),
                Some(_) => "non-negative integer".to_owned(),
                None => "integer".to_owned(),
            },
            Some("array") => match (schema["minItems"].as_u64(), schema["items"].is_object()) {
                (Some(count), _) if schema["minItems"] == schema["maxItems"] => format!("list of {count} values"),
                (_, true) => format!("list, each item: {}", self.name(&schema["items"])),
                _ => "list".to_owned(),
            },
            Some("object") => match schema["properties"].as_object().and_then(|properties| properties.keys().next()) {
                Some(name) if schema["required"].is_array() => format!("{{ {name} = … }}"),
                _ => "table".to_owned(),
            },
            Some(name) => name.to_owned(),
            None => "any value".to_owned(),
        }
    }

    /// A value that matches the schema, with as few keys as possible.
    fn sample(&self, schema: &'a Value) -> Value {
        let (schema, _) = self.resolve(schema);
        if let Some(value) = schema.get("const").or_else(|| entries(&schema["enum"]).next()) {
            return value.clone();
        }
        // Of several alternatives, a table comes last and is the most specific.
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

/// The `kind` of a table that is one of several alternatives.
fn kind_of(choice: &Value) -> Option<&Value> {
    choice["properties"]["kind"].get("const")
}

fn name_of_reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

/// The description, one line per paragraph or list item. The terminal wraps lines at its own width.
fn description(schema: &Value) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut starts_new = true;
    for line in schema["description"].as_str().unwrap_or_default().lines() {
        match lines.last_mut().filter(|_| !starts_new && !line.starts_with("- ")) {
            Some(last) if !line.is_empty() => {
                write!(last, " {}", line.trim()).expect("writing to a string cannot fail")
            }
            _ if line.is_empty() => {}
            _ => lines.push(line.trim().to_owned()),
        }
        starts_new = line.is_empty();
    }
    lines
}

#[cfg(test)]
mod tests {
    use dnc_stages::STAGES;

    use super::*;

    #[test]
    fn every_parameter_of_every_stage_is_described() {
        for stage in STAGES {
            let page = describe(stage);
            for name in schema_of(stage)["properties"].as_object().into_iter().flatten().map(|(name, _)| name) {
                let is_described = |line: &str| line.starts_with(&format!("    {name}: "));
                assert!(page.lines().any(is_described), "{name} in\n{page}");
            }
            assert!(stage.name == "command" || page.contains("\nOutputs "), "{page}");
        }
    }
}
