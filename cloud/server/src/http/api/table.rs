//! The table of all routes of the API, and the lookup of a request's route.

use std::sync::LazyLock;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use warp::reply::Response;

use super::route::{Content, Handler, PREFIX, Resource, Route};
use super::schemas::Schemas;
use super::{
    accounts, approvals, audit, claims, device_list, device_messages, device_requests, devices,
    events, fleet, history, message_consumers, messages, openapi, presence, received, revocations,
    tokens,
};
use crate::http::problem::{Code, Problem};
use crate::http::response::json_text;

static TABLE: &[Resource] = &[
    Resource {
        tag: "devices",
        about: "The known devices, and what can be done to them",
        routes: &[device_list::ROUTES, devices::ROUTES, revocations::ROUTES, fleet::ROUTES],
    },
    Resource {
        tag: "messages",
        about: "Messages to devices, and the kept ones from them",
        routes: &[
            messages::ROUTES,
            device_messages::ROUTES,
            device_requests::ROUTES,
            received::ROUTES,
            message_consumers::ROUTES,
        ],
    },
    Resource {
        tag: "events",
        about: "What happens to the devices, and what they send",
        routes: &[events::ROUTES],
    },
    Resource { tag: "presence", about: "Which devices are connected", routes: &[presence::ROUTES] },
    Resource { tag: "history", about: "The last 24 hours", routes: &[history::ROUTES] },
    Resource {
        tag: "accounts",
        about: "The accounts that devices log in with",
        routes: &[accounts::ROUTES],
    },
    Resource {
        tag: "registration",
        about: "Claims, with which devices register themselves, and the approvals that they wait for",
        routes: &[claims::ROUTES, approvals::ROUTES],
    },
    Resource { tag: "audit", about: "Who did what", routes: &[audit::ROUTES] },
    Resource { tag: "token", about: "The presented token", routes: &[tokens::ROUTES] },
    Resource { tag: "description", about: "This description", routes: &[DOCUMENT] },
];

/// It describes the table, so it cannot be in a file that the table imports.
const DOCUMENT: &[Route] =
    &[Route::new("getDescription", Method::GET, "/openapi.json", Handler::Public(document))
        .summary("Get this description. It is the same for everyone, and needs no token")
        .success(200, "An OpenAPI 3.1 document", Content::Json(description_schema))];

/// All responses share it.
static DESCRIPTION: LazyLock<Bytes> = LazyLock::new(|| json_text(&openapi::document(TABLE)).into());

/// The route of a request, with the values of the parameters in its path.
pub(super) struct Matched {
    pub(super) route: &'static Route,
    pub(super) values: Vec<String>,
}

pub(super) fn routes() -> impl Iterator<Item = &'static Route> {
    TABLE.iter().flat_map(Resource::routes)
}

/// Finds the route of a request. HEAD has the routes of GET, and gets no body from the HTTP library.
pub(super) fn find(method: &Method, path: &str) -> Result<Matched, Problem> {
    let not_found = || Problem::new(Code::NotFound, "see /api/v1/openapi.json for the paths");
    let path = path.strip_prefix(PREFIX).ok_or_else(not_found)?;
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut allowed = Vec::new();
    for route in routes() {
        let Some(values) = match_path(route.path, path)? else { continue };
        if route.method == *method {
            return Ok(Matched { route, values });
        }
        allowed.push(route.method.as_str());
        if route.method == Method::GET {
            allowed.push(Method::HEAD.as_str());
        }
    }
    if allowed.is_empty() {
        Err(not_found())
    } else {
        Err(Problem::method_not_allowed(&allowed.join(", ")))
    }
}

/// The percent-decoded values of the parameters in `pattern`, if the path matches it.
fn match_path(pattern: &str, path: &str) -> Result<Option<Vec<String>>, Problem> {
    let (mut expected, mut parts) = (pattern.split('/'), path.split('/'));
    let mut values = Vec::new();
    loop {
        match (expected.next(), parts.next()) {
            (None, None) => break,
            (Some(name), Some(part)) if name.starts_with('{') => values.push(part),
            (Some(name), Some(part)) if name == part => {}
            _ => return Ok(None),
        }
    }
    let decode = |part: &str| {
        let invalid = |_| {
            let detail = format!("{part:?} is not valid UTF-8 after percent-decoding");
            Problem::new(Code::InvalidPath, detail)
        };
        percent_decode_str(part).decode_utf8().map(|text| text.into_owned()).map_err(invalid)
    };
    values.into_iter().map(decode).collect::<Result<_, _>>().map(Some)
}

fn document() -> Response {
    let mut response = Response::new(DESCRIPTION.clone().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn description_schema(schemas: &mut Schemas) -> Value {
    let about = "An OpenAPI 3.1 document";
    schemas.add(
        "Description",
        json!({ "type": "object", "description": about, "additionalProperties": true }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_its_route_with_decoded_values() {
        for (method, path, expected) in [
            (Method::GET, "/api/v1/devices", Ok(("/devices", vec![]))),
            (Method::PATCH, "/api/v1/devices/a%2Ab", Ok(("/devices/{id}", vec!["a*b"]))),
            (Method::POST, "/api/v1/devices/x/revoke", Ok(("/devices/{id}/revoke", vec!["x"]))),
            // An empty id, which is not a device.
            (Method::GET, "/api/v1/devices/", Ok(("/devices/{id}", vec![""]))),
            (Method::GET, "/api", Err(Code::NotFound)),
            (Method::GET, "/api/v1", Err(Code::NotFound)),
            (Method::GET, "/api/v1/", Err(Code::NotFound)),
            (Method::GET, "/api/v2/devices", Err(Code::NotFound)),
            (Method::GET, "/api/v1/x", Err(Code::NotFound)),
            (Method::POST, "/api/v1/devices", Err(Code::MethodNotAllowed)),
            (Method::GET, "/api/v1/devices/%ff", Err(Code::InvalidPath)),
        ] {
            let found = find(&method, path);
            let found = found.as_ref().map_err(|problem| problem.code).map(|matched| {
                (matched.route.path, matched.values.iter().map(String::as_str).collect())
            });
            assert_eq!(found, expected, "{method} {path}");
        }
    }

    #[test]
    fn the_document_has_every_route_and_all_it_refers_to() {
        let document = openapi::document(TABLE);
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

    #[test]
    fn no_two_routes_have_the_same_method_and_path() {
        let mut seen = std::collections::HashSet::new();
        for route in routes() {
            assert!(seen.insert((&route.method, route.path)), "{}", route.path);
        }
    }
}
