//! The OpenAPI description, made of the table of routes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::input::{Accepts, ParameterKind};
use super::objects;
use super::route::{Answers, PREFIX, Route};
use crate::event_kind::EventKind;
use crate::http::problem::{Code, ProblemDetails};

/// The OpenAPI 3.1 document of these routes.
pub(super) fn document(routes: &[Route]) -> Value {
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
            "description": "Devices, who of them is connected, and what happens to them.",
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
                    "description": "Of the dashboard; what changes something takes the header \
                                    X-CSRF-Token as well",
                },
            },
            "schemas": {
                "Problem": objects::schema::<ProblemDetails>(),
                "Device": objects::schema::<objects::Device>(),
                "Presence": objects::schema::<objects::Presence>(),
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            let schema = json!({ "type": "string", "minLength": 1, "maxLength": 128 });
            let example = if name == "id" { "kitchen-1" } else { "marvin" };
            json!({
                "name": name,
                "in": "path",
                "required": true,
                "schema": schema,
                "example": example,
            })
        })
        .collect();
    parameters.extend(route.query.iter().map(|parameter| {
        let schema = match parameter.kind {
            ParameterKind::Text => json!({ "type": "string" }),
            ParameterKind::Flag => json!({ "type": "boolean" }),
            ParameterKind::Limit => json!({ "type": "integer", "minimum": 1, "maximum": 500 }),
            ParameterKind::Kind => {
                let words: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
                json!({ "type": "string", "enum": words })
            }
        };
        let schema =
            if parameter.repeats { json!({ "type": "array", "items": schema }) } else { schema };
        json!({
            "name": parameter.name,
            "in": "query",
            "required": false,
            "description": parameter.about,
            "schema": schema,
        })
    }));
    let mut operation = json!({
        "summary": route.summary,
        "parameters": parameters,
        "responses": responses(route),
    });
    if let Some(role) = route.role {
        operation["description"] = format!("Takes the role `{}`.", role.as_str()).into();
    }
    if let Some(body) = &route.body {
        operation["requestBody"] = json!({ "required": true, "content": content(body) });
    }
    operation
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
    let success = match &route.success.content {
        Answers::Nothing => json!({}),
        Answers::Json(schema) => json!({ "application/json": { "schema": schema() } }),
        Answers::AnyJson => json!({ "application/json": { "schema": { "type": "object" } } }),
        Answers::EventStream => {
            json!({ "text/event-stream": { "schema": { "type": "string" } } })
        }
    };
    let mut responses = Map::new();
    let mut success_response = json!({ "description": route.success.about });
    if !matches!(route.success.content, Answers::Nothing) {
        success_response["content"] = success;
    }
    responses.insert(route.success.status.to_string(), success_response);
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in possible_problems(route) {
        by_status.entry(code.status().as_u16()).or_default().push(code);
    }
    for (status, codes) in by_status {
        let words: Vec<_> =
            codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect();
        let problem = json!({ "$ref": "#/components/schemas/Problem" });
        responses.insert(
            status.to_string(),
            json!({
                "description": words.join("; "),
                "content": { "application/problem+json": { "schema": problem } },
            }),
        );
    }
    Value::Object(responses)
}

/// What can go wrong by the form of the route, and what it says itself.
fn possible_problems(route: &Route) -> Vec<Code> {
    let mut codes =
        vec![Code::Unauthorized, Code::CrossSite, Code::TooManyFailures, Code::InvalidQuery];
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
    for code in route.problems {
        if !codes.contains(code) {
            codes.push(*code);
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::super::routes::ROUTES;
    use super::*;

    #[test]
    fn every_route_is_in_the_document_with_its_success_and_its_problems() {
        let document = document(ROUTES);
        for route in ROUTES {
            let operation = &document["paths"][format!("/api/v1{}", route.path)]
                [route.method.as_str().to_ascii_lowercase()];
            assert!(operation["responses"][route.success.status.to_string()].is_object());
            for code in route.problems {
                let problem = &operation["responses"][code.status().as_str()]["description"];
                assert!(problem.as_str().unwrap().contains(code.as_str()), "{route:?}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document(ROUTES);
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#/").skip(1) {
            let path = format!("/{}", reference.split('"').next().unwrap());
            assert!(document.pointer(&path).is_some(), "{path}");
        }
    }
}
