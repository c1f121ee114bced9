//! Generates the OpenAPI document from the routes.

use std::collections::BTreeMap;

use fedecks_protocol::Lane;
use fedecks_store::{AuditClass, ClaimState};
use serde_json::{Map, Value, json};

use super::event_schemas;
use super::input::{Accepts, Parameter, ParameterKind};
use super::route::{Content, PREFIX, Resource, Route};
use super::schemas::Schemas;
use crate::event_kind::EventKind;
use crate::http::problem::{Code, ProblemDetails};

/// The version of the API. Strangers read the document, so it does not have that of the program.
const VERSION: &str = "1";

/// The OpenAPI 3.1 document of these resources.
pub(super) fn document(resources: &[Resource]) -> Value {
    let mut schemas = Schemas::default();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let tag = |name: &str, about: &str| json!({ "name": name, "description": about });
    let mut tags = Vec::new();
    for resource in resources {
        tags.push(tag(resource.tag, resource.about));
        for route in resource.routes() {
            let path = format!("{}{}", PREFIX, route.path);
            let method = route.method.as_str().to_ascii_lowercase();
            let operation = operation(resource.tag, route, &mut schemas);
            paths.entry(path).or_default().insert(method, operation);
        }
    }
    tags.push(tag(WEBHOOKS, "Events that the server delivers to configured receivers"));
    let webhooks = event_schemas::webhooks(WEBHOOKS, &mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fedecks",
            "version": VERSION,
            "description": "Fedecks devices, which of them are connected, and what happens to them.",
        },
        "security": [{ "token": [] }, { "session": [] }],
        "tags": tags,
        "paths": paths,
        "webhooks": webhooks,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "__Host-fedecks",
                    "description": "A dashboard session; requests that change something need the \
                                    header X-CSRF-Token too",
                },
            },
            "schemas": schemas.into_json(),
        },
    })
}

/// The tag of what the server sends.
const WEBHOOKS: &str = "webhooks";

fn operation(tag: &str, route: &Route, schemas: &mut Schemas) -> Value {
    let mut parameters = Vec::new();
    for part in route.path.split('/') {
        if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            parameters.push(path_parameter(name, schemas));
        }
    }
    for parameter in route.query {
        parameters.push(parameter_in("query", parameter, schemas));
    }
    for parameter in route.headers {
        parameters.push(parameter_in("header", parameter, schemas));
    }
    let (summary, rest) = route.summary.split_once(". ").unwrap_or((route.summary, ""));
    let mut operation = json!({
        "operationId": route.id,
        "tags": [tag],
        "summary": summary,
        "parameters": parameters,
        "responses": responses(route, schemas),
    });
    let mut description: Vec<_> = Some(rest)
        .filter(|rest| !rest.is_empty())
        .map(|rest| format!("{rest}."))
        .into_iter()
        .collect();
    if let Some(role) = route.role {
        description.push(format!("Requires the role `{}`.", role.as_str()));
    }
    if route.all_devices {
        description.push("Requires a token that is not limited to some devices.".to_owned());
    }
    if !description.is_empty() {
        operation["description"] = description.join(" ").into();
    }
    if route.public().is_some() {
        operation["security"] = json!([]);
    }
    if let Some(body) = &route.body {
        operation["requestBody"] = json!({ "required": true, "content": content(body, schemas) });
    }
    operation
}

fn path_parameter(name: &str, schemas: &mut Schemas) -> Value {
    let (about, schema, example) = match name {
        "id" => ("The device's id", schemas.device_id(), "kitchen-1"),
        "message" => {
            let schema = schemas.add("MessageId", event_schemas::message_id());
            ("The message's id", schema, "8c3f0b6a19d24e57")
        }
        "claim" => ("The claim's id", schemas.claim_id(), "1f2e3d4c5b6a"),
        "consumer" => ("The consumer's name", schemas.consumer_name(), "crm"),
        _ => ("The account's name", schemas.account_name(), "marvin"),
    };
    json!({
        "name": name,
        "in": "path",
        "required": true,
        "description": about,
        "schema": schema,
        "example": example,
    })
}

fn parameter_in(place: &str, parameter: &Parameter, schemas: &mut Schemas) -> Value {
    let mut schema = match parameter.kind {
        ParameterKind::Text => json!({ "type": "string" }),
        ParameterKind::Flag => json!({ "type": "boolean" }),
        ParameterKind::Number(most) => {
            json!({ "type": "integer", "minimum": 1, "maximum": most })
        }
        ParameterKind::EventKind => {
            let words: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
            schemas.add("EventKind", json!({ "type": "string", "enum": words }))
        }
        ParameterKind::AuditClass => {
            let words: Vec<_> = AuditClass::ALL.iter().map(|class| class.as_str()).collect();
            schemas.add("AuditClass", json!({ "type": "string", "enum": words }))
        }
        ParameterKind::ClaimState => {
            let words = ClaimState::ALL.iter().map(|state| state.as_str());
            let words: Vec<_> = words.collect();
            schemas.add("ClaimState", json!({ "type": "string", "enum": words }))
        }
        ParameterKind::Lane => {
            let words = Lane::ALL.map(Lane::as_str);
            schemas.add("Lane", json!({ "type": "string", "enum": words }))
        }
        ParameterKind::Consumer => schemas.consumer_name(),
        ParameterKind::Key(most) => {
            json!({ "type": "string", "minLength": 1, "maxLength": most, "pattern": "^[!-~]+$" })
        }
    };
    if parameter.repeats {
        schema = json!({ "type": "array", "items": schema });
    }
    json!({
        "name": parameter.name,
        "in": place,
        "required": false,
        "description": parameter.about,
        "schema": schema,
    })
}

fn content(body: &Accepts, schemas: &mut Schemas) -> Value {
    let schema = match body {
        Accepts::Json(schema) | Accepts::LargeJson(schema, _) => schema(schemas),
        Accepts::Message => schemas.message(),
        Accepts::Bytes => json!({ "type": "string", "format": "binary" }),
    };
    json!({ body.media_type(): { "schema": schema } })
}

fn responses(route: &Route, schemas: &mut Schemas) -> Value {
    let (media_type, schema) = match &route.success.content {
        Content::Nothing => ("", Value::Null),
        Content::Json(schema) | Content::JsonOrCsv(schema) => ("application/json", schema(schemas)),
        Content::EventStream => {
            event_schemas::stream_event(schemas);
            ("text/event-stream", json!({ "type": "string" }))
        }
    };
    let mut success = json!({ "description": route.success.about });
    if !media_type.is_empty() {
        success["content"] = json!({ media_type: { "schema": schema } });
    }
    if matches!(route.success.content, Content::JsonOrCsv(_)) {
        success["content"]["text/csv"] = json!({ "schema": { "type": "string" } });
    }
    let mut responses = Map::from_iter([(route.success.status.to_string(), success)]);
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in possible_problems(route) {
        by_status.entry(code.status().as_u16()).or_default().push(code);
    }
    for (status, codes) in by_status {
        let texts: Vec<_> =
            codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect();
        let problem = schemas.of::<ProblemDetails>();
        let response = json!({
            "description": texts.join("; "),
            "content": { "application/problem+json": { "schema": problem } },
        });
        responses.insert(status.to_string(), response);
    }
    Value::Object(responses)
}

/// The errors that follow from the form of a route, and those that it declares.
fn possible_problems(route: &Route) -> Vec<Code> {
    let mut codes = vec![Code::InvalidQuery];
    if route.public().is_some() {
        return codes;
    }
    codes.extend([Code::Unauthorized, Code::CrossSite, Code::TooManyFailures, Code::ClockBehind]);
    if route.role.is_some() {
        codes.push(Code::RoleMissing);
    }
    if route.all_devices {
        codes.push(Code::LimitedToDevices);
    }
    if route.path.contains('{') {
        codes.push(Code::InvalidPath);
    }
    if route.body.is_some() {
        codes.extend([
            Code::InvalidJson,
            Code::InvalidBody,
            Code::BodyTooBig,
            Code::UnsupportedMediaType,
        ]);
    }
    if route.body.is_some() || !matches!(route.success.content, Content::Nothing) {
        codes.extend([Code::TooMuchAtOnce, Code::Overloaded]);
    }
    codes.extend(route.problems);
    codes
}
