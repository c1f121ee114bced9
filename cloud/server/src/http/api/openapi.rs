//! Generates the OpenAPI document from the routes.

use std::collections::BTreeMap;

use fedecks_store::AuditClass;
use serde_json::{Map, Value, json};
use utoipa::PartialSchema;

use super::devices::Device;
use super::input::{Accepts, Parameter, ParameterKind};
use super::presence::Presence;
use super::route::{Content, PREFIX, Route};
use crate::event_kind::EventKind;
use crate::http::problem::{Code, ProblemDetails};

/// The OpenAPI 3.1 document of these routes.
pub(super) fn document<'a>(routes: impl Iterator<Item = &'a Route>) -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in routes {
        let path = format!("{}{}", PREFIX, route.path);
        let method = route.method.as_str().to_ascii_lowercase();
        paths.entry(path).or_default().insert(method, operation(route));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fedecks",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Fedecks devices, which of them are connected, and what happens to them.",
        },
        "security": [{ "token": [] }, { "session": [] }],
        "paths": paths,
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
            "schemas": {
                "Problem": ProblemDetails::schema(),
                "Device": Device::schema(),
                "Presence": Presence::schema(),
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let in_path =
        route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<_> =
        in_path.map(path_parameter).chain(route.query.iter().map(query_parameter)).collect();
    let mut operation = json!({
        "summary": route.summary,
        "parameters": parameters,
        "responses": responses(route),
    });
    if let Some(role) = route.role {
        operation["description"] = format!("Requires the role `{}`.", role.as_str()).into();
    }
    if let Some(body) = &route.body {
        operation["requestBody"] = json!({ "required": true, "content": content(body) });
    }
    operation
}

fn path_parameter(name: &str) -> Value {
    json!({
        "name": name,
        "in": "path",
        "required": true,
        "schema": { "type": "string", "minLength": 1, "maxLength": 128 },
        "example": if name == "id" { "kitchen-1" } else { "marvin" },
    })
}

fn query_parameter(parameter: &Parameter) -> Value {
    let mut schema = match parameter.kind {
        ParameterKind::Text => json!({ "type": "string" }),
        ParameterKind::Flag => json!({ "type": "boolean" }),
        ParameterKind::Number(most) => {
            json!({ "type": "integer", "minimum": 1, "maximum": most })
        }
        ParameterKind::EventKind => {
            let words: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
            json!({ "type": "string", "enum": words })
        }
        ParameterKind::AuditClass => {
            let words: Vec<_> = AuditClass::ALL.iter().map(|class| class.as_str()).collect();
            json!({ "type": "string", "enum": words })
        }
    };
    if parameter.repeats {
        schema = json!({ "type": "array", "items": schema });
    }
    json!({
        "name": parameter.name,
        "in": "query",
        "required": false,
        "description": parameter.about,
        "schema": schema,
    })
}

fn content(body: &Accepts) -> Value {
    let media_types = body.media_types().iter().map(|media_type| {
        let schema = match (body, *media_type) {
            (Accepts::Json(schema), _) => json!(schema()),
            (Accepts::Message, "application/json") => json!({}),
            (Accepts::Message, _) => json!({ "type": "string", "format": "binary" }),
        };
        ((*media_type).to_owned(), json!({ "schema": schema }))
    });
    Value::Object(media_types.collect())
}

fn responses(route: &Route) -> Value {
    let (media_type, schema) = match &route.success.content {
        Content::Nothing => ("", Value::Null),
        Content::Json(schema) => ("application/json", json!(schema())),
        Content::AnyJson => ("application/json", json!({ "type": "object" })),
        Content::EventStream => ("text/event-stream", json!({ "type": "string" })),
    };
    let mut success = json!({ "description": route.success.about });
    if !media_type.is_empty() {
        success["content"] = json!({ media_type: { "schema": schema } });
    }
    let mut responses = Map::from_iter([(route.success.status.to_string(), success)]);
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in possible_problems(route) {
        by_status.entry(code.status().as_u16()).or_default().push(code);
    }
    for (status, codes) in by_status {
        let texts: Vec<_> =
            codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect();
        let problem = json!({ "$ref": "#/components/schemas/Problem" });
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
    let mut codes = vec![
        Code::Unauthorized,
        Code::CrossSite,
        Code::TooManyFailures,
        Code::ClockBehind,
        Code::InvalidQuery,
    ];
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

#[cfg(test)]
mod tests {
    use super::super::table::routes;
    use super::*;

    #[test]
    fn the_document_has_every_route_and_all_it_refers_to() {
        let document = document(routes());
        for route in routes() {
            let operation = &document["paths"][format!("/api/v1{}", route.path)]
                [route.method.as_str().to_ascii_lowercase()];
            assert!(operation["responses"][route.success.status.to_string()].is_object());
            for code in route.problems {
                let problem = &operation["responses"][code.status().as_str()]["description"];
                assert!(problem.as_str().unwrap().contains(code.as_str()), "{}", route.path);
            }
        }
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#/").skip(1) {
            let path = format!("/{}", reference.split('"').next().unwrap());
            assert!(document.pointer(&path).is_some(), "{path}");
        }
    }
}
