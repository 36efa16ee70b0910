//! The JSON Schema of sweeps, for editors: `dnc-run schema --sweep > sweep.schema.json`.

use serde_json::{Value, json};

use super::objective::{Objective, VALIDATION};
use super::samplers::{Method, TpeSettings};

/// The JSON Schema of sweeps.
pub fn schema() -> Value {
    let (objective, tpe) = (Objective::default(), TpeSettings::default());
    let table =
        |properties: Value| json!({ "type": "object", "additionalProperties": false, "properties": properties });
    let count = |description: &str, default: Option<usize>| {
        let mut schema = json!({ "description": description, "type": "integer", "minimum": 1 });
        if let Some(default) = default {
            schema["default"] = default.into();
        }
        schema
    };
    let integers = |description: &str| {
        let item = json!({ "type": "integer", "minimum": 0 });
        json!({ "description": description, "type": "array", "items": item, "minItems": 1, "uniqueItems": true })
    };
    let range = json!({
        "description": "Values of a key of the manifest: a list, or a range of numbers with both ends included.",
        "type": "object",
        "properties": {
            "values": { "description": "The values.", "type": "array", "minItems": 1 },
            "min": { "description": "The least number.", "type": "number" },
            "max": { "description": "The greatest number.", "type": "number" },
            "step": { "description": "Distance of neighbouring numbers. Without it, the range is continuous.", "type": "number", "exclusiveMinimum": 0 },
            "log": { "description": "Whether ratios count rather than differences.", "type": "boolean", "default": false },
            "integer": { "description": "Whether only integers are tried. Default: whether `min` and `max` are written as integers.", "type": "boolean" },
        },
        // A dotted key without quotes is a table in a table.
        "additionalProperties": { "$ref": "#/definitions/range" },
    });
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Sweep of dnc-run",
        "type": "object",
        "required": ["manifest", "method", "space"],
        "additionalProperties": false,
        "properties": {
            "manifest": { "description": "The manifest, relative to the sweep.", "type": "string" },
            "name": {
                "description": "Name of the sweep and of its runs. Default: the name of the file.",
                "type": "string",
                "pattern": "^[A-Za-z0-9_-]+$",
            },
            "method": { "description": "How settings are proposed.", "enum": Method::NAMES },
            "trials": count("Number of settings to try. A grid has none, since it tries every combination.", None),
            "seed": { "description": "Seed of the method.", "type": "integer", "minimum": 0, "default": 0 },
            "seeds": integers("Seeds of the manifest; every trial runs with each. Default: the manifest's."),
            "objective": table(json!({
                "node": { "description": "Stage of kind `evaluate` or `choose`.", "type": "string", "default": objective.node },
                "metric": { "description": "Metric without its k.", "type": "string", "default": objective.metric },
                "k": count("The k of the metric, if it has one.", None),
                "split": { "description": "Settings are chosen on validation classes only.", "const": VALIDATION },
            })),
            "space": {
                "description": "The keys of the manifest that vary, as in `stage.train.epochs = { values = [5, 10] }`.",
                "type": "object",
                "minProperties": 1,
                "additionalProperties": { "$ref": "#/definitions/range" },
            },
            "halving": table(json!({
                "rungs": integers("Rounds, from 0 and ascending, after which trials are compared."),
                "keep": {
                    "description": "Share of the trials that go on at each rung.",
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "exclusiveMaximum": 1,
                    "default": 0.5,
                },
            })),
            "tpe": table(json!({
                "startup": count("Number of first trials that do not depend on results.", Some(tpe.startup)),
                "batch": count("Number of trials that are proposed from the same results, and so can run at once.", Some(tpe.batch)),
            })),
        },
        "definitions": { "range": range },
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::file::{self, SweepFile};
    use super::schema;

    /// Editors complete and check the sweeps of the project by this file, which their first lines name.
    #[test]
    fn the_schema_beside_the_sweeps_is_current_and_they_are_valid() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/sweeps");
        let path = folder.join("sweep.schema.json");
        let current = serde_json::to_string_pretty(&schema()).expect("the schema is JSON") + "\n";
        if std::env::var_os("UPDATE_TEXTS").is_some_and(|value| value != "0") {
            fs::write(&path, &current).expect("the file can be written");
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(written == current, "`{}` is out of date; run the test with UPDATE_TEXTS=1", path.display());
        for entry in fs::read_dir(folder).expect("the folder exists") {
            let path = entry.expect("the folder can be read").path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                SweepFile::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
                let text = fs::read_to_string(&path).expect("it was read above");
                assert!(text.starts_with("#:schema ./sweep.schema.json\n"), "{}", path.display());
            }
        }
    }

    #[test]
    fn the_schema_has_every_key() {
        let schema = schema();
        let properties = &schema["properties"];
        let check = |schema: &serde_json::Value, keys: &[&str]| {
            let mut found: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            let mut keys = keys.to_vec();
            found.sort_unstable();
            keys.sort_unstable();
            assert_eq!(found, keys);
        };
        check(&schema, &file::KEYS);
        check(&properties["objective"], &file::OBJECTIVE_KEYS);
        check(&properties["halving"], &file::HALVING_KEYS);
        check(&properties["tpe"], &file::TPE_KEYS);
        check(&schema["definitions"]["range"], &super::super::space_table::KEYS);
    }
}
