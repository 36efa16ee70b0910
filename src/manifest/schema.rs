//! The JSON Schema of manifests, for editors: `dnc-run schema > manifest.schema.json`.
//!
//! A table under `stage` that is called as a kind is of that kind unless it says otherwise; every other one says its
//! `kind`. Draft 7 is what TOML editors know best. An editor that skips `if` still finds every key: they complete from
//! `additionalProperties`, which lists all kinds.

use dnc_stages::stage::{STAGES, StageKind};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::{Per, Retain};

/// The schema of manifests with the stages that there are.
pub fn schema() -> Value {
    schema_of(STAGES)
}

fn schema_of(kinds: &[StageKind]) -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let stages: Vec<(&str, Value)> = kinds.iter().map(|kind| (kind.name, stage(kind, &mut generator))).collect();
    let any = json!({
        "description": "A stage; `kind` says what it does.",
        "type": "object",
        "required": ["kind"],
        "anyOf": stages.iter().map(|(name, _)| reference(name)).collect::<Vec<_>>(),
    });
    let named: Map<String, Value> = stages
        .iter()
        .map(|(name, _)| {
            let is_meant = json!({ "properties": { "kind": { "const": name } } });
            ((*name).to_owned(), json!({ "if": is_meant, "then": reference(name), "else": reference("any") }))
        })
        .collect();
    // What a stage's parameters are made of comes first, so that no stage is called as one of these.
    let mut definitions = generator.take_definitions(true);
    definitions.extend(stages.into_iter().map(|(name, schema)| (name.to_owned(), schema)));
    definitions.insert("any".to_owned(), any);
    definitions.insert("reference".to_owned(), reference_text());

    let mut properties = top();
    properties["stage"] = json!({
        "description": "The stages, each under its name.",
        "type": "object",
        "properties": named,
        "additionalProperties": reference("any"),
        "propertyNames": { "pattern": "^[A-Za-z0-9_-]+$" },
    });
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Manifest of dnc-run",
        "type": "object",
        "required": ["name", "stage"],
        "properties": properties,
        "additionalProperties": false,
        "definitions": definitions,
    })
}

/// The keys at the top but `stage`.
fn top() -> Value {
    json!({
        "name": {
            "description": "The runs lie in the folder of this name.",
            "type": "string",
            "pattern": "^[A-Za-z0-9_-]+$",
        },
        "seed": { "description": "The root of all random streams.", "type": "integer", "minimum": 0, "default": 0 },
        "rounds": {
            "description": "What is done in rounds.",
            "type": "object",
            "required": ["learners"],
            "additionalProperties": false,
            "properties": { "learners": { "anyOf": [
                {
                    "description": "How many learners each round has: from round to round they stay, double or start again.",
                    "type": "array",
                    "items": { "type": "integer", "minimum": 1 },
                    "minItems": 1,
                },
                {
                    "description": "Doubles to a number of learners and then holds for some rounds.",
                    "type": "object",
                    "required": ["double_to"],
                    "additionalProperties": false,
                    "properties": {
                        "first": { "description": "Where doubling starts.", "type": "integer", "minimum": 1, "default": 1 },
                        "double_to": { "description": "Where doubling ends.", "type": "integer", "minimum": 1 },
                        "hold": { "description": "How many rounds more.", "type": "integer", "minimum": 0, "default": 0 },
                        "conquer": {
                            "description": "How many rounds of a single learner come last.",
                            "type": "integer",
                            "minimum": 0,
                            "default": 0,
                        },
                    },
                },
            ] } },
        },
    })
}

/// A stage's parameters, and the keys that every stage has besides.
fn stage(kind: &StageKind, generator: &mut SchemaGenerator) -> Value {
    let mut schema = Value::from(kind.schema(generator));
    // The generator sets a type aside and refers to it, but keys can only be added to the type itself.
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/definitions/")) {
        schema = generator.definitions_mut().remove(name).unwrap_or_default();
    }
    schema["description"] = kind.summary.into();
    let properties = &mut schema["properties"];
    properties["kind"] =
        json!({ "description": "What kind of stage it is; the table's name unless said.", "const": kind.name });
    properties["per"] = json!({
        "description": "How often it is done.",
        "enum": Per::ALL.map(|(_, name)| name),
        "default": Per::default().name(),
    });
    let ports = kind.parse(json!({})).map(|job| job.ports().inputs).unwrap_or_default();
    let ports = ports.into_iter().filter(|port| !port.is_rest());
    properties["in"] = json!({
        "description": "What is fed to each port.",
        "type": "object",
        "properties": ports.map(|port| (port.name, reference("reference"))).collect::<Map<_, _>>(),
        "additionalProperties": reference("reference"),
    });
    properties["retain"] = json!({
        "description": "Whether models and embeddings of all rounds stay in the store, or of the last one only.",
        "enum": Retain::ALL.map(|(_, name)| name),
        "default": Retain::default().name(),
    });
    properties["resources"] = json!({
        "description": "What running it takes, in place of what the stage says itself.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "threads": { "description": "At most so many threads.", "type": "integer", "minimum": 1 },
            "memory": { "description": "Memory that it may need: bytes, or a size such as `2GB`.", "type": ["integer", "string"] },
            "gpu": { "description": "Whether it wants the run's device to itself.", "type": "boolean" },
        },
    });
    schema
}

fn reference_text() -> Value {
    let one = r"\s*[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?(@(previous|last|[0-9]+))?\s*";
    let text = json!({
        "description": "A stage, `decode`; one of its outputs, `train.history`; of a round, `merge@previous or init`.",
        "type": "string",
        "pattern": format!("^{one}( or {one})*$"),
    });
    json!({ "anyOf": [text, { "description": "Several artifacts.", "type": "array", "items": text }] })
}

fn reference(definition: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{definition}") })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::raw::RESERVED_KEYS;
    use super::super::tests::{KINDS, PIPELINE};
    use super::*;

    /// Whether `value` is what `schema` says, for the keywords that tell a right manifest from a wrong one.
    fn conforms(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
        let check = |schema: &Value, value: &Value| conforms(root, schema, value);
        if let Some(path) = schema["$ref"].as_str() {
            let target = root.pointer(path.trim_start_matches('#')).ok_or_else(|| format!("{path} leads nowhere"))?;
            return check(target, value);
        }
        if schema == &Value::Bool(false) {
            return Err(format!("{value} is not allowed"));
        }
        if let Some(condition) = schema.get("if") {
            check(&schema[if check(condition, value).is_ok() { "then" } else { "else" }], value)?;
        }
        for all in schema["allOf"].as_array().into_iter().flatten() {
            check(all, value)?;
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(options) = schema[keyword].as_array()
                && !options.iter().any(|option| check(option, value).is_ok())
            {
                return Err(format!("{value} is none of {}", schema[keyword]));
            }
        }
        if schema.get("const").is_some_and(|constant| constant != value)
            || schema["enum"].as_array().is_some_and(|names| !names.contains(value))
        {
            return Err(format!("{value} is not the constant of {schema}"));
        }
        let is = |name: &str| match name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            _ => value.is_null(),
        };
        let has_type = match &schema["type"] {
            Value::String(name) => is(name),
            Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
            _ => true,
        };
        if !has_type || schema["minimum"].as_f64() > value.as_f64().or(schema["minimum"].as_f64()) {
            return Err(format!("{value} is not {schema}"));
        }
        for item in value.as_array().into_iter().flatten().filter(|_| schema["items"].is_object()) {
            check(&schema["items"], item)?;
        }
        let Some(table) = value.as_object() else { return Ok(()) };
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            table.get(required).ok_or_else(|| format!("`{required}` is missing in {value}"))?;
        }
        for (key, value) in table {
            match (schema["properties"].get(key), schema.get("additionalProperties")) {
                (Some(property), _) => check(property, value),
                (None, Some(others)) => check(others, value),
                (None, None) => Ok(()),
            }
            .map_err(|wrong| format!("{key}: {wrong}"))?;
        }
        Ok(())
    }

    fn check(schema: &Value, manifest: &str) -> Result<(), String> {
        let manifest: toml::Table = toml::from_str(manifest).expect("the manifest is TOML");
        conforms(schema, schema, &serde_json::to_value(manifest).expect("the manifest has no dates"))
    }

    #[test]
    fn a_right_manifest_conforms_and_a_wrong_one_does_not() {
        let schema = schema_of(KINDS);
        check(&schema, PIPELINE).expect("the pipeline is right");
        let other_kind = "[stage.decode]\nkind = \"command\"\nprogram = [\"sh\"]\n";
        check(&schema, &format!("name = \"x\"\n{other_kind}")).expect("a table may be called as another kind");
        for (before, after) in [
            (r#"name = "emoji""#, "name = 3"),
            (r#"name = "emoji""#, ""),
            ("learners = [1, 2, 4, 4]", "learners = [0]"),
            ("learners = [1, 2, 4, 4]", "learners = { hold = 3 }"),
            ("dimension = 64", "dimensions = 64"),
            ("dimension = 64", "dimension = \"64\""),
            ("margin = 0.3", "mragin = 0.3"),
            (r#"per = "learner""#, r#"per = "learners""#),
            (r#"in = { learners = "train" }"#, "in = { learners = 3 }"),
            ("[stage.evaluate]", "[stage.score]"),
        ] {
            assert_eq!(PIPELINE.matches(before).count(), 1, "`{before}` stands once in the pipeline");
            check(&schema, &PIPELINE.replace(before, after)).expect_err(after);
        }
    }

    #[test]
    fn every_manifest_of_the_project_conforms() {
        let schema = schema();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("the folder can be read").path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let text = fs::read_to_string(&path).expect("the manifest can be read");
                check(&schema, &text).unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()));
            }
        }
    }

    #[test]
    fn no_stage_has_a_parameter_of_a_reserved_name() {
        for kind in STAGES {
            let mut generator = SchemaSettings::draft07().into_generator();
            let schema = Value::from(kind.schema(&mut generator));
            let name = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/definitions/"));
            let own = name.and_then(|name| generator.definitions().get(name)).unwrap_or(&schema);
            for key in RESERVED_KEYS {
                assert!(own["properties"].get(key).is_none(), "`{}` has a parameter `{key}`", kind.name);
            }
        }
    }
}
