//! The JSON Schema of manifests, for editors: `dnc-run schema > manifest.schema.json`.
//!
//! A stage whose name is also the name of a kind is of that kind by default; any other stage must set `kind`. The schema uses
//! draft 7, which TOML editors support best. Editors that ignore `if` still complete every key, from `additionalProperties`,
//! which lists all kinds.

use dnc_stages::STAGES;
use dnc_stages::api::StageKind;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::checked::{Per, Retain};

/// Name of the file with the schema, beside manifests whose first line names it.
pub const FILE: &str = "manifest.schema.json";

/// The JSON Schema of manifests.
pub fn schema() -> Value {
    schema_of(STAGES)
}

fn schema_of(kinds: &[StageKind]) -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let stages: Vec<(&str, Value)> = kinds.iter().map(|kind| (kind.name, stage(kind, &mut generator))).collect();
    let any = json!({
        "description": "A stage, whose kind is set by `kind`.",
        "type": "object",
        "required": ["kind"],
        "anyOf": stages.iter().map(|(name, _)| reference(name)).collect::<Vec<_>>(),
    });
    let named: Map<String, Value> = stages
        .iter()
        .map(|(name, _)| {
            let is_own_kind = json!({ "properties": { "kind": { "const": name } } });
            ((*name).to_owned(), json!({ "if": is_own_kind, "then": reference(name), "else": reference("any") }))
        })
        .collect();
    // The types of parameters are inserted first, so that a stage of the same name replaces one, and not the reverse.
    let mut definitions = generator.take_definitions(true);
    definitions.extend(stages.into_iter().map(|(name, schema)| (name.to_owned(), schema)));
    definitions.insert("any".to_owned(), any);
    definitions.insert("reference".to_owned(), reference_text());

    let mut properties = top_level();
    properties["stage"] = json!({
        "description": "The stages, by name.",
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

/// The keys at the top level, except `stage`.
fn top_level() -> Value {
    json!({
        "name": {
            "description": "Name of the manifest. Runs are stored in a folder of this name.",
            "type": "string",
            "pattern": "^[A-Za-z0-9_-]+$",
        },
        "seed": { "description": "Seed from which all random streams are derived.", "type": "integer", "minimum": 0, "default": 0 },
        "report": { "description": "Whether each run ends with a report, an HTML file in the run's folder.", "type": "boolean", "default": false },
        "rounds": {
            "description": "The rounds of divide and conquer.",
            "type": "object",
            "required": ["learners"],
            "additionalProperties": false,
            "properties": { "learners": { "anyOf": [
                {
                    "description": "Number of learners in each round. From one round to the next it stays the same, doubles or restarts.",
                    "type": "array",
                    "items": { "type": "integer", "minimum": 1 },
                    "minItems": 1,
                },
                {
                    "description": "Doubles the number of learners each round, then holds it for further rounds.",
                    "type": "object",
                    "required": ["double_to"],
                    "additionalProperties": false,
                    "properties": {
                        "first": { "description": "Number of learners in the first round.", "type": "integer", "minimum": 1, "default": 1 },
                        "double_to": { "description": "Number of learners at which doubling ends.", "type": "integer", "minimum": 1 },
                        "hold": { "description": "Number of further rounds with as many learners.", "type": "integer", "minimum": 0, "default": 0 },
                        "conquer": {
                            "description": "Number of rounds with a single learner at the end.",
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

/// The parameters of a stage, and the keys that every stage has.
fn stage(kind: &StageKind, generator: &mut SchemaGenerator) -> Value {
    let mut schema = Value::from(kind.schema(generator));
    // The generator returns a reference to a definition, but the keys must be added to the definition itself.
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/definitions/")) {
        schema = generator.definitions_mut().remove(name).unwrap_or_default();
    }
    schema["description"] = kind.summary.into();
    let properties = &mut schema["properties"];
    properties["kind"] = json!({ "description": "Kind of stage. Default: the name of the stage.", "const": kind.name });
    properties["per"] = json!({
        "description": "How often it runs: once, once per round, or once per learner of each round.",
        "enum": Per::ALL.map(|(_, name)| name),
        "default": Per::default().name(),
    });
    let ports = kind.parse(json!({})).map(|job| job.ports().inputs).unwrap_or_default();
    let ports = ports.into_iter().filter(|port| !port.is_rest());
    properties["in"] = json!({
        "description": "The artifact that each input reads.",
        "type": "object",
        "properties": ports.map(|port| (port.name, reference("reference"))).collect::<Map<_, _>>(),
        "additionalProperties": reference("reference"),
    });
    properties["retain"] = json!({
        "description": "Keep the models and embeddings of all rounds in the store, or of the last round only.",
        "enum": Retain::ALL.map(|(_, name)| name),
        "default": Retain::default().name(),
    });
    properties["resources"] = json!({
        "description": "Resources that replace the defaults of the stage.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "threads": { "description": "Maximum number of threads.", "type": "integer", "minimum": 1 },
            "memory": { "description": "Memory that it may need, in bytes or as a size such as `2GB`.", "type": ["integer", "string"] },
            "gpu": { "description": "Whether it needs a GPU for itself.", "type": "boolean" },
        },
    });
    schema
}

fn reference_text() -> Value {
    let one = r"\s*[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?(@(previous|last|[0-9]+))?\s*";
    let text = json!({
        "description": "A stage (`decode`), one of its outputs (`train.history`) or one of its rounds (`merge@previous`), with alternatives separated by ` or `.",
        "type": "string",
        "pattern": format!("^{one}( or {one})*$"),
    });
    json!({ "anyOf": [text, { "description": "A list of artifacts.", "type": "array", "items": text }] })
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

    /// Validates `value` against `schema`, for the keywords that the schema of manifests uses.
    fn conforms(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
        let check = |schema: &Value, value: &Value| conforms(root, schema, value);
        if let Some(path) = schema["$ref"].as_str() {
            let target = root.pointer(path.trim_start_matches('#')).ok_or_else(|| format!("{path} does not exist"))?;
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
                return Err(format!("{value} matches none of {}", schema[keyword]));
            }
        }
        if schema.get("const").is_some_and(|constant| constant != value)
            || schema["enum"].as_array().is_some_and(|names| !names.contains(value))
        {
            return Err(format!("{value} is not a constant of {schema}"));
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
            return Err(format!("{value} does not match {schema}"));
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
        let manifest: toml::Table = toml::from_str(manifest).expect("the manifest is valid TOML");
        conforms(schema, schema, &serde_json::to_value(manifest).expect("TOML values have a JSON form"))
    }

    /// Editors complete and check the manifests of the project by this file, which their first lines name.
    #[test]
    fn the_schema_beside_the_pipelines_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/manifest.schema.json");
        let current = serde_json::to_string_pretty(&schema()).expect("the schema is JSON") + "\n";
        if std::env::var_os("UPDATE_TEXTS").is_some_and(|value| value != "0") {
            fs::write(&path, &current).expect("the file can be written");
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(written == current, "`{}` is out of date; run the test with UPDATE_TEXTS=1", path.display());
    }

    #[test]
    fn a_valid_manifest_conforms_and_an_invalid_one_does_not() {
        let schema = schema_of(KINDS);
        check(&schema, PIPELINE).expect("the pipeline is valid");
        let other_kind = "[stage.decode]\nkind = \"command\"\nprogram = [\"sh\"]\n";
        check(&schema, &format!("name = \"x\"\n{other_kind}")).expect("a stage may have the name of another kind");
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
            assert_eq!(PIPELINE.matches(before).count(), 1, "`{before}` occurs once in the pipeline");
            check(&schema, &PIPELINE.replace(before, after)).expect_err(after);
        }
    }

    #[test]
    fn every_manifest_of_the_project_conforms() {
        let schema = schema();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
        for entry in fs::read_dir(folder).expect("the folder exists") {
            let path = entry.expect("the folder can be read").path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let text = fs::read_to_string(&path).expect("the manifest can be read");
                check(&schema, &text).unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()));
                assert!(text.starts_with("#:schema ./manifest.schema.json\n"), "{}", path.display());
                check(&schema, &text.replacen("root =", "rot =", 1)).expect_err("a misspelt key is flagged");
            }
        }
    }

    #[test]
    fn no_stage_has_a_parameter_with_a_reserved_name() {
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
