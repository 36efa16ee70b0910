//! The description of the interface for programs, as OpenAPI 3.1.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Value, json};

use crate::answers::{Correction, Embedding, Found, Labels, Metrics, Problem, RunState, Runs};

/// The document.
pub(crate) fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut schemas = settings.into_generator();
    let problem = answer::<Problem>(&mut schemas, "Why the request is not answered.");
    let run = parameter(
        "run",
        "The run, as in `sop/3`. Without it, the first one that is served.",
        json!({ "type": "string" }),
    );
    let crop = parameter(
        "crop",
        "The part of the image that is meant: left, top, width, height in pixels, with commas between them.",
        json!({ "type": "string" }),
    );
    let ids =
        |name: &str, what: &str| parameter(name, what, json!({ "type": "string", "pattern": "^[0-9]+(,[0-9]+)*$" }));
    let search_parameters = json!([
        run,
        parameter(
            "k",
            "Number of images to find.",
            json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 10 })
        ),
        crop,
        parameter(
            "learner",
            "Compare images in the subspace of this learner, counted from 0.",
            json!({ "type": "integer", "minimum": 0 }),
        ),
        parameter(
            "weights",
            "Compare images in all subspaces, with these weights: a number of at least 0 per learner, with commas between them.",
            json!({ "type": "string" }),
        ),
        ids(
            "positive",
            "Ids of images of the run to search for, with commas between them. The mean of all embeddings is searched for."
        ),
        ids(
            "negative",
            "Ids of images of the run that the results should be unlike. Half of their mean is subtracted."
        ),
        parameter(
            "vector",
            "Whether the answer should contain the embedding.",
            json!({ "type": "boolean", "default": false })
        ),
    ]);
    let image_body = json!({
        "description": "The bytes of an image file: JPEG, PNG, WebP, GIF, BMP or TIFF, at most 20 MB.",
        "content": { "image/*": {}, "application/octet-stream": {} },
    });
    let mut search_body = image_body.clone();
    search_body["content"]["application/json"] =
        json!({ "schema": { "description": "An embedding.", "type": "array", "items": { "type": "number" } } });
    let correction = schemas.subschema_for::<Correction>();
    let found = answer::<Found>(&mut schemas, "The nearest images.");
    let labels = answer::<Labels>(&mut schemas, "All corrections.");
    let id = json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "integer", "minimum": 0 } });
    let size =
        parameter("size", "Size of the picture.", json!({ "enum": ["thumbnail", "full"], "default": "thumbnail" }));
    let picture = json!({ "description": "The picture.", "content": { "image/*": {} } });
    let page = json!({ "description": "The report.", "content": { "text/html": {} } });
    let alive = json!({ "description": "The program is alive.", "content": { "application/json": {} } });
    let runs = answer::<Runs>(&mut schemas, "All runs.");
    let state = answer::<RunState>(&mut schemas, "Its nodes.");
    let metrics = answer::<Metrics>(&mut schemas, "Its metrics.");
    let embedding = answer::<Embedding>(&mut schemas, "The embedding.");
    let call = |summary: &str, parameters: Value, body: Option<&Value>, ok: &Value| {
        let responses = json!({ "200": ok, "default": problem });
        let mut call = json!({ "summary": summary, "parameters": parameters, "responses": responses });
        if let Some(body) = body {
            call["requestBody"] = body.clone();
        }
        call
    };
    let correction = json!({ "required": true, "content": { "application/json": { "schema": correction } } });
    let paths = json!({
        "/healthz": { "get": call("Whether the program is alive", json!([]), None, &alive) },
        "/report": { "get": call("The report of a run", json!([run]), None, &page) },
        "/api/runs": { "get": call("All runs", json!([]), None, &runs) },
        "/api/state": { "get": call("How far a run is", json!([run]), None, &state) },
        "/api/metrics": { "get": call("The metrics of a run", json!([run]), None, &metrics) },
        "/api/search": {
            "get": call("Search for images of the run", search_parameters.clone(), None, &found),
            "post": call("Search for an image, an embedding, or images of the run", search_parameters, Some(&search_body), &found),
        },
        "/api/embed": { "post": call("The embedding of an image", json!([run, crop]), Some(&image_body), &embedding) },
        "/api/image/{id}": { "get": call("An image of the run", json!([id, run, size]), None, &picture) },
        "/api/labels": {
            "get": call("The corrected labels of a run", json!([run]), None, &labels),
            "post": call("Correct a label", json!([run]), Some(&correction), &labels),
        },
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "dnc-run serve",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Image search by the models of runs. Where a token is required, it is sent as `Authorization: Bearer TOKEN`.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "token": [] }],
    })
}

/// A response with a value of this type.
fn answer<T: schemars::JsonSchema>(schemas: &mut SchemaGenerator, what: &str) -> Value {
    let schema = schemas.subschema_for::<T>();
    json!({ "description": what, "content": { "application/json": { "schema": schema } } })
}

fn parameter(name: &str, what: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "description": what, "schema": schema })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::routes::ADDRESSES;

    #[test]
    fn every_address_is_described_and_every_reference_leads_somewhere() {
        let document = document();
        let described: BTreeSet<String> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, calls)| calls.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
            .collect();
        let answered =
            ADDRESSES.iter().flat_map(|(path, methods)| methods.iter().map(move |method| format!("{method} {path}")));
        assert_eq!(described, answered.collect());
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        assert!(text.contains("#/components/schemas/Found"));
    }
}
